//! Checkpoints as an outsider keeps them: the reference note verifies, and a changed one never does.

use strongroom_audit::note::{NoteError, Signer, VerifierKey};
use strongroom_audit::{Checkpoint, Hash};

fn signed() -> (Checkpoint, VerifierKey, String) {
    let signer = Signer::from_seed("strongroom.example/audit", &[7; 32]).expect("a good name");
    let checkpoint = Checkpoint { origin: "strongroom.example/audit".into(), size: 42, root: Hash::leaf(b"root") };
    let note = checkpoint.sign(&signer).expect("a good origin");
    (checkpoint, signer.verifier_key(), note)
}

/// The example of the reference implementation, golang.org/x/mod/sumdb/note.
#[test]
fn a_note_signed_by_the_reference_implementation_opens() {
    let key: VerifierKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let note = format!(
        "{text}\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    );
    assert_eq!(key.open(&note), Ok(text));
}

#[test]
fn a_checkpoint_opens_with_the_key_that_its_signer_printed() {
    let (checkpoint, key, note) = signed();
    let kept: VerifierKey = key.to_string().parse().unwrap();
    assert_eq!(Checkpoint::open(&note, &kept), Ok(checkpoint));
    assert!(note.starts_with("strongroom.example/audit\n42\n"));
}

#[test]
fn a_checkpoint_with_any_byte_changed_does_not_open() {
    let (_, key, note) = signed();
    for place in 0..note.len() {
        for bit in 0..8 {
            let mut bytes = note.clone().into_bytes();
            bytes[place] ^= 1 << bit;
            if let Ok(forged) = String::from_utf8(bytes) {
                assert!(Checkpoint::open(&forged, &key).is_err(), "byte {place} bit {bit}");
            }
        }
    }
    for end in 0..note.len() {
        assert!(note.get(..end).is_none_or(|cut| Checkpoint::open(cut, &key).is_err()), "cut at {end}");
    }
}

#[test]
fn a_checkpoint_of_another_log_or_of_another_spelling_does_not_open() {
    let signer = Signer::from_seed("strongroom.example/audit", &[7; 32]).unwrap();
    let other = Signer::from_seed("strongroom.example/audit", &[8; 32]).unwrap();
    let (checkpoint, key, _) = signed();
    assert_eq!(Checkpoint::open(&checkpoint.sign(&other).unwrap(), &key), Err(NoteError::Signature));
    let root = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for text in [
        format!("elsewhere.example/audit\n42\n{root}\n"),
        format!("strongroom.example/audit\n042\n{root}\n"),
        format!("strongroom.example/audit\n+42\n{root}\n"),
        format!("strongroom.example/audit\n-1\n{root}\n"),
        "strongroom.example/audit\n42\nAAAA\n".to_owned(),
        "strongroom.example/audit\n42\n".to_owned(),
    ] {
        assert_eq!(Checkpoint::open(&signer.sign(&text).unwrap(), &key), Err(NoteError::Form), "{text}");
    }
}

#[test]
fn a_verifier_key_whose_id_is_not_its_own_is_refused() {
    let (_, key, _) = signed();
    let text = key.to_string();
    let (name, rest) = text.split_once('+').unwrap();
    let (_, public) = rest.split_once('+').unwrap();
    assert_eq!(format!("{name}+00000000+{public}").parse::<VerifierKey>(), Err(NoteError::Key));
    assert_eq!(format!("other+{rest}").parse::<VerifierKey>(), Err(NoteError::Key));
    assert!(Signer::from_seed("two words", &[0; 32]).is_err());
}
