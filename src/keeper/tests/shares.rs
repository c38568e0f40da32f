//! Shares behind the wall: what the judge says of them, and what a gate that is an attacker's gets through one.

mod house;

use house::{House, call, house};
use strongroom_domain::{Action, Commit, Compartment, PathGlobs, RepoKind, Role};
use strongroom_envelope::{FileKey, Header, Identity, Recipient};
use strongroom_keeper::policy::{Allowance, Assignment, Line, Place, Policy, PrincipalId, Question, Roles};
use strongroom_protocol::admin::AdminCommand;
use strongroom_protocol::{
    Credential, Grant, Keeper, ObjectRef, Purpose, Refusal, SecretText, ShareCommand, ShareSpec, Target,
};

const PARTNER: PrincipalId = PrincipalId(7);
const SHARE: u64 = 3;
const REPO: u64 = 100;

fn judge() -> Policy {
    let roles = Roles::parse(include_str!("../../../policies/roles.csv")).expect("the shipped roles");
    // Elsewhere the partner is mighty.
    let held = [Role::Owner, Role::Admin].map(|role| Assignment { principal: PARTNER, role, place: Place::System });
    let mut policy = Policy::new(include_str!("../../../policies/model.conf"), &roles, held, []).expect("the model");
    let compartments = vec![Compartment::Docs, Compartment::Weights];
    policy.share(SHARE, Allowance { repo: REPO, compartments });
    policy
}

fn ask(action: Action, compartment: Option<Compartment>) -> Question {
    let (principal, share) = (PARTNER, Some(SHARE));
    Question { principal, share, action, compartment, namespace: Some(1), repo: Some(REPO) }
}

#[test]
fn a_share_allows_its_own_compartments_of_its_own_repository_and_no_role_of_its_principal() {
    let policy = judge();
    for action in Action::ALL.iter().copied() {
        let parts = policy.compartments(&ask(action, None));
        match action {
            Action::RepoRead => assert_eq!(parts, [Compartment::Docs, Compartment::Weights]),
            _ => assert_eq!(parts, [], "{action}"),
        }
        assert_eq!(policy.allows(&ask(action, None)), action == Action::RepoList, "{action}");
    }
    let docs = ask(Action::RepoRead, Some(Compartment::Docs));
    assert!(policy.allows(&docs));
    assert!(!policy.allows(&Question { repo: Some(REPO + 1), ..docs }), "another repository");
    assert!(!policy.allows(&Question { repo: None, ..docs }), "a namespace");
    assert!(!policy.allows(&Question { share: Some(SHARE + 1), ..docs }), "a share that is not there");
    assert!(policy.allows(&Question { share: None, repo: Some(REPO + 1), ..docs }), "its principal, otherwise");
}

#[test]
fn a_share_gives_its_principal_nothing_and_a_denial_of_the_principal_wins_in_it() {
    let mut policy = judge();
    for role in [Role::Owner, Role::Admin] {
        policy.unassign(Assignment { principal: PARTNER, role, place: Place::System });
    }
    let docs = ask(Action::RepoRead, Some(Compartment::Docs));
    assert!(policy.allows(&docs) && !policy.allows(&Question { share: None, ..docs }));
    let line = |place, allow| {
        let (principal, action, compartment) = (PARTNER, Action::RepoRead, Some(Compartment::Docs));
        Line { principal, action, compartment, place, allow }
    };
    for place in [Place::System, Place::Namespace(1), Place::Repo(REPO)] {
        policy.add(line(place, false)).expect("a first line");
        assert!(!policy.allows(&docs), "{place:?}");
        assert!(policy.allows(&ask(Action::RepoRead, Some(Compartment::Weights))));
        policy.remove(line(place, false));
        assert!(policy.allows(&docs), "{place:?}");
    }
    // One that is with several is refused to whom it is denied, and to nobody else.
    policy.add(line(Place::Repo(REPO), false)).expect("a first line");
    let other = Question { principal: PrincipalId(PARTNER.0 + 1), ..docs };
    assert!(policy.allows(&other) && !policy.allows(&docs) && policy.allows(&other));
    policy.remove(line(Place::Repo(REPO), false));
    policy.add(line(Place::Repo(REPO + 1), false)).expect("a first line");
    assert!(policy.allows(&docs), "a denial elsewhere");
    policy.unshare(SHARE);
    assert!(!policy.allows(&docs), "from the next question on");
}

fn commit(digit: u8) -> Commit {
    Commit::from_bytes([digit; 20])
}

fn object(grant: &Grant, commit: Commit, path: &str) -> ObjectRef {
    let part = grant.repo().expect("a repository").part(Compartment::Docs).expect("docs");
    let recipient: Recipient = part.recipient.parse().expect("a recipient");
    let header = Header::seal(&FileKey::generate().expect("randomness"), &[recipient]).expect("a header");
    let (compartment, commit, path) = (Some(Compartment::Docs), Some(commit), Some(path.to_owned()));
    ObjectRef { compartment, commit, path, envelope: header.as_bytes().to_vec(), size: 10 }
}

async fn admin(house: &House, gate: &Keeper, command: AdminCommand) -> serde_json::Value {
    let shown = gate.admin(call(), house.credential(), command).await.expect("an answer");
    serde_json::from_str(&shown).expect("JSON")
}

