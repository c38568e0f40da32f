//! A gate that is an attacker's asks the keeper for names, and is answered alike whether they are decoys or nothing at all.

mod house;

use house::{House, call, house};
use strongroom_domain::{Action, RepoKind, Role};
use strongroom_protocol::admin::{AdminCommand, PlaceName, Scope};
use strongroom_protocol::{Credential, DecoyCommand, DecoySpec, Grant, Keeper, Refusal, SecretText, Target};

/// A principal with a role, and their token.
async fn person(house: &House, gate: &Keeper, name: &str, role: Role, place: PlaceName) -> Credential {
    let admin = async |command| gate.admin(call(), house.credential(), command).await.expect("done");
    admin(AdminCommand::UserCreate { name: name.to_owned() }).await;
    admin(AdminCommand::RoleGrant { user: name.to_owned(), role, place }).await;
    let (user, scope) = (name.to_owned(), Scope::default());
    let made = admin(AdminCommand::TokenCreate { user, name: None, scope, expires_s: None }).await;
    let made: serde_json::Value = serde_json::from_str(&made).expect("the keeper's own text");
    Credential::Token(SecretText::new(made["token"].as_str().expect("a token").to_owned()))
}

async fn read(gate: &Keeper, who: &Credential, repo: &str, path: Option<&str>) -> Result<Grant, Refusal> {
    let (name, path) = (repo.parse().expect("a name"), path.map(str::to_owned));
    let target = Target::Repo { kind: RepoKind::Model, name, revision: None, path };
    gate.authorize(call(), Some(who.clone()), Action::RepoRead, target).await
}

/// All that a grant tells, but its number and whose it is.
fn told(grant: &Grant) -> String {
    let parts = grant.parts();
    format!("{:?} {:?} {:?}", parts.namespaces, parts.token, parts.repo)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_is_told_the_same_of_a_decoy_and_of_nothing() {
    let house = house("decoys").await;
    let gate = house.gate().await;
    drop(house.repo(&gate, "one").await);
    let watch = person(&house, &gate, "watch", Role::Security, PlaceName::System).await;
    for spec in [
        DecoySpec::Repo(RepoKind::Model, "admin/bait".parse().expect("a name")),
        DecoySpec::Path(RepoKind::Model, "admin/one".parse().expect("a name"), "old/bait.csv".parse().expect("a path")),
    ] {
        let plant = AdminCommand::Decoy(DecoyCommand::Plant(spec));
        gate.admin(call(), Some(watch.clone()), plant).await.expect("planted");
    }
    let of = || PlaceName::Namespace("admin".to_owned());
    let mut thieves = Vec::new();
    for name in ["a", "b", "c"] {
        thieves.push(person(&house, &gate, name, Role::Reader, of()).await);
    }
    let absent = read(&gate, &thieves[0], "admin/nothing", None).await.err();
    assert_eq!(
        (absent.clone(), absent),
        (read(&gate, &thieves[0], "admin/bait", None).await.err(), Some(Refusal::NotFound))
    );
    let nothing = read(&gate, &thieves[1], "admin/one", Some("old/nothing.csv")).await.expect("a grant");
    let bait = read(&gate, &thieves[1], "admin/one", Some("old/bait.csv")).await.expect("a grant");
    assert_eq!(told(&nothing), told(&bait));
    let grant = read(&gate, &thieves[2], "admin/one", None).await.expect("a grant");
    for path in ["old/nothing.csv", "old/bait.csv"] {
        assert_eq!(gate.named(&grant, std::iter::once(path.to_owned())).await, Ok(()), "{path}");
    }
    // Each of them is locked all the same, and what they held is over.
    for thief in &thieves {
        assert_eq!(read(&gate, thief, "admin/one", None).await.err(), Some(Refusal::Credential));
    }
    assert_eq!(gate.renew(vec![bait.id(), grant.id()]).await, Ok(vec![bait.id(), grant.id()]));
}
