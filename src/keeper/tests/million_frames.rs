//! A gate that is an attacker's: it holds the token of one reader, a share's token and nonsense, and asks everything there is, in any
//! order, with any numbers, keys and names. It gets what those two may have, and nothing else.
//!
//! `STRONGROOM_TEST_FRAMES` says how many frames: a hundred thousand where it says nothing, a million before a release.

mod house;

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use house::{House, call, house};
use serde_json::{Value, json};
use strongroom_domain::{Action, Commit, Compartment, RepoKind, RepoName, Sha256};
use strongroom_envelope::{FileKey, Header, Recipient};
use strongroom_protocol::admin::AdminCommand;
use strongroom_protocol::{
    Call, Credential, Grant, GrantId, Keeper, ListQuery, Numbered, ObjectRef, Order, Purpose, Reply, Request,
    SecretText, Target, split,
};

/// Questions under way.
const AT_ONCE: u64 = 200;

/// xorshift64* (Vigna 2016): the same frames for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 20) % sides
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// What the attacker has, and what it knows of the house.
struct Loot {
    credentials: Vec<Option<Credential>>,
    objects: Vec<ObjectRef>,
    /// Of each header that it may open, its file key.
    open: HashMap<Vec<u8>, [u8; 16]>,
    commands: Vec<AdminCommand>,
}

async fn admin(house: &House, gate: &Keeper, command: Value) -> Value {
    let command: AdminCommand = serde_json::from_value(command).expect("a command");
    let shown = gate.admin(call(), house.credential(), command).await.expect("done");
    serde_json::from_str(&shown).expect("JSON")
}

fn sealed_for(grant: &Grant, part: Compartment) -> (ObjectRef, FileKey) {
    let key = FileKey::generate().expect("randomness");
    let recipient = grant.repo().expect("a repository").part(part).expect("a compartment").recipient.clone();
    let recipient: Recipient = recipient.parse().expect("a recipient");
    let envelope = Header::seal(&key, &[recipient]).expect("a header").as_bytes().to_vec();
    let commit = Some(Commit::from_bytes([7; 20]));
    (ObjectRef { compartment: Some(part), commit, path: Some("a.md".to_owned()), envelope, size: 10 }, key)
}