/// A share of `docs/**` of one commit, and a grant to read through it.
async fn shared(house: &House, gate: &Keeper, sealed: bool) -> (u64, Grant) {
    let spec = ShareSpec {
        kind: RepoKind::Model,
        repo: "admin/one".parse().expect("a name"),
        revision: "main".parse().expect("a revision"),
        commit: Some(commit(1)),
        follow: false,
        to: "partner".to_owned(),
        compartments: vec![Compartment::Docs],
        paths: PathGlobs::new(["docs/**".to_owned()]).expect("a glob"),
        life_s: 60,
        from_first_use: false,
        max_bytes: None,
        max_downloads: None,
        from: Vec::new(),
        terms: None,
        sealed,
    };
    let made = admin(house, gate, AdminCommand::Share(ShareCommand::Create(Box::new(spec)))).await;
    let token = made["token"].as_str().expect("a token").to_owned();
    let target =
        Target::Repo { kind: RepoKind::Model, name: "admin/one".parse().expect("a name"), revision: None, path: None };
    let credential = Some(Credential::Token(SecretText::new(token)));
    let grant = gate.authorize(call(), credential, Action::RepoRead, target).await.expect("a grant");
    (made["id"].as_u64().expect("an id"), grant)
}

async fn with_partner(name: &str, recipient: Option<String>) -> (House, Keeper) {
    let house = house(name).await;
    let gate = house.gate().await;
    let _made = house.repo(&gate, "one").await;
    admin(&house, &gate, AdminCommand::UserCreate { name: "partner".to_owned() }).await;
    admin(&house, &gate, AdminCommand::UserRecipient { name: "partner".to_owned(), recipient }).await;
    (house, gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_share_a_gate_opens_what_is_shared_until_it_ends_and_nothing_else() {
    let (house, gate) = with_partner("share", None).await;
    let (id, grant) = shared(&house, &gate, false).await;
    let parts = grant.repo().expect("a repository").parts();
    assert_eq!(parts.compartments.iter().map(|part| part.compartment).collect::<Vec<_>>(), [Compartment::Docs]);
    let opened = async |object| gate.open(&grant, object, 0..10).await.err();
    assert_eq!(opened(object(&grant, commit(1), "docs/a.md")).await, None);
    assert_eq!(opened(object(&grant, commit(2), "docs/a.md")).await, Some(Refusal::NotFound), "another commit");
    assert_eq!(opened(object(&grant, commit(1), "other/a.md")).await, Some(Refusal::NotFound), "another path");
    let nameless = ObjectRef { path: None, ..object(&grant, commit(1), "docs/a.md") };
    assert_eq!(opened(nameless).await, Some(Refusal::NotFound), "no path");
    let by_hash = ObjectRef { commit: None, ..object(&grant, commit(1), "docs/a.md") };
    assert_eq!(opened(by_hash).await, Some(Refusal::NotFound), "no commit");
    let logs = ObjectRef { compartment: Some(Compartment::Logs), ..object(&grant, commit(1), "docs/a.md") };
    assert_eq!(opened(logs).await, Some(Refusal::NotFound), "another compartment");
    let oid = strongroom_domain::Sha256::from_bytes([0; 32]);
    assert!(gate.ticket(&grant, Purpose::LfsDownload { oid }).await.is_err(), "a ticket names an object of any commit");
    let glass = gate.recover(&grant, object(&grant, commit(1), "docs/a.md")).await;
    assert!(gate.rewrap(&grant, Vec::new()).await.is_err() && glass.is_err());
    let sealed = gate.deliver_sealed(&grant, object(&grant, commit(1), "docs/a.md")).await;
    assert!(matches!(sealed, Err(Refusal::Forbidden(_))), "not a sealed share");
    assert_eq!(gate.renew(vec![grant.id()]).await.expect("an answer"), []);
    admin(&house, &gate, AdminCommand::Share(ShareCommand::Revoke { id })).await;
    assert_eq!(gate.renew(vec![grant.id()]).await.expect("an answer"), [grant.id()]);
    assert_eq!(opened(object(&grant, commit(1), "docs/a.md")).await, Some(Refusal::Over));
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_sealed_share_a_gate_gets_headers_for_the_partner_and_never_a_file_key() {
    let partner = Identity::generate();
    let (house, gate) = with_partner("sealed-share", Some(partner.to_recipient().to_string())).await;
    let (_, grant) = shared(&house, &gate, true).await;
    let object = |commit, path: &str| object(&grant, commit, path);
    let key = gate.open(&grant, object(commit(1), "docs/a.md"), 0..10).await;
    assert!(matches!(key, Err(Refusal::Forbidden(_))), "no file key");
    let header = gate.deliver_sealed(&grant, object(commit(1), "docs/a.md")).await.expect("a header");
    let header = Header::parse(&header).expect("a header");
    assert!(header.open(&partner).is_ok() && header.open(&Identity::generate()).is_err());
    for other in [object(commit(2), "docs/a.md"), object(commit(1), "other/a.md")] {
        assert_eq!(gate.deliver_sealed(&grant, other).await.err(), Some(Refusal::NotFound));
    }
    // Nor for a grant that is no share's.
    let own = house.grant(&gate, Action::RepoRead, "one").await;
    assert!(gate.deliver_sealed(&own, object(commit(1), "docs/a.md")).await.is_err());
}
