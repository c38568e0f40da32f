//! A bundle whose signature is good: the keeper's word alone is not believed either.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_audit::checkpoint::Checkpoint;
use strongroom_audit::note::Signer;
use strongroom_audit::tree::{self, Edge, HashReader, Subtree};
use strongroom_audit::{Hash, proof};
use strongroom_domain::Role;
use strongroom_protocol::Secret;
use strongroom_protocol::incident::{IncidentScope, Subject};

use super::*;
use crate::did::Did;
use crate::effect::Effect;
use crate::keys::OwnKeys;
use crate::log::{Record, RecordKey, RootsError, StoredLeaf};
use crate::policy::{Assignment, Place, PrincipalId};

struct Hashes(std::collections::BTreeMap<Subtree, Hash>);

impl HashReader for Hashes {
    type Error = Subtree;

    fn read(&self, subtree: Subtree) -> Result<Hash, Subtree> {
        self.0.get(&subtree).copied().ok_or(subtree)
    }
}

/// What a test makes wrong before it is signed.
#[derive(Default)]
struct Wrong {
    did: bool,
    could: bool,
    key_of_another: bool,
    record: bool,
    history: bool,
    cosigned_twice: bool,
}

fn opened(range: (u64, u64), time_ms: i64) -> Record {
    Record {
        time_ms,
        action: "object.open".to_owned(),
        outcome: "allowed".to_owned(),
        principal_id: Some(1),
        principal: Some("anna".to_owned()),
        token: Some(1),
        kind: Some("model".to_owned()),
        repo: Some("a/b".to_owned()),
        compartments: vec!["weights".to_owned()],
        path: Some("w.bin".to_owned()),
        range: Some(range),
        ..Record::default()
    }
}

fn records() -> Vec<Record> {
    let rules = Effect::Rules {
        model: include_str!("../../../policies/model.conf").to_owned(),
        roles: include_str!("../../../policies/roles.csv").to_owned(),
        dual_control: String::new(),
    };
    let made = vec![
        Effect::Principal { id: 1, name: "anna".to_owned() },
        Effect::Repo {
            id: 1,
            kind: strongroom_domain::RepoKind::Model,
            name: "a/b".parse().expect("a name"),
            namespace: 1,
        },
    ];
    let held = Assignment { principal: PrincipalId(1), role: Role::Reader, place: Place::Namespace(1) };
    let step = |time_ms, generation, effects| Record { time_ms, generation, effects, ..Record::default() };
    vec![
        step(1, 1, vec![rules]),
        step(2, 1, made),
        step(20, 2, vec![Effect::Assign(held)]),
        opened((0, 10), 30),
        opened((5, 20), 40),
    ]
}

