//! What grants are worth on both sides of a rotation of a repository's secret.

mod house;

use house::{House, call, house};
use strongroom_domain::{Action, Compartment, RepoKind};
use strongroom_envelope::{FileKey, Header, Recipient};
use strongroom_protocol::admin::{AdminCommand, RotateStep};
use strongroom_protocol::{Grant, Keeper, ObjectRef, Refusal};

fn docs(grant: &Grant) -> ObjectRef {
    let part = grant.repo().expect("a repository").part(Compartment::Docs).expect("docs").recipient.clone();
    let recipient: Recipient = part.parse().expect("a recipient");
    let header = Header::seal(&FileKey::generate().expect("randomness"), &[recipient]).expect("a header");
    let (envelope, compartment) = (header.as_bytes().to_vec(), Some(Compartment::Docs));
    ObjectRef { compartment, commit: None, path: None, envelope, size: 10 }
}

async fn step(house: &House, gate: &Keeper, step: RotateStep) -> Result<String, Refusal> {
    let repo = "admin/one".parse().expect("a name");
    let command = AdminCommand::KeyRotateRepo { kind: RepoKind::Model, repo, step };
    gate.admin(call(), house.credential(), command).await
}

async fn wrote(gate: &Keeper, grant: &Grant) -> Result<(), Refusal> {
    gate.wrote(grant, "commit", "main".to_owned(), None, vec![Compartment::Docs], None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_being_read_at_the_switch_opens_until_the_old_secret_is_deleted_and_nothing_is_written_with_it() {
    let house = house("rotation").await;
    let gate = house.gate().await;
    let _made = house.repo(&gate, "one").await;
    let (reads, writes) =
        (house.grant(&gate, Action::RepoRead, "one").await, house.grant(&gate, Action::RepoWrite, "one").await);
    let glass = house.grant(&gate, Action::RepoManage, "one").await;
    let before = docs(&reads);
    step(&house, &gate, RotateStep::Begin { re_encrypt: false }).await.expect("a rotation");
    let pending = house.grant(&gate, Action::RepoRead, "one").await;
    assert_eq!(
        pending.repo().unwrap().parts().id,
        reads.repo().unwrap().parts().id,
        "nothing is new before the switch"
    );
    assert!(wrote(&gate, &writes).await.is_ok());
    step(&house, &gate, RotateStep::Close).await.expect("a close");
    assert!(gate.open(&reads, before.clone(), 0..10).await.is_ok());
    step(&house, &gate, RotateStep::Switch { close: 1 }).await.expect("a switch");
    let after = house.grant(&gate, Action::RepoRead, "one").await;
    let (old, new) = (reads.repo().unwrap().parts(), after.repo().unwrap().parts());
    assert_ne!(old.id, new.id);
    assert_eq!(old.scope, new.scope, "clients know it by the same id");
    assert_ne!(old.shared.seal.expose(), new.shared.seal.expose());
    assert_ne!(old.shared.index.expose(), new.shared.index.expose());
    assert_eq!(old.shared.split.expose(), new.shared.split.expose(), "directories are cut where they were");
    // Each with its own keys, and with no other's.
    assert!(gate.open(&reads, before.clone(), 0..10).await.is_ok());
    assert!(gate.open(&after, docs(&after), 0..10).await.is_ok());
    assert!(matches!(gate.open(&after, before.clone(), 0..10).await, Err(Refusal::Invalid(_))));
    assert!(matches!(gate.open(&reads, docs(&after), 0..10).await, Err(Refusal::Invalid(_))));
    // A stream in flight goes on; an upload in flight is told to come again.
    assert!(gate.renew(vec![reads.id(), writes.id()]).await.expect("an answer").is_empty());
    for grant in [&writes, &glass] {
        assert!(matches!(wrote(&gate, grant).await, Err(Refusal::Later(_))));
    }
    let envelopes = vec![(before.clone(), Compartment::Docs)];
    assert!(matches!(gate.rewrap(&writes, envelopes).await, Err(Refusal::Later(_))));
    let inbox = ObjectRef { compartment: None, ..before.clone() };
    assert!(matches!(gate.open(&writes, inbox, 0..10).await, Err(Refusal::Later(_))));
    assert!(wrote(&gate, &house.grant(&gate, Action::RepoWrite, "one").await).await.is_ok());
    step(&house, &gate, RotateStep::Finish).await.expect("an end");
    assert!(matches!(gate.open(&reads, before, 0..10).await, Err(Refusal::Later(_))));
    assert!(gate.renew(vec![reads.id()]).await.expect("an answer").is_empty(), "what streams has its key");
    assert!(gate.open(&after, docs(&after), 0..10).await.is_ok());
    assert!(matches!(step(&house, &gate, RotateStep::Finish).await, Err(Refusal::Conflict(_))));
}
