use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use strongroom_database::Source;
use strongroom_domain::{Commit, Compartment, GitBlob, RepoPath, Sha256};
use strongroom_protocol::{MetaKeys, Secret};

use super::{Changes, DirectoryId, FileEntry, NewTree, Node, PartTree, folded};
use crate::catalog::{Catalog, CatalogError, RepoId};
use crate::commit::{CommitBody, CommitInfo, Operation, Placed, Root, write_tree};
use crate::git::tree_id;
use crate::listing::{Item, View};
use crate::quota::Quota;

const REPO: RepoId = [5; 16];
const QUOTA: Quota = Quota { place: 1, bytes: None };

fn keys(byte: u8) -> MetaKeys {
    MetaKeys {
        seal: Secret::new([byte; 32]),
        index: Secret::new([byte ^ 0xff; 32]),
        split: Secret::new([byte ^ 0xaa; 32]),
    }
}

/// The same numbers each time (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn file(content: u32) -> FileEntry {
    let byte = content.to_be_bytes();
    let fill = |at: usize| byte[at % 4];
    FileEntry {
        object: std::array::from_fn(fill),
        size: content.into(),
        sha256: Sha256::from_bytes(std::array::from_fn(fill)),
        blob: GitBlob::from_bytes(std::array::from_fn(fill)),
        lfs: false,
        envelope_mac: [0; 32],
        facts: None,
    }
}