fn verify(wrong: &Wrong) -> Result<Header, BundleError> {
    let keys = OwnKeys::new(&Secret::new([7; 32]));
    let signer = Signer::from_seed("strongroom", &keys.log_seed).expect("a name");
    let records = records();
    let mut indexes = Default::default();
    let leaves: Vec<StoredLeaf> = (0..)
        .zip(&records)
        .map(|(seq, record)| StoredLeaf::seal(&keys, &mut indexes, (1, seq), record, String::new()).expect("a leaf"))
        .collect();
    let (mut edge, mut hashes) = (Edge::default(), Hashes(Default::default()));
    for leaf in &leaves {
        edge.push(leaf.hash(), |subtree, hash| hashes.0.extend([(subtree, hash)]));
    }
    let size = edge.size();
    let root = Checkpoint { origin: "strongroom".to_owned(), size, root: edge.root() };
    let scope = IncidentScope {
        subject: Subject::Principal { id: 1, name: "anna".to_owned() },
        since_ms: 10,
        until_ms: 50,
        sizes: vec![(1, size)],
    };
    let (mut did, mut policy, mut activity) = (Did::default(), Digest::default(), Digest::default());
    let mut replay = Replay::new(&Who::of(&scope.subject), (10, 50), None).expect("rules");
    for (leaf, record) in leaves[..3].iter().zip(&records) {
        let generation = record.generation + u64::from(leaf.seq > 0);
        replay.step(generation, record.time_ms, &record.effects).expect("rules");
        policy.add(leaf.hash());
    }
    for at in [4, 3] {
        activity.add(leaves[at].hash());
        did.add(&records[at]);
    }
    let (mut could, mut did) = (replay.finish(), did.show());
    assert_eq!(could[0]["periods"].as_array().map(Vec::len), Some(2), "{could}");
    assert_eq!(did["read"][0]["ranges"], json!([[0, 20]]));
    if wrong.did {
        did["read"] = json!([]);
    }
    if wrong.could {
        could[0]["periods"][1]["repos"] = json!([]);
    }
    let mut before = Checkpoint { root: tree::root(&hashes, 3).expect("a root"), size: 3, ..root.clone() };
    if wrong.history {
        before.root = Hash::leaf(b"another");
    }
    let path = tree::consistency(&hashes, 3, size).ok().flatten().expect("a proof");
    let witnessed = Witnessed {
        log: 1,
        note: before.sign(&signer).expect("a note"),
        proof: path.iter().map(|hash| STANDARD.encode(hash.0)).collect(),
    };
    let header = Header {
        witnessed: vec![witnessed; if wrong.cosigned_twice { 2 } else { 1 }],
        format: FORMAT.to_owned(),
        opened: Value::Null,
        scope,
        locked: Vec::new(),
        checkpoints: vec![root.sign(&signer).expect("a note")],
        generation: replay.first(),
        policy: 3,
        could,
        did,
    };
    let first = serde_json::to_value(&header).expect("plain values").to_string();
    let mut verifier = Verifier::new(signer.verifier_key(), &first)?;
    for at in [0_usize, 1, 2, 4, 3] {
        let leaf = &leaves[at];
        let path = tree::inclusion(&hashes, leaf.seq, size).ok().flatten().expect("a proof");
        assert!(proof::verify_inclusion(leaf.seq, size, leaf.hash(), &path, edge.root()).is_ok());
        let key = RecordKey::of(&keys, (1, if wrong.key_of_another { 0 } else { leaf.seq }));
        let mut record = serde_json::to_value(&records[at]).expect("plain values");
        if wrong.record && at == 4 {
            record["path"] = "other.bin".into();
        }
        let entry = json!({
            "key": STANDARD.encode(key.expose()), "leaf": STANDARD.encode(leaf.to_bytes()),
            "proof": path.iter().map(|hash| STANDARD.encode(hash.0)).collect::<Vec<_>>(), "record": record,
        });
        verifier.entry(&entry.to_string())?;
    }
    let note = signer.sign(&statement(&first, policy, activity)).expect("a note");
    verifier.finish(&json!({"note": note}).to_string())
}

#[test]
fn a_summary_that_does_not_follow_from_the_records_is_refused_whoever_signed_it() {
    verify(&Wrong::default()).expect("a whole bundle");
    let did = verify(&Wrong { did: true, ..Wrong::default() });
    assert!(matches!(did, Err(BundleError::Summary("what was done"))), "{did:?}");
    let could = verify(&Wrong { could: true, ..Wrong::default() });
    assert!(matches!(could, Err(BundleError::Summary("what could be reached"))), "{could:?}");
}

#[test]
fn what_witnesses_cosigned_is_a_beginning_of_the_log_and_one_for_each() {
    let history = verify(&Wrong { history: true, ..Wrong::default() });
    assert!(matches!(history, Err(BundleError::Checkpoint(RootsError::Witnessed(_)))), "{history:?}");
    let twice = verify(&Wrong { cosigned_twice: true, ..Wrong::default() });
    assert!(matches!(twice, Err(BundleError::Line(1, _))), "{twice:?}");
}

#[test]
fn a_record_is_what_its_leaf_says_and_its_key_opens_no_other() {
    let record = verify(&Wrong { record: true, ..Wrong::default() });
    assert!(matches!(record, Err(BundleError::Record(5))), "{record:?}");
    let key = verify(&Wrong { key_of_another: true, ..Wrong::default() });
    assert!(matches!(key, Err(BundleError::Record(3))), "{key:?}");
}