/// A reader of `admin/one`, somebody with a share of its docs, and a repository of which nobody here may know.
async fn furnish(house: &House) -> Loot {
    let gate = house.gate().await;
    let held = [house.repo(&gate, "one").await, house.repo(&gate, "two").await];
    drop(held);
    for name in ["reader", "partner"] {
        admin(house, &gate, json!({"UserCreate": {"name": name}})).await;
    }
    let place = json!({"Repo": ["model", "admin/one"]});
    admin(house, &gate, json!({"RoleGrant": {"user": "reader", "role": "reader", "place": place}})).await;
    let spec = json!({"kind": "model", "repo": "admin/one", "revision": "main", "commit": "07".repeat(20), "to": "partner",
                      "compartments": ["docs"], "life_s": 3000});
    let shared = admin(house, &gate, json!({"Share": {"Create": spec}})).await;
    let made = admin(
        house,
        &gate,
        json!({"TokenCreate": {"user": "reader", "name": null, "expires_s": 3000,
        "scope": {"namespaces": [], "repos": [], "actions": [], "compartments": []}}}),
    )
    .await;
    let token =
        |value: &Value| Credential::Token(SecretText::new(value["token"].as_str().expect("a token").to_owned()));
    let (reader, partner) = (token(&made), token(&shared));
    let nonsense = SecretText::new("srt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned());
    let one = house.grant(&gate, Action::RepoRead, "one").await;
    let two = house.grant(&gate, Action::RepoRead, "two").await;
    let (mut objects, mut open) = (Vec::new(), HashMap::new());
    for part in Compartment::ALL {
        for (grant, reads) in [(&one, part != Compartment::Logs), (&two, false)] {
            let (object, key) = sealed_for(grant, part);
            if reads {
                open.insert(object.envelope.clone(), *key.expose());
            }
            // And said to lie elsewhere than it does.
            objects.push(ObjectRef { compartment: Some(Compartment::Docs), ..object.clone() });
            objects.push(ObjectRef { compartment: None, ..object.clone() });
            objects.push(object);
        }
    }
    objects.push(ObjectRef { envelope: vec![0; 200], ..objects[0].clone() });
    let credentials = vec![
        Some(reader.clone()),
        Some(reader),
        Some(partner.clone()),
        Some(partner),
        Some(Credential::Token(nonsense.clone())),
        Some(Credential::Ticket(nonsense)),
        None,
    ];
    Loot { credentials, objects, open, commands: commands() }
}

/// Everything that an administrator, an analyst or an owner may do, and no reader.
fn commands() -> Vec<AdminCommand> {
    let repo = json!(["model", "admin/two"]);
    let values = vec![
        json!({"UserCreate": {"name": "mallory"}}),
        json!("UserList"),
        json!({"UserShow": {"name": "admin"}}),
        json!({"UserRemove": {"name": "admin"}}),
        json!({"UserUnclaim": {"name": "admin"}}),
        json!({"RoleGrant": {"user": "reader", "role": "owner", "place": "System"}}),
        json!({"RoleRevoke": {"user": "admin", "role": "owner", "place": {"Namespace": "admin"}}}),
        json!("RoleList"),
        json!({"RoleLine": {"user": "reader", "action": "key.recover", "compartment": "logs", "place": "System", "allow": true, "remove": false}}),
        json!({"TokenCreate": {"user": "admin", "name": null, "expires_s": null,
            "scope": {"namespaces": [], "repos": [], "actions": [], "compartments": []}}}),
        json!({"TokenList": {"user": null}}),
        json!({"TokenRevoke": {"id": 1}}),
        json!({"LockAdd": {"subject": {"User": "admin"}, "reason": ""}}),
        json!({"LockRemove": {"subject": {"User": "admin"}}}),
        json!("LockList"),
        json!({"Seal": {"Server": {"reason": ""}}}),
        json!({"Seal": {"Repo": {"kind": "model", "repo": "admin/two", "reason": "", "shares": [2, 3]}}}),
        json!({"KeyRotateRoot": {"finish": false}}),
        json!({"KeyRotateRepo": {"kind": "model", "repo": "admin/two", "step": "Close"}}),
        json!({"QuotaSet": {"namespace": "admin", "bytes": 0}}),
        json!({"Share": {"Revoke": {"id": 1}}}),
        json!({"Share": {"Token": {"id": 1}}}),
        json!({"Share": {"Extend": {"id": 1, "life_s": 1_000_000}}}),
        json!({"Access": {"Disclose": {"kind": "model", "repo": "admin/two", "to": "reader"}}}),
        json!({"Approval": {"Approve": {"id": 1}}}),
        json!({"AuditSearch": {"limit": 10}}),
        json!({"AuditWho": {"kind": "model", "repo": "admin/two", "compartment": null, "since_ms": null}}),
        json!({"AuditLeaves": {"log": 1, "from": 0, "limit": 10}}),
        json!({"AuditRecords": {"log": 1, "from": 0, "since_ms": null}}),
        json!({"AuditProve": {"log": 1, "record": 0, "from_size": null}}),
        json!("AuditCheckpoint"),
        json!({"AuditSearch": {"repo": repo, "limit": 500}}),
        json!({"AuditCheckpointOf": {"log": 1}}),
        json!({"AuditTile": {"log": 1, "level": {"Hashes": 0}, "index": 0, "width": 1}}),
        json!({"AuditTile": {"log": 1, "level": "Entries", "index": 0, "width": 1}}),
        json!({"AuditProve": {"log": 1, "record": null, "from_size": 1}}),
        json!({"AuditWhat": {"principal": "admin", "token": null, "since_ms": null, "until_ms": null}}),
        json!({"Incident": {"Open": {"suspect": {"Principal": "admin"}, "since_ms": 0, "until_ms": null, "lock": true}}}),
        json!({"Incident": {"Policy": {"scope": {"subject": {"token": {"id": 1, "principal": 1}}, "since_ms": 0, "until_ms": 9,
            "sizes": [[1, 5]]}, "places": [[1, 0]]}}}),
        json!({"Incident": {"Activity": {"scope": {"subject": {"token": {"id": 1, "principal": 1}}, "since_ms": 0,
            "until_ms": i64::MAX, "sizes": [[1, 5]]}, "before": null}}}),
        json!({"UserRecipient": {"name": "admin", "recipient": null}}),
        json!({"Seal": {"UnsealRepo": {"kind": "model", "repo": "admin/two", "shares": []}}}),
        json!({"Seal": "List"}),
        json!("QuotaList"),
        json!({"Alert": {"List": {"kind": null, "since_ms": null, "before": null, "limit": 10}}}),
        json!({"Decoy": "List"}),
        json!({"Decoy": {"Plant": {"Token": "bait"}}}),
        json!({"Decoy": {"Remove": {"id": 1}}}),
        json!({"Partner": {"Create": {"name": "firm", "sponsor": "reader", "recertify_s": null}}}),
        json!({"Partner": {"Add": {"name": "firm", "user": "reader"}}}),
        json!({"Partner": {"Confirm": {"name": "firm"}}}),
        json!({"Review": {"Start": {"place": "System", "within_s": 1}}}),
        json!({"Review": {"Revoke": {"given": ["token-1"], "reason": ""}}}),
    ];
    values.into_iter().map(|value| serde_json::from_value(value).expect("a command")).collect()
}

fn frame(dice: &mut Dice, loot: &Loot, seen: &[GrantId]) -> Request {
    let credential = dice.of(&loot.credentials).clone();
    let name: RepoName = dice
        .of(&["admin/one", "admin/one", "admin/one", "admin/two", "admin/none", "reader/one"])
        .parse()
        .expect("a name");
    let kind = if dice.below(4) == 0 { RepoKind::Dataset } else { RepoKind::Model };
    let call = Call {
        request_id: format!("{:x}\n\u{1b}[2J", dice.below(1 << 20)),
        address: Ipv4Addr::from(dice.below(1 << 31) as u32).into(),
        route: "GET /nothing\r\n".to_owned(),
    };
    // One of its own, one that was never given, one of long ago.
    let grant = match dice.below(3) {
        0 if !seen.is_empty() => *dice.of(seen),
        1 => GrantId(dice.below(1 << 31)),
        _ => GrantId(dice.below(64)),
    };
    let object = dice.of(&loot.objects).clone();
    let path = Some(dice.of(&["a.md", "logs/a.txt", "../../etc/passwd", ""]).to_string());
    let start = dice.below(12);
    // Now and then none, or beyond the end.
    let end = start + dice.below(8);
    let part = *dice.of(&Compartment::ALL);
    match dice.below(28) {
        0..=5 => {
            let revision = Some("main".to_owned());
            let target = match dice.below(4) {
                0 => Target::System,
                1 => Target::Ticket,
                _ => Target::Repo { kind, name, revision, path },
            };
            let action = if dice.below(2) == 0 { Action::RepoRead } else { *dice.of(Action::ALL) };
            Request::Authorize { call, credential, action, target }
        }
        6..=9 => Request::Open { grant, object, start, end },
        10 => Request::Recover { grant, object },
        11 => Request::DeliverSealed { grant, object },
        12 => Request::Rewrap { grant, envelopes: vec![(object, part)] },
        13 => Request::Delivered { grant, path, start, end, bytes: dice.below(1 << 40), complete: start > end },
        14 => Request::Absent { grant, path: "logs/a.txt".to_owned() },
        15 => Request::Wrote {
            grant,
            what: dice.of(&["commit", "system.unseal", "branch.delete"]).to_string(),
            subject: "main".to_owned(),
            digest: Some("0".repeat(200)),
            compartments: vec![part],
            moved_ms: Some(i64::MAX),
            added: [(part, u64::MAX)].into(),
        },
        16 => {
            Request::CreateRepo { call, credential, kind, namespace: Some("admin".to_owned()), name: "new".to_owned() }
        }
        17 => Request::MoveRepo { call, credential, kind, from: name.clone(), to: name },
        18 => Request::DeleteRepo { call, credential, kind, name },
        19 => {
            let order = if dice.below(2) == 0 { Order::Created } else { Order::Modified };
            let query = ListQuery { kind, author: None, words: Vec::new(), order, after: None, limit: u32::MAX };
            Request::ListRepos { call, credential, query }
        }
        20 => {
            let oid = Sha256::from_bytes([7; 32]);
            let purposes = [Purpose::Xet, Purpose::LfsUpload { oid, size: 10 }, Purpose::LfsDownload { oid }];
            Request::Ticket { grant, purpose: dice.of(&purposes).clone() }
        }
        21 => Request::Metrics { grant },
        22 if dice.below(50) == 0 => Request::Release { grants: vec![grant] },
        22 => Request::Renew { grants: vec![grant; dice.below(3) as usize] },
        23 => Request::Named { grant, paths: vec!["logs/a.txt".to_owned(); dice.below(3) as usize] },
        24 => Request::Reject { call, reason: "no\nreason\u{1b}[2J".to_owned(), status: dice.below(1 << 16) as u16 },
        25 => match dice.below(3) {
            0 => Request::Status,
            1 => Request::Unseal { share: SecretText::new("AAAA".to_owned()) },
            _ => Request::Hello { actions: Action::ALL.to_vec() },
        },
        _ => Request::Admin { call, credential, command: dice.of(&loot.commands).clone() },
    }
}

/// The words of all questions. A new one does not compile here, and has to be among the frames.
fn is_asked(request: &Request) -> bool {
    match request {
        Request::Hello { .. } | Request::Status | Request::Unseal { .. } | Request::Authorize { .. } => true,
        Request::Named { .. } | Request::Open { .. } | Request::Recover { .. } | Request::DeliverSealed { .. } => true,
        Request::Rewrap { .. } | Request::Delivered { .. } | Request::Absent { .. } | Request::Wrote { .. } => true,
        Request::Reject { .. } | Request::CreateRepo { .. } | Request::MoveRepo { .. } => true,
        Request::DeleteRepo { .. } | Request::ListRepos { .. } | Request::Ticket { .. } => true,
        Request::Metrics { .. } | Request::Renew { .. } | Request::Release { .. } | Request::Admin { .. } => true,
    }
}

/// Questions that [`is_asked`] names.
const QUESTIONS: usize = 22;

/// What its grants are for.
type Held = HashMap<GrantId, BTreeSet<Compartment>>;

/// What this answer must not be.
fn judge(asked: &Request, reply: &Reply, loot: &Loot, held: &mut Held) -> Result<Option<GrantId>, String> {
    let wrong = |what: &str| Err(format!("{what}: {}", asked.word()));
    match (asked, reply) {
        (Request::Authorize { action, .. }, Reply::Granted(parts)) => {
            let Some(repo) = &parts.repo else {
                return match action {
                    Action::Whoami | Action::RepoList => Ok(Some(parts.id)),
                    _ => wrong(&format!("a grant for {action}")),
                };
            };
            let reached: BTreeSet<Compartment> = repo.compartments.iter().map(|part| part.compartment).collect();
            let whole: BTreeSet<Compartment> =
                Compartment::ALL.into_iter().filter(|part| *part != Compartment::Logs).collect();
            let docs = BTreeSet::from([Compartment::Docs]);
            let fits = match parts.principal.as_str() {
                "reader" => reached == whole,
                "partner" => reached == docs && repo.share.is_some(),
                _ => false,
            };
            // What a reader holds there; the record names the compartments in each case.
            let reads = matches!(action, Action::RepoRead | Action::RepoList | Action::Whoami)
                && repo.name.as_str() == "admin/one"
                && repo.inbox.is_none();
            if fits && reads {
                // A list opens nothing, and its grant is for none.
                held.insert(parts.id, if *action == Action::RepoRead { reached } else { BTreeSet::new() });
                Ok(Some(parts.id))
            } else {
                wrong(&format!(
                    "{action} for {} of {} {reached:?}, inbox {}",
                    parts.principal,
                    repo.name,
                    repo.inbox.is_some()
                ))
            }
        }
        (Request::Open { grant, object, .. }, Reply::Key(key)) => {
            let reached = object.compartment.is_some_and(|part| held.get(grant).is_some_and(|of| of.contains(&part)));
            match loot.open.get(&object.envelope) {
                _ if !reached => wrong("a key that this grant is not for"),
                Some(known) if known == key.expose() => Ok(None),
                _ => wrong("a key of another compartment"),
            }
        }
        (Request::ListRepos { .. }, Reply::Repos(listed, _)) => {
            match listed.iter().find(|one| one.repo.name.as_str() != "admin/one") {
                Some(one) => wrong(one.repo.name.as_str()),
                None => Ok(None),
            }
        }
        (_, Reply::Refused(_)) => Ok(None),
        (Request::Renew { .. }, Reply::Dead(_)) | (Request::Release { .. }, Reply::Done) => Ok(None),
        // What it says of its own grants is recorded as its word.
        (Request::Delivered { .. } | Request::Absent { .. }, Reply::Done) => Ok(None),
        (Request::Named { .. } | Request::Reject { .. }, Reply::Done) => Ok(None),
        (Request::Status, Reply::Status { sealed: false }) => Ok(None),
        // Of what it may read; the share of the other makes none.
        (Request::Ticket { grant, purpose: Purpose::LfsDownload { .. } }, Reply::Ticket(..))
            if held.get(grant).is_some_and(|of| of.len() > 1) =>
        {
            Ok(None)
        }
        (_, reply) => wrong(&format!("{reply:?}").chars().take(60).collect::<String>()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_gate_gets_no_grant_no_key_and_no_act_that_its_tokens_have_no_right_to() {
    let frames: u64 =
        std::env::var("STRONGROOM_TEST_FRAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let house = house("million").await;
    let loot = furnish(&house).await;
    let before = state(&house).await;
    let (mut reader, mut writer) = split(house.socket());
    writer
        .feed(&Numbered { number: 0, message: Request::Hello { actions: Action::ALL.to_vec() } })
        .await
        .expect("sent");
    writer.flush().await.expect("sent");
    reader.next::<Reply>().await.expect("greeted");
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let (mut asked, mut seen, mut got) = (HashMap::new(), Vec::new(), HashMap::<&str, u64>::new());
    let (mut held, mut words) = (Held::new(), BTreeSet::new());
    let (mut number, mut answered) = (0, 0);
    while answered < frames {
        while number < frames && number - answered < AT_ONCE {
            number += 1;
            let message = frame(&mut dice, &loot, &seen);
            assert!(is_asked(&message));
            words.insert(message.word());
            asked.insert(number, message.clone());
            writer.feed(&Numbered { number, message }).await.expect("sent");
        }
        writer.flush().await.expect("sent");
        let Numbered { number: of, message } =
            reader.next::<Reply>().await.expect("of the protocol").expect("it answers");
        answered += 1;
        let question = asked.remove(&of).expect("an answer to a question");
        match judge(&question, &message, &loot, &mut held) {
            Ok(grant) => {
                if let Some(grant) = grant {
                    if seen.len() > 500 {
                        seen.clear();
                    }
                    seen.push(grant);
                }
            }
            Err(wrong) => panic!("frame {of} of {frames}: {wrong}"),
        }
        let what = match &message {
            Reply::Granted(_) => "grants",
            Reply::Key(_) => "keys",
            Reply::Refused(_) => "refusals",
            _ => "others",
        };
        *got.entry(what).or_default() += 1;
    }
    println!("{frames} frames: {got:?}");
    assert_eq!(words.len(), QUESTIONS, "{words:?}");
    // It was not refused for being mistyped: what it may have, it got.
    assert!(got["grants"] > frames / 200 && got["keys"] > 0, "{got:?}");
    drop((reader, writer));
    // And nothing is otherwise than it was.
    assert_eq!(state(&house).await, before);
}

async fn state(house: &House) -> Vec<Value> {
    let gate = house.gate().await;
    let mut told = Vec::new();
    for command in [
        json!("RoleList"),
        json!("UserList"),
        json!("LockList"),
        json!({"Seal": "List"}),
        json!("QuotaList"),
        json!({"Approval": {"List": {"all": true}}}),
        json!({"Share": "List"}),
        json!({"Review": "Rounds"}),
        json!({"Partner": "List"}),
    ] {
        told.push(admin(house, &gate, command).await);
    }
    // What is read through a share is counted, and was.
    for share in told.iter_mut().filter_map(|told| told["shares"].as_array_mut()).flatten() {
        ["used_bytes", "used_downloads", "events"].into_iter().for_each(|count| share[count] = Value::Null);
    }
    told
}
