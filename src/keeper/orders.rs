//! The repositories in the orders that lists have: a page costs what it shows, and not what there is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::iter::Peekable;

use strongroom_domain::RepoKind;
use strongroom_protocol::Order;

use crate::state::Repo;

/// A place in an order: Unix milliseconds, then the repository's number.
pub type Rank = (i64, u64);

/// Where a repository stands in an order; `None` for one that no list shows: deleted, or without a commit.
pub fn rank(repo: &Repo, id: u64, order: Order) -> Option<Rank> {
    let moved_ms = repo.moved_ms.filter(|_| repo.deleted_ms.is_none())?;
    match order {
        Order::Created => Some((repo.created_ms, id)),
        Order::Modified => Some((moved_ms, id)),
    }
}

/// Of one namespace, or of all.
type Scope = (Option<u64>, RepoKind, Order);

/// All repositories that lists show, in both orders, of each namespace and of all together.
#[derive(Default)]
pub struct Orders(BTreeMap<Scope, BTreeSet<Rank>>);

impl Orders {
    fn places(repo: &Repo, id: u64) -> impl Iterator<Item = (Scope, Rank)> {
        let orders = [Order::Created, Order::Modified].into_iter();
        let ranks = orders.filter_map(move |order| Some((order, rank(repo, id, order)?)));
        ranks.flat_map(|(order, rank)| {
            [None, Some(repo.namespace)].map(|namespace| ((namespace, repo.kind, order), rank))
        })
    }

    /// Adds one as it is now.
    pub fn add(&mut self, repo: &Repo, id: u64) {
        for (scope, rank) in Self::places(repo, id) {
            self.0.entry(scope).or_default().insert(rank);
        }
    }

    /// Removes one, before anything of it changes.
    pub fn remove(&mut self, repo: &Repo, id: u64) {
        for (scope, rank) in Self::places(repo, id) {
            if let Some(held) = self.0.get_mut(&scope) {
                held.remove(&rank);
                if held.is_empty() {
                    self.0.remove(&scope);
                }
            }
        }
    }

    /// Those of a namespace, or of all, after a place, the newest first.
    pub fn of(
        &self,
        namespace: Option<u64>,
        kind: RepoKind,
        order: Order,
        after: Option<Rank>,
    ) -> impl Iterator<Item = Rank> + '_ {
        let held = self.0.get(&(namespace, kind, order)).into_iter();
        held.flat_map(move |held| match after {
            Some(after) => held.range(..after).rev().copied(),
            None => held.range(..).rev().copied(),
        })
    }
}

/// Several lists as one, the newest first, each repository once.
pub struct Merged<I: Iterator<Item = Rank>> {
    lists: Vec<Peekable<I>>,
    heads: BinaryHeap<(Rank, Reverse<usize>)>,
    last: Option<Rank>,
}

impl<I: Iterator<Item = Rank>> Merged<I> {
    /// Of lists that each have the newest first.
    pub fn new(lists: impl IntoIterator<Item = I>) -> Self {
        let mut lists: Vec<_> = lists.into_iter().map(Iterator::peekable).collect();
        let heads = lists.iter_mut().enumerate().filter_map(|(at, list)| Some((*list.peek()?, Reverse(at)))).collect();
        Self { lists, heads, last: None }
    }
}

impl<I: Iterator<Item = Rank>> Iterator for Merged<I> {
    type Item = Rank;

    fn next(&mut self) -> Option<Rank> {
        loop {
            let (rank, Reverse(at)) = self.heads.pop()?;
            let list = self.lists.get_mut(at)?;
            list.next();
            self.heads.extend(list.peek().map(|next| (*next, Reverse(at))));
            if self.last.replace(rank) != Some(rank) {
                return Some(rank);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(namespace: u64, kind: RepoKind, created_ms: i64, moved_ms: Option<i64>) -> Repo {
        let mut repo = Repo::new([0; 16], kind, "a/b".parse().expect("a name"), namespace, None, created_ms);
        repo.moved_ms = moved_ms;
        repo
    }

    #[test]
    fn each_order_has_what_is_shown_and_nothing_of_what_is_gone() {
        let mut orders = Orders::default();
        let made = [
            (1, repo(7, RepoKind::Model, 10, Some(50))),
            (2, repo(7, RepoKind::Model, 20, Some(40))),
            (3, repo(8, RepoKind::Model, 30, Some(40))),
            (4, repo(7, RepoKind::Dataset, 40, Some(60))),
            (5, repo(7, RepoKind::Model, 50, None)),
        ];
        made.iter().for_each(|(id, repo)| orders.add(repo, *id));
        let ids = |orders: &Orders, namespace, order, after| -> Vec<u64> {
            orders.of(namespace, RepoKind::Model, order, after).map(|(_, id)| id).collect()
        };
        assert_eq!(ids(&orders, None, Order::Modified, None), [1, 3, 2]);
        assert_eq!(ids(&orders, None, Order::Created, None), [3, 2, 1]);
        assert_eq!(ids(&orders, Some(7), Order::Created, None), [2, 1]);
        assert_eq!(ids(&orders, None, Order::Modified, Some((40, 3))), [2]);
        orders.remove(&made[0].1, 1);
        assert_eq!(ids(&orders, None, Order::Modified, None), [3, 2]);
        made.iter().for_each(|(id, repo)| orders.remove(repo, *id));
        assert!(orders.0.is_empty());
    }

    #[test]
    fn lists_that_meet_show_each_repository_once() {
        let lists = [vec![(9, 1), (5, 2)], vec![], vec![(9, 1), (7, 4), (5, 3), (5, 2), (1, 8)]];
        let merged: Vec<Rank> = Merged::new(lists.map(Vec::into_iter)).collect();
        assert_eq!(merged, [(9, 1), (7, 4), (5, 3), (5, 2), (1, 8)]);
    }
}