struct Place {
    folder: std::path::PathBuf,
    catalog: Catalog,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Place {
    async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("strongroom-tree-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let catalog = Catalog::open(&Source::File(folder.join("catalog.db"))).await.unwrap();
        Self { folder, catalog }
    }

    /// The same database, and nothing in memory.
    async fn reopened(&self) -> Catalog {
        Catalog::open(&Source::File(self.folder.join("catalog.db"))).await.unwrap()
    }
}

fn tree<'a>(catalog: &'a Catalog, keys: &'a MetaKeys) -> PartTree<'a> {
    PartTree { catalog, repo: REPO, compartment: Compartment::Data, keys }
}

async fn store(catalog: &Catalog, written: &[NewTree]) {
    let mut tx = catalog.database.begin().await.unwrap();
    for new in written {
        write_tree(&mut tx, REPO, new).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn apply(
    tree: &PartTree<'_>,
    old: Option<DirectoryId>,
    changes: &Changes,
) -> Result<(Option<DirectoryId>, usize), CatalogError> {
    let mut written = Vec::new();
    let new = tree.apply(old, changes, &mut written).await?;
    store(tree.catalog, &written).await;
    Ok((new, written.len()))
}

fn path(text: &str) -> RepoPath {
    text.parse().unwrap()
}

type Model = BTreeMap<String, u32>;

fn all_of(model: &Model) -> Changes {
    let mut changes = Changes::default();
    for (at, content) in model {
        changes.put(&path(at), file(*content));
    }
    changes
}

/// Paths of a model as a listing shows them: directories first, each level by folded name.
fn lines(model: &Model) -> Vec<String> {
    let mut lines: BTreeMap<Vec<String>, String> = BTreeMap::new();
    for at in model.keys() {
        let segments: Vec<&str> = at.split('/').collect();
        for depth in 1..=segments.len() {
            let key = segments[..depth].iter().map(|name| folded(name)).collect();
            lines.insert(key, segments[..depth].join("/"));
        }
    }
    lines.into_values().collect()
}

fn body(roots: &[(Compartment, Option<DirectoryId>)]) -> CommitBody {
    let root = |(compartment, top): &(Compartment, Option<DirectoryId>)| {
        top.map(|(id, git)| Root { compartment: *compartment, id, git })
    };
    let roots = roots.iter().filter_map(root).collect();
    CommitBody { title: String::new(), message: String::new(), author: String::new(), roots }
}

async fn pages(view: &View<'_>, below: Option<&RepoPath>, recursive: bool, limit: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut after = None;
    loop {
        let page = view.list(below, recursive, after.as_ref(), limit).await.unwrap().unwrap();
        assert!(page.items.len() == limit || !page.more);
        lines.extend(page.items.iter().map(|item| item.path().to_owned()));
        match page.items.last() {
            Some(last) if page.more => after = Some(path(last.path())),
            _ => return lines,
        }
    }
}

#[tokio::test]
async fn random_edits_give_what_a_plain_map_gives_and_the_same_nodes_as_if_made_at_once() {
    let place = Place::new().await;
    let keys = keys(1);
    let tree = tree(&place.catalog, &keys);
    let mut numbers = Numbers(0x5eed);
    let mut model = Model::new();
    let mut top = None;
    // Directories that grow beyond a leaf, then over several levels, shrink again and vanish.
    let sizes = [3, 40, 300, 900, 3000, 900, 120, 3000, 200, 260, 250, 5, 900, 0];
    for (round, size) in sizes.into_iter().enumerate() {
        let name = |n: usize| match n % 3 {
            0 => format!("flat/File {n:05}.bin"),
            1 => format!("deep/{}/Ünder/f{n}", n % 7),
            _ => format!("f{n:x}"),
        };
        let mut changes = Changes::default();
        let put = |model: &mut Model, changes: &mut Changes, n: usize, content: usize| {
            changes.put(&path(&name(n)), file(content as u32));
            model.insert(name(n), content as u32);
        };
        while model.len() < size {
            put(&mut model, &mut changes, numbers.below(9000), numbers.below(1000));
        }
        while model.len() > size {
            let at = model.keys().nth(numbers.below(model.len())).unwrap().clone();
            model.remove(&at);
            changes.remove(&path(&at));
        }
        if size > 0 {
            for _ in 0..numbers.below(20) {
                put(&mut model, &mut changes, numbers.below(9000), numbers.below(1000));
            }
        }
        if round % 4 == 3 {
            changes.remove(&path("deep/3"));
            model.retain(|at, _| !at.starts_with("deep/3/"));
        }
        (top, _) = apply(&tree, top, &changes).await.unwrap();
        let (at_once, _) = apply(&tree, None, &all_of(&model)).await.unwrap();
        assert_eq!(top, at_once, "round {round}: {} files", model.len());
        let (again, written) = apply(&tree, top, &all_of(&model)).await.unwrap();
        assert_eq!((again, written), (top, 0), "the same again is no change");
        let body = body(&[(Compartment::Data, top)]);
        let view = View {
            catalog: &place.catalog,
            repo: REPO,
            parts: vec![(Compartment::Data, &keys)],
            body: &body,
            only: None,
        };
        let expected = lines(&model);
        assert_eq!(pages(&view, None, true, usize::MAX).await, expected);
        assert_eq!(pages(&view, None, true, 1 + numbers.below(100)).await, expected);
        let asked: Vec<RepoPath> = (0..9000).map(|n| path(&name(n))).collect();
        let found = view.at(&asked).await.unwrap();
        let found: Model = found
            .into_iter()
            .filter_map(|(at, item)| match item {
                Item::File(_, _, file) => Some((at.to_string(), file.size as u32)),
                Item::Directory(..) => None,
            })
            .collect();
        assert_eq!(found, model);
    }
    assert_eq!(top, None);
}

#[tokio::test]
async fn single_edits_in_any_order_give_the_same_nodes() {
    let place = Place::new().await;
    let keys = keys(1);
    let tree = tree(&place.catalog, &keys);
    let mut numbers = Numbers(77);
    let kept: Model = (0..400).map(|n| (format!("k{n:04}"), n)).collect();
    let (expected, _) = apply(&tree, None, &all_of(&kept)).await.unwrap();
    for _ in 0..3 {
        let passing: Model = (0..300).map(|_| (format!("k{:04}x", numbers.below(400)), 1)).collect();
        let mut model = kept.clone();
        model.extend(passing.clone());
        let (mut top, _) = apply(&tree, None, &all_of(&model)).await.unwrap();
        let mut going: Vec<String> = passing.into_keys().collect();
        while !going.is_empty() {
            let mut changes = Changes::default();
            changes.remove(&path(&going.swap_remove(numbers.below(going.len()))));
            (top, _) = apply(&tree, top, &changes).await.unwrap();
        }
        assert_eq!(top, expected);
    }
}

#[tokio::test]
async fn an_edit_and_a_page_touch_few_nodes_of_a_large_directory() {
    let place = Place::new().await;
    let keys = keys(2);
    let model: Model = (0..10_000).map(|n| (format!("f{n:06}"), n)).collect();
    let (top, all) = apply(&tree(&place.catalog, &keys), None, &all_of(&model)).await.unwrap();
    assert!(all > 100, "{all}");
    let catalog = place.reopened().await;
    let tree = tree(&catalog, &keys);
    let body = body(&[(Compartment::Data, top)]);
    let view = View { catalog: &catalog, repo: REPO, parts: vec![(Compartment::Data, &keys)], body: &body, only: None };
    let page = view.list(None, true, Some(&path("f004999")), 50).await.unwrap().unwrap();
    assert_eq!((page.items[0].path(), page.more), ("f005000", true));
    assert!(catalog.cache.len() <= 8, "{}", catalog.cache.len());
    for n in [0, 5000, 9999, 10_001] {
        let mut changes = Changes::default();
        changes.put(&path(&format!("f{n:06}")), file(1_000_000));
        let (_, written) = apply(&tree, top, &changes).await.unwrap();
        assert!((1..=6).contains(&written), "{written} nodes");
    }
}

#[tokio::test]
async fn names_that_differ_only_in_case_are_refused_wherever_they_lie_and_a_name_may_change_its_case() {
    let place = Place::new().await;
    let keys = keys(3);
    let tree = tree(&place.catalog, &keys);
    for size in [2, 2000] {
        let model: Model = (0..size).map(|n| (format!("d/Name {n}"), n)).collect();
        let (top, _) = apply(&tree, None, &all_of(&model)).await.unwrap();
        for wrong in ["d/name 1", "d/NAME 1/below", "D/other"] {
            let mut changes = Changes::default();
            changes.put(&path(wrong), file(9));
            let refused = apply(&tree, top, &changes).await;
            assert!(matches!(refused, Err(CatalogError::Refused(_))), "{wrong}: {refused:?}");
        }
        let mut changes = Changes::default();
        changes.remove(&path("d/Name 1"));
        changes.put(&path("d/NAME 1"), file(1));
        let (top, _) = apply(&tree, top, &changes).await.unwrap();
        let (old, new) = (path("d/Name 1"), path("d/NAME 1"));
        let found = tree.at(&top.unwrap().0, [&old, &new]).await.unwrap();
        assert_eq!(found.into_keys().collect::<Vec<_>>(), [&new]);
    }
}

#[tokio::test]
async fn a_file_is_not_put_where_a_directory_is_nor_below_a_file() {
    let place = Place::new().await;
    let keys = keys(3);
    let tree = tree(&place.catalog, &keys);
    let (top, _) = apply(&tree, None, &all_of(&Model::from([("a/b".into(), 1)]))).await.unwrap();
    for wrong in ["a", "a/b/c"] {
        let mut changes = Changes::default();
        changes.put(&path(wrong), file(9));
        assert!(matches!(apply(&tree, top, &changes).await, Err(CatalogError::Refused(_))), "{wrong}");
        // With what is in the way gone first, it is.
        let mut changes = Changes::default();
        changes.remove(&path("a"));
        changes.put(&path(wrong), file(9));
        let (new, _) = apply(&tree, top, &changes).await.unwrap();
        let expected = apply(&tree, None, &all_of(&Model::from([(wrong.into(), 9)]))).await.unwrap();
        assert_eq!(new, expected.0);
    }
    // What was to come is not, once its directory is deleted after it.
    let mut changes = Changes::default();
    changes.put(&path("a/c"), file(2));
    changes.remove(&path("a"));
    assert_eq!(apply(&tree, top, &changes).await.unwrap(), (None, 0));
    // Moved to another compartment: the file leaves, a directory of that name stays.
    let mut changes = Changes::default();
    changes.remove_file(&path("a"));
    assert_eq!(apply(&tree, top, &changes).await.unwrap().0, top);
    let mut changes = Changes::default();
    changes.remove_file(&path("a/b"));
    assert_eq!(apply(&tree, top, &changes).await.unwrap().0, None);
}

#[tokio::test]
async fn a_directory_of_one_leaf_has_gits_own_id() {
    let place = Place::new().await;
    let keys = keys(3);
    let tree = tree(&place.catalog, &keys);
    for (size, is_git) in [(1, true), (256, true), (257, false)] {
        let model: Model = (0..size).map(|n| (format!("f{n}"), n)).collect();
        let (top, _) = apply(&tree, None, &all_of(&model)).await.unwrap();
        let git = tree_id(model.iter().map(|(name, content)| (name.as_str(), false, *file(*content).blob.as_bytes())));
        assert_eq!(top.unwrap().1 == git, is_git, "{size}");
    }
}

#[tokio::test]
async fn a_node_that_was_swapped_moved_or_changed_is_refused() {
    let place = Place::new().await;
    let keys = keys(4);
    let tree = tree(&place.catalog, &keys);
    let model: Model = (0..600).map(|n| (format!("f{n:03}"), n)).collect();
    let (top, _) = apply(&tree, None, &all_of(&model)).await.unwrap();
    let top = top.unwrap().0;
    let Node::Inner(_, children) = tree.node(&top).await.unwrap() else { panic!("one leaf") };
    let [one, other] = [children[0].id, children[1].id];
    let body = async |id: [u8; 32]| -> Vec<u8> {
        let row = sqlx::query_scalar("SELECT body_sealed FROM tree WHERE id = $1").bind(id.to_vec());
        row.fetch_one(&place.catalog.database.reader).await.unwrap()
    };
    let (first, second) = (body(one).await, body(other).await);
    let set = async |id: [u8; 32], bytes: Vec<u8>| {
        let update = sqlx::query("UPDATE tree SET body_sealed = $1 WHERE id = $2").bind(bytes).bind(id.to_vec());
        update.execute(&place.catalog.database.writer).await.unwrap();
    };
    let refused = async || {
        let catalog = place.reopened().await;
        let tree = PartTree { catalog: &catalog, ..tree };
        matches!(tree.at(&top, [&path(&children[0].last)]).await, Err(CatalogError::Sealed(_)))
    };
    assert!(!refused().await);
    set(one, second).await;
    assert!(refused().await, "swapped");
    let mut changed = first.clone();
    *changed.last_mut().unwrap() ^= 1;
    set(one, changed).await;
    assert!(refused().await, "changed");
    set(one, first).await;
    assert!(!refused().await);
    sqlx::query("UPDATE tree SET compartment = 'logs' WHERE id = $1")
        .bind(one.to_vec())
        .execute(&place.catalog.database.writer)
        .await
        .unwrap();
    let catalog = place.reopened().await;
    let elsewhere = PartTree { catalog: &catalog, compartment: Compartment::Logs, ..tree };
    assert!(matches!(elsewhere.node(&one).await, Err(CatalogError::Sealed(_))), "moved");
    // What lies in memory opens only under the same keys too.
    tree.node(&top).await.unwrap();
    let others = self::keys(9);
    assert!(matches!(PartTree { keys: &others, ..tree }.node(&top).await, Err(CatalogError::Sealed(_))));
}

#[tokio::test]
async fn a_hidden_compartment_leaves_no_trace_in_pages() {
    let place = Place::new().await;
    let (data, logs) = (keys(5), keys(6));
    let seen: Model = (0..700).map(|n| (format!("run/{}/f{n}", n % 3), n)).collect();
    let hidden: Model = (0..700).map(|n| (format!("run/{}/f{n}.log", n % 5), n)).collect();
    let (top, _) = apply(&tree(&place.catalog, &data), None, &all_of(&seen)).await.unwrap();
    let unseen = PartTree { compartment: Compartment::Logs, ..tree(&place.catalog, &logs) };
    let (other, _) = apply(&unseen, None, &all_of(&hidden)).await.unwrap();
    let both = body(&[(Compartment::Data, top), (Compartment::Logs, other)]);
    let one = body(&[(Compartment::Data, top)]);
    let view = |body, parts| View { catalog: &place.catalog, repo: REPO, parts, body, only: None };
    let reader = view(&both, vec![(Compartment::Data, &data)]);
    let alone = view(&one, vec![(Compartment::Data, &data)]);
    for recursive in [false, true] {
        let pages = [&reader, &alone].map(|view| view.list(None, recursive, None, usize::MAX));
        let [reader, alone] = pages;
        assert_eq!(reader.await.unwrap(), alone.await.unwrap());
    }
    let all: Model = seen.into_iter().chain(hidden).collect();
    let owner = view(&both, vec![(Compartment::Data, &data), (Compartment::Logs, &logs)]);
    assert_eq!(pages(&owner, None, true, 37).await, lines(&all));
    assert_eq!(pages(&owner, Some(&path("run")), false, 2).await, ["run/0", "run/1", "run/2", "run/3", "run/4"]);
    let elsewhere = owner.list(Some(&path("run")), true, Some(&path("other/x")), 5).await;
    assert!(matches!(elsewhere, Err(CatalogError::Refused(_))));
}

#[tokio::test]
async fn the_last_commit_of_a_path_is_the_one_that_a_comparison_of_all_files_finds() {
    let place = Place::new().await;
    let catalog = &place.catalog;
    let shared = keys(7);
    let parts = BTreeMap::from([(Compartment::Data, keys(8)), (Compartment::Code, keys(9))]);
    let mut numbers = Numbers(4711);
    let mut history: Vec<(CommitInfo, Model)> = Vec::new();
    let mut model = Model::new();
    for round in 0..40 {
        let mut operations = Vec::new();
        let mut used = BTreeSet::new();
        let count = if round == 0 { 600 } else { 1 + numbers.below(5) };
        for _ in 0..count {
            let n = numbers.below(900);
            let at = if n.is_multiple_of(2) { format!("flat{n:03}") } else { format!("dir/{}/x{n}", n % 4) };
            if !used.insert(at.clone()) {
                continue;
            }
            let compartment = if n.is_multiple_of(5) { Compartment::Code } else { Compartment::Data };
            if model.contains_key(&at) && numbers.below(3) == 0 {
                model.remove(&at);
                operations.push(Operation::Delete(path(&at)));
            } else {
                let content = numbers.below(1_000_000) as u32;
                model.insert(at.clone(), content);
                let placed = Placed { compartment, file: file(content), header: None };
                operations.push(Operation::Put(path(&at), Box::new(placed)));
            }
        }
        let parent = history.last().map(|(commit, _)| commit);
        let about = (format!("c{round}"), String::new(), String::from("anna"));
        let about = (about.0.as_str(), about.1.as_str(), about.2.as_str());
        let record = async |_: Commit, _: Vec<Compartment>, _: i64| Ok::<_, CatalogError>(());
        let made = catalog
            .make_commit(REPO, &shared, &parts, parent, "main", &operations, QUOTA, about, record)
            .await
            .unwrap();
        history.push((catalog.commit(REPO, &shared, made).await.unwrap(), model.clone()));
    }
    let (head, now) = history.last().unwrap();
    let view = View {
        catalog,
        repo: REPO,
        parts: parts.iter().map(|(compartment, keys)| (*compartment, keys)).collect(),
        body: &head.body,
        only: None,
    };
    // What a path holds: a file's content, or all that is below it.
    let at = |model: &Model, at: &str| -> Model {
        let below = format!("{at}/");
        model.iter().filter(|(held, _)| *held == at || held.starts_with(&below)).map(|(a, b)| (a.clone(), *b)).collect()
    };
    let asked: Vec<RepoPath> = lines(now).iter().map(|line| path(line)).chain([path("nowhere/x")]).collect();
    let found = view.last_changes(&shared, head, &asked).await.unwrap();
    for (asked, found) in asked.iter().zip(found) {
        let held = at(now, asked.as_str());
        let changed = history.iter().rposition(|(_, model)| at(model, asked.as_str()) != held);
        let expected = if held.is_empty() { None } else { Some(changed.map_or(0, |before| before + 1)) };
        let expected = expected.map(|at| history[at].0.body.title.clone());
        assert_eq!(found.map(|commit| commit.body.title.clone()), expected, "{asked}");
    }
}

#[tokio::test]
async fn of_a_dropped_repository_nothing_is_left_to_read_in_memory_either() {
    let place = Place::new().await;
    let keys = keys(1);
    let tree = tree(&place.catalog, &keys);
    let (top, _) = apply(&tree, None, &all_of(&Model::from([("a".into(), 1)]))).await.unwrap();
    let top = top.unwrap().0;
    tree.node(&top).await.unwrap();
    place.catalog.drop_repo(REPO).await.unwrap();
    assert!(matches!(tree.node(&top).await, Err(CatalogError::Value("directory"))));
}
