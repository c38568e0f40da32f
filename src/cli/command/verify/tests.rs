//! Logs that name each other, some of them damaged.

use strongroom_audit::cosignature::Cosigner;
use strongroom_audit::note::Signer;
use strongroom_keeper::log::Head;

use super::*;

#[test]
fn notes_one_below_the_other_are_told_apart() {
    let one = "a\n1\nroot\n\n\u{2014} a sig\n";
    let two = "b\n2\nroot\n\n\u{2014} b sig\n\u{2014} witness sig\n";
    assert_eq!(notes(one), [one]);
    assert_eq!(notes(&format!("{one}\n{two}")), [one, two]);
    assert!(notes("\n\n").is_empty());
}

fn signer(log: u64) -> Signer {
    Signer::from_seed(&origin("test", log), &[7; 32]).expect("a name")
}

fn leaf(log: u64, seq: u64, heads: String) -> StoredLeaf {
    StoredLeaf {
        log,
        seq,
        time_ms: 1,
        action: "test".to_owned(),
        outcome: "done".to_owned(),
        generation: 1,
        principal_index: vec![1],
        repo_index: vec![2],
        token_index: vec![3],
        address_index: vec![4],
        body_sealed: seq.to_be_bytes().to_vec(),
        heads,
    }
}

fn head(log: u64, size: usize, leaves: &[StoredLeaf]) -> Head {
    let mut edge = Edge::default();
    leaves[..size].iter().for_each(|leaf| edge.push(leaf.hash(), |_, _| {}));
    Head { origin: origin("test", log), size: size as u64, root: edge.root() }
}

fn note(log: u64, leaves: &[StoredLeaf]) -> String {
    let Head { origin, size, root } = head(log, leaves.len(), leaves);
    Checkpoint { origin, size, root }.sign(&signer(log)).expect("a note")
}

/// Leaves of two logs, in pages of three, and what is given where log 1 is read a second time.
struct Memory {
    newest: Vec<(u64, String)>,
    leaves: BTreeMap<u64, Vec<StoredLeaf>>,
    again: Option<Vec<StoredLeaf>>,
    cosigned: BTreeMap<u64, String>,
}

impl Source for Memory {
    fn newest(&mut self) -> Result<Vec<(u64, String)>, Failed> {
        Ok(self.newest.clone())
    }

    fn cosigned(&mut self, log: u64) -> Result<Option<String>, Failed> {
        Ok(self.cosigned.get(&log).cloned())
    }

    fn page(&mut self, log: u64, from: u64) -> Result<Vec<StoredLeaf>, Failed> {
        let found: Vec<StoredLeaf> = self.leaves[&log].iter().skip(from as usize).take(3).cloned().collect();
        if log == 1 && found.len() < 3 {
            let again = self.again.take();
            again.map(|again| self.leaves.insert(1, again));
        }
        Ok(found)
    }
}

/// Ten records of log 1, and eight of log 2, of which the third and the last name log 1; of log 1 the sixth names log 2.
fn two(change: impl Fn(&mut Head)) -> Memory {
    let mut one: Vec<StoredLeaf> = (0..10).map(|seq| leaf(1, seq, String::new())).collect();
    let mut two: Vec<StoredLeaf> = (0..8).map(|seq| leaf(2, seq, String::new())).collect();
    two[2].heads = Heads(vec![head(1, 4, &one)]).to_string();
    one[5].heads = Heads(vec![head(2, 3, &two)]).to_string();
    let mut last = head(1, 10, &one);
    change(&mut last);
    two[7].heads = Heads(vec![last]).to_string();
    let newest = vec![(1, note(1, &one)), (2, note(2, &two))];
    Memory { newest, leaves: BTreeMap::from([(1, one), (2, two)]), again: None, cosigned: BTreeMap::new() }
}

fn verify(mut logs: Memory) -> Result<Value, String> {
    Verifier::new(signer(1).verifier_key(), &mut logs)
        .and_then(|found| found.verify(Against { kept: None, witnesses: &[] }))
        .map_err(|error| error.0)
}

