//! A list that crosses more than one question looks at: it says where to go on, and nothing of what it crossed.

mod house;

use house::{call, house};
use strongroom_domain::{Action, Compartment, RepoKind, Role};
use strongroom_protocol::admin::{AdminCommand, PlaceName};
use strongroom_protocol::{ListQuery, Listed, Order};

/// More than one question judges.
const HIDDEN: usize = 2100;

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_behind_thousands_that_are_hidden_is_found_by_going_on() {
    let house = house("long-lists").await;
    let gate = house.gate().await;
    let admin = async |command| gate.admin(call(), house.credential(), command).await.expect("an administrator");
    let place = |name: &str| PlaceName::Namespace(name.to_owned());
    let user = || "admin".to_owned();
    let grant = async |role, place| admin(AdminCommand::RoleGrant { user: user(), role, place }).await;
    grant(Role::Owner, place("hidden")).await;
    grant(Role::Reader, PlaceName::System).await;
    let make = async |namespace: &str, n: usize| {
        let namespace = Some(namespace.to_owned());
        let made = gate.create_repo(call(), house.credential(), RepoKind::Model, namespace, format!("r{n}"));
        let grant = made.await.expect("a repository");
        let docs = vec![Compartment::Docs];
        let moved_ms = Some(n as i64);
        gate.wrote(&grant, "commit", "main".to_owned(), None, docs, moved_ms).await.expect("a record");
    };
    make("admin", 0).await;
    for n in 1..=HIDDEN {
        make("hidden", n).await;
    }
    make("admin", HIDDEN + 1).await;
    let (user, place, action) = (user(), place("hidden"), Action::RepoList);
    admin(AdminCommand::RoleLine { user, action, compartment: None, place, allow: false, remove: false }).await;
    let list = async |words: &[&str], after: Option<String>| {
        let words = words.iter().map(ToString::to_string).collect();
        let (kind, order) = (RepoKind::Model, Order::Modified);
        let query = ListQuery { kind, author: None, words, order, after, limit: 10 };
        gate.list_repos(call(), house.credential(), query).await.expect("a list")
    };
    let names = |page: &[Listed]| page.iter().map(|listed| listed.repo.name.to_string()).collect::<Vec<_>>();
    let (first, next) = list(&[], None).await;
    assert_eq!(names(&first), [format!("admin/r{}", HIDDEN + 1)]);
    let (second, end) = list(&[], Some(next.expect("a place to go on"))).await;
    assert_eq!((names(&second), end), (vec!["admin/r0".to_owned()], None));
    // Names alone are looked at faster.
    let (found, end) = list(&["ADMIN/r"], None).await;
    assert_eq!((found.len(), end), (2, None));
}
