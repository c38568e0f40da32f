//! Witnesses: cosignatures as another implementation makes them, and a witness that signs nothing but what continues what it has.

mod log;

use strongroom_audit::cosignature::{Cosigner, CosignerKey};
use strongroom_audit::note::{NoteError, Signer, VerifierKey, parts};
use strongroom_audit::tree;
use strongroom_audit::witness::{AddCheckpoint, Refused};
use strongroom_audit::{Checkpoint, Hash};

use log::Log;

const TEXT: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

/// The example of c2sp.org/tlog-cosignature has no key: its framing alone can be checked, by a key that is not its own.
#[test]
fn a_note_with_the_specifications_example_is_read_and_its_stranger_passed_over() {
    let note = format!(
        "{TEXT}\n\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
         \u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    );
    assert_eq!(parts(&note).map(|(text, _)| text), Ok(TEXT));
    let key = Cosigner::from_seed("witness.example.com/w1", &[9; 32]).unwrap().key();
    assert_eq!(key.open(&note), Err(NoteError::Signature));
    let mine = Cosigner::from_seed("witness.example.com/w1", &[9; 32]).unwrap().cosign(TEXT, 5).unwrap();
    assert_eq!(key.open(&format!("{note}{mine}")).map(|(_, cosignature)| cosignature.time_s), Ok(5));
}

/// Made by aics-tlog 0.2.1 (Python, PyPI) with the key of the seed 09…09.
#[test]
fn a_cosignature_is_byte_for_byte_that_of_another_implementation() {
    let key: CosignerKey =
        "witness.example.com/w1+4bdc7eaa+BP0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY".parse().unwrap();
    let line = "\u{2014} witness.example.com/w1 S9x+qgAAAABkGFDLSEwbtADY9t5XeSzDTVuiqYN5nZfoc9NQOUgkPYm4wwjIUL68Nczz1tpzCjnpmnRXttgqVVwOg3WfE7AXqa+DAg==\n";
    let cosigner = Cosigner::from_seed("witness.example.com/w1", &[9; 32]).unwrap();
    assert_eq!(cosigner.key(), key);
    assert_eq!(cosigner.cosign(TEXT, 1_679_315_147).as_deref(), Ok(line));
    assert_eq!(key.find(TEXT, line).map(|found| (found.time_s, found.line)), Ok((1_679_315_147, line.to_owned())));
}

#[test]
fn a_cosignature_holds_for_one_text_and_one_time_alone() {
    let cosigner = Cosigner::from_seed("w", &[9; 32]).unwrap();
    let (key, line) = (cosigner.key(), cosigner.cosign(TEXT, 1000).unwrap());
    assert!(key.find(&TEXT.replace("20852163", "20852164"), &line).is_err());
    for place in 0..line.len() {
        for bit in 0..8 {
            let mut bytes = line.clone().into_bytes();
            bytes[place] ^= 1 << bit;
            if let Ok(forged) = String::from_utf8(bytes) {
                assert!(key.find(TEXT, &forged).is_err(), "byte {place} bit {bit}");
            }
        }
    }
    // A log's key does not cosign, and a witness's key is none of a log.
    assert!(key.to_string().parse::<VerifierKey>().is_err());
    let signer = Signer::from_seed("w", &[9; 32]).unwrap();
    assert!(signer.verifier_key().to_string().parse::<CosignerKey>().is_err());
    let note = signer.sign(TEXT).unwrap();
    assert_eq!(key.open(&note), Err(NoteError::Signature));
    assert!(cosigner.cosign(TEXT, u64::MAX).is_err(), "beyond 2^63");
    let two = format!("{line}{}", cosigner.cosign(TEXT, 2000).unwrap());
    assert_eq!(key.find(TEXT, &two).map(|found| found.time_s), Ok(2000), "the newer of two");
}

/// Leaves that are their number, and from `other` on something else.
fn forked(count: u64, other: u64) -> Log {
    Log::of((0..count).map(|index| if index < other { index } else { index + 1_000_000 }))
}

fn asked(log: &Log, signer: &Signer, old: u64, size: u64) -> AddCheckpoint {
    let origin = signer.verifier_key().name().to_owned();
    let checkpoint = Checkpoint { origin, size, root: log.root(size) };
    let Ok(proof) = tree::consistency(log, old, size);
    AddCheckpoint { old, proof: proof.unwrap_or_default(), note: checkpoint.sign(signer).expect("a good name") }
}

