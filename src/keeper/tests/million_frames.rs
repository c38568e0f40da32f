//! A gate that is an attacker's: it holds the token of one reader, a share's token and nonsense, and asks everything there is, in any
//! order, with any numbers, keys and names. It gets what those two may have, and nothing else.
//!
//! `STRONGROOM_TEST_FRAMES` says how many frames: 20 thousand where it says nothing, a million before a release.

mod house;

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use house::{House, call, house};
use serde_json::{Value, json};
use strongroom_domain::{Action, Commit, Compartment, RepoKind, RepoName};
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
    match dice.below(24) {
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
        20 => Request::Ticket { grant, purpose: Purpose::Xet },
        21 => Request::Metrics { grant },
        22 if dice.below(50) == 0 => Request::Release { grants: vec![grant] },
        22 => Request::Renew { grants: vec![grant; dice.below(3) as usize] },
        _ => Request::Admin { call, credential, command: dice.of(&loot.commands).clone() },
    }
}

/// What this answer must not be.
fn judge(asked: &Request, reply: &Reply, loot: &Loot) -> Result<Option<GrantId>, String> {
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
        (Request::Open { object, .. }, Reply::Key(key)) => match loot.open.get(&object.envelope) {
            Some(known) if known == key.expose() => Ok(None),
            _ => wrong("a key of another compartment"),
        },
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
        (_, reply) => wrong(&format!("{reply:?}").chars().take(60).collect::<String>()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_gate_gets_no_grant_no_key_and_no_act_that_its_tokens_have_no_right_to() {
    let frames: u64 = std::env::var("STRONGROOM_TEST_FRAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
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
    let (mut number, mut answered) = (0, 0);
    while answered < frames {
        while number < frames && number - answered < AT_ONCE {
            number += 1;
            let message = frame(&mut dice, &loot, &seen);
            asked.insert(number, message.clone());
            writer.feed(&Numbered { number, message }).await.expect("sent");
        }
        writer.flush().await.expect("sent");
        let Numbered { number: of, message } =
            reader.next::<Reply>().await.expect("of the protocol").expect("it answers");
        answered += 1;
        let question = asked.remove(&of).expect("an answer to a question");
        match judge(&question, &message, &loot) {
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
    // It was not refused for being mistyped: what it may have, it got.
    assert!(got["grants"] > frames / 200 && got["keys"] > 0, "{got:?}");
    drop((reader, writer));
    // And nothing is otherwise than it was.
    assert_eq!(state(&house).await, before);
}

async fn state(house: &House) -> Vec<Value> {
    let gate = house.gate().await;
    let mut told = Vec::new();
    for command in
        [json!("RoleList"), json!("UserList"), json!("LockList"), json!({"Seal": "List"}), json!("QuotaList")]
    {
        told.push(admin(house, &gate, command).await);
    }
    told
}
