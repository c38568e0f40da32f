//! The keeper, when the gate is an attacker's: what it asks beyond its grants is refused, and what is no question ends the
//! connection.

mod house;

use house::house;
use strongroom_domain::{Action, Compartment};
use strongroom_envelope::{FileKey, Header, Recipient};
use strongroom_protocol::{Grant, GrantId, Keeper, Numbered, ObjectRef, Refusal, Reply, Request, split};
use tokio::io::AsyncWriteExt;

fn object(compartment: Option<Compartment>, recipient: &str) -> ObjectRef {
    let recipient: Recipient = recipient.parse().expect("a recipient");
    let header = Header::seal(&FileKey::generate().expect("randomness"), &[recipient]).expect("a header");
    ObjectRef { compartment, commit: None, path: None, envelope: header.as_bytes().to_vec(), size: 10 }
}

fn docs(grant: &Grant) -> ObjectRef {
    let part = grant.repo().expect("a repository").part(Compartment::Docs).expect("docs").recipient.clone();
    object(Some(Compartment::Docs), &part)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_grant_opens_its_own_repository_and_nothing_else() {
    let house = house("reading").await;
    let gate = house.gate().await;
    let (_one, _two) = (house.repo(&gate, "one").await, house.repo(&gate, "two").await);
    let one = house.grant(&gate, Action::RepoRead, "one").await;
    let two = house.grant(&gate, Action::RepoRead, "two").await;
    assert!(gate.open(&one, docs(&one), 0..10).await.is_ok());
    assert!(matches!(gate.open(&one, docs(&two), 0..10).await, Err(Refusal::Invalid(_))), "another's envelope");
    let moved = ObjectRef { compartment: Some(Compartment::Weights), ..docs(&one) };
    assert!(matches!(gate.open(&one, moved, 0..10).await, Err(Refusal::Invalid(_))), "another compartment's");
    assert!(matches!(gate.open(&one, docs(&one), 0..11).await, Err(Refusal::Invalid(_))), "more than there is");
    let inbox = ObjectRef { compartment: None, ..docs(&one) };
    assert_eq!(gate.open(&one, inbox, 0..10).await.err(), Some(Refusal::NotFound), "the inbox");
    let envelopes = vec![(docs(&one), Compartment::Docs)];
    assert!(gate.rewrap(&one, envelopes).await.is_err(), "re-wrapping is writing");
    assert!(gate.recover(&one, docs(&one)).await.is_err(), "the glass is not for readers");
    assert!(gate.metrics(&one).await.is_err(), "the numbers are for whoever may read them");
    assert!(
        gate.wrote(&one, "commit", "main".to_owned(), None, Vec::new(), None).await.is_err(),
        "a record of a write"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_to_create_to_write_and_to_manage_open_no_content() {
    let house = house("others").await;
    let gate = house.gate().await;
    let made = house.repo(&gate, "one").await;
    assert!(gate.open(&made, docs(&made), 0..10).await.is_err(), "create");
    for action in [Action::RepoWrite, Action::RepoManage] {
        let grant = house.grant(&gate, action, "one").await;
        assert!(gate.open(&grant, docs(&grant), 0..10).await.is_err(), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_weights_is_made_one_of_docs_for_nobody_whatever_the_gate_says_of_it() {
    let house = house("relabel").await;
    let gate = house.gate().await;
    let _made = house.repo(&gate, "one").await;
    let grant = house.grant(&gate, Action::RepoWrite, "one").await;
    let weights = grant.repo().expect("a repository").part(Compartment::Weights).expect("weights").recipient.clone();
    let weights = object(Some(Compartment::Weights), &weights);
    let rewrap = async |object: ObjectRef, to| gate.rewrap(&grant, vec![(object, to)]).await;
    assert!(matches!(rewrap(weights.clone(), Compartment::Docs).await, Err(Refusal::Forbidden(_))));
    // Of another compartment, or of the inbox, it does not open.
    for said in [Some(Compartment::Docs), Some(Compartment::Code), None] {
        let said = ObjectRef { compartment: said, ..weights.clone() };
        assert!(matches!(rewrap(said, Compartment::Docs).await, Err(Refusal::Invalid(_))));
    }
    assert!(rewrap(weights, Compartment::Data).await.is_ok());
    assert!(rewrap(docs(&grant), Compartment::Weights).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_grants_that_were_never_given_or_are_over_open_nothing() {
    let house = house("numbers").await;
    let gate = house.gate().await;
    let _repo = house.repo(&gate, "one").await;
    let grant = house.grant(&gate, Action::RepoRead, "one").await;
    let envelope = docs(&grant);
    let dead: Vec<GrantId> = (0..1000).map(GrantId).filter(|id| *id != grant.id()).collect();
    let answered = gate.renew(dead.clone()).await.expect("an answer");
    // The grant of the creation is still held above.
    assert_eq!(answered.len(), dead.len() - 1);
    // On another connection the number means nothing: its grants ended with it.
    let other = house.gate().await;
    assert_eq!(other.open(&grant, envelope, 0..10).await.err(), Some(Refusal::Over));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_of_the_protocol_ends_the_connection() {
    let house = house("frames").await;
    for bytes in [&b"\0\0\0\x04\xff\xff\xff\xff"[..], b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0"] {
        let mut socket = house.socket();
        let _ = socket.write_all(bytes).await;
        let (mut reader, _writer) = split(socket);
        assert!(!matches!(reader.next::<Reply>().await, Ok(Some(_))), "{bytes:?}");
    }
    // A question before the greeting.
    let (mut reader, mut writer) = split(house.socket());
    writer.feed(&Numbered { number: 1, message: Request::Status }).await.expect("a frame");
    writer.flush().await.expect("a frame");
    assert!(!matches!(reader.next::<Reply>().await, Ok(Some(_))));
    // Routes that leave an action of the policy out.
    let gate = Keeper::new(house.socket());
    assert!(gate.hello(vec![Action::RepoRead]).await.is_err());
    assert!(gate.status().await.is_err());
}