fn judged(request: &AddCheckpoint, key: &VerifierKey, known: Option<(u64, Hash)>) -> Result<(u64, Hash), Refused> {
    let (_, checkpoint) = request.log([key].into_iter())?;
    request.follows(&checkpoint, known)?;
    Ok((checkpoint.size, checkpoint.root))
}

#[test]
fn a_request_is_read_as_it_was_written_and_nothing_else_is() {
    let signer = Signer::from_seed("log", &[1; 32]).unwrap();
    let asked = asked(&Log::of(0..21), &signer, 7, 20);
    assert_eq!(asked.to_string().parse(), Ok(asked.clone()));
    let text = asked.to_string();
    assert!(text.starts_with("old 7\n") && text.contains("\n\nlog\n20\n"), "{text}");
    for wrong in [
        String::new(),
        "old 7\n".to_owned(),
        text.replacen("old 7", "old 07", 1),
        text.replacen("old 7", "old +7", 1),
        text.replacen("old 7", "old -1", 1),
        text.replacen("old 7", "size 7", 1),
        text.replacen("old 7", "old 7\nAAAA", 1),
        text.replacen("old 7\n", &format!("old 7\n{}", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".repeat(64)), 1),
    ] {
        assert!(wrong.parse::<AddCheckpoint>().is_err(), "{wrong}");
    }
}

#[test]
fn a_witness_follows_a_log_of_any_size_to_any_other() {
    let signer = Signer::from_seed("log", &[1; 32]).unwrap();
    let (key, log) = (signer.verifier_key(), Log::of(0..70));
    for old in 0..=70 {
        let known = (old > 0).then(|| (old, log.root(old)));
        for size in old..=70 {
            let found = judged(&asked(&log, &signer, old, size), &key, known);
            assert_eq!(found, Ok((size, log.root(size))), "{old} to {size}");
        }
    }
}

#[test]
fn a_witness_signs_no_other_tree_no_smaller_one_and_no_stranger() {
    let signer = Signer::from_seed("log", &[1; 32]).unwrap();
    let (key, log, fork) = (signer.verifier_key(), Log::of(0..70), forked(70, 30));
    let known = Some((40, log.root(40)));
    // A fork: whole by itself, and none of its proofs lead from what was cosigned.
    assert_eq!(judged(&asked(&fork, &signer, 40, 40), &key, known), Err(Refused::Size(40)));
    assert_eq!(judged(&asked(&fork, &signer, 40, 60), &key, known), Err(Refused::Proof));
    // Rolled back: it says the smaller size, or the size that the witness has.
    assert_eq!(judged(&asked(&log, &signer, 30, 35), &key, known), Err(Refused::Size(40)));
    assert_eq!(judged(&AddCheckpoint { old: 40, ..asked(&log, &signer, 30, 35) }, &key, known), Err(Refused::Bad));
    assert_eq!(judged(&asked(&log, &signer, 0, 60), &key, known), Err(Refused::Size(40)));
    // A proof that is too long, too short or of something else.
    let good = asked(&log, &signer, 40, 60);
    assert!(judged(&good, &key, known).is_ok());
    for at in 0..good.proof.len() {
        let mut bad = good.clone();
        bad.proof.remove(at);
        assert_eq!(judged(&bad, &key, known), Err(Refused::Proof));
        let mut bad = good.clone();
        bad.proof[at].0[0] ^= 1;
        assert_eq!(judged(&bad, &key, known), Err(Refused::Proof));
    }
    let mut bad = good.clone();
    bad.proof.push(Hash::empty());
    assert_eq!(judged(&bad, &key, known), Err(Refused::Proof));
    // Where nothing was cosigned, nothing is proved.
    assert_eq!(judged(&AddCheckpoint { old: 0, ..good.clone() }, &key, None), Err(Refused::Proof));
    assert_eq!(judged(&good, &key, None), Err(Refused::Size(0)));
    // The same name with another key, and another name.
    let stranger = Signer::from_seed("log", &[2; 32]).unwrap();
    assert_eq!(judged(&asked(&log, &stranger, 40, 60), &key, known), Err(Refused::Signature));
    let other = Signer::from_seed("elsewhere", &[1; 32]).unwrap();
    assert_eq!(judged(&asked(&log, &other, 40, 60), &key, known), Err(Refused::Unknown));
    // An empty tree has one root.
    let empty = Checkpoint { origin: "log".to_owned(), size: 0, root: Hash::leaf(b"x") }.sign(&signer).unwrap();
    assert_eq!(judged(&AddCheckpoint { old: 0, proof: Vec::new(), note: empty }, &key, None), Err(Refused::Proof));
    assert!(judged(&asked(&log, &signer, 0, 0), &key, None).is_ok());
}