#[test]
fn logs_that_name_each_other_as_they_were_verify() {
    let shown = verify(two(|_| {})).expect("whole logs");
    assert_eq!((&shown["verified"], &shown["size"]), (&json!(true), &json!(18)));
}

#[test]
fn a_log_that_is_not_what_another_says_of_it_is_found() {
    let changed = verify(two(|head| head.root = Hash([9; 32]))).expect_err("another root");
    assert!(changed.contains("test was CHANGED or ROLLED BACK: its first 10 records"), "{changed}");
    assert!(changed.contains("record 7 of test/2 names"), "{changed}");
    let beyond = verify(two(|head| head.size = 11)).expect_err("more than there is");
    assert!(beyond.contains("test was CHANGED or ROLLED BACK: its first 11 records"), "{beyond}");
    let gone = verify(two(|head| head.origin = "test/3".to_owned())).expect_err("a third log");
    assert!(gone.contains("test/3 VANISHED: record 7 of test/2 names it"), "{gone}");
}

#[test]
fn a_record_that_is_changed_missing_or_moved_is_found() {
    let damage: [fn(&mut Vec<StoredLeaf>); 4] = [
        |leaves| leaves[3].body_sealed.push(0),
        |leaves| drop(leaves.remove(3)),
        |leaves| drop(leaves.pop()),
        |leaves| leaves.swap(3, 4),
    ];
    for wrong in damage {
        for log in [1, 2] {
            let mut logs = two(|_| {});
            logs.leaves.get_mut(&log).map(wrong);
            assert!(verify(logs).expect_err("damage").contains("does NOT verify"));
        }
    }
}

#[test]
fn a_server_that_gives_other_records_the_second_time_is_found() {
    let mut logs = two(|_| {});
    let mut again = logs.leaves[&1].clone();
    again[9].body_sealed.push(0);
    logs.again = Some(again);
    assert!(verify(logs).expect_err("other records").contains("does NOT verify"));
}

#[test]
fn what_witnesses_cosigned_must_be_a_logs_beginning_and_each_that_is_asked_for_must_have() {
    let (one, two_) = (Cosigner::from_seed("w1", &[1; 32]), Cosigner::from_seed("w2", &[2; 32]));
    let (one, other) = (one.expect("a name"), two_.expect("a name"));
    let verify = |cosigned: &dyn Fn(u64, &[StoredLeaf]) -> Head, witnesses: &[CosignerKey]| {
        let mut logs = two(|_| {});
        for (log, leaves) in &logs.leaves {
            let Head { origin, size, root } = cosigned(*log, leaves);
            let note = Checkpoint { origin, size, root }.sign(&signer(*log)).expect("a note");
            let text = note.split_inclusive("\n\n").next().expect("a text").trim_end_matches('\n');
            let line = one.cosign(&format!("{text}\n"), 1).expect("a text");
            logs.cosigned.insert(*log, format!("{note}{line}"));
        }
        let against = Against { kept: None, witnesses };
        Verifier::new(signer(1).verifier_key(), &mut logs)
            .and_then(|found| found.verify(against))
            .map_err(|error| error.0)
    };
    let shown = verify(&|log, leaves| head(log, 5, leaves), &[one.key()]).expect("whole logs");
    assert_eq!(shown["logs"][1]["cosigned"]["size"], 5);
    let changed = verify(&|log, leaves| Head { root: Hash([9; 32]), ..head(log, 5, leaves) }, &[one.key()]);
    assert!(changed.expect_err("another root").contains("cosigned"));
    let rolled_back = verify(&|log, leaves| Head { size: 11, ..head(log, 5, leaves) }, &[one.key()]);
    assert!(rolled_back.expect_err("more than there is").contains("ROLLED BACK"));
    let lacking = verify(&|log, leaves| head(log, 5, leaves), &[one.key(), other.key()]);
    assert!(lacking.expect_err("one of two").contains("w2 did NOT cosign"));
    let mut none = two(|_| {});
    let against = Against { kept: None, witnesses: &[one.key()] };
    let none = Verifier::new(signer(1).verifier_key(), &mut none).and_then(|found| found.verify(against));
    assert!(none.expect_err("none").0.contains("no witness cosigned"));
}
