//! Debian's `age`, a second implementation, opens what we seal, and we open what it seals.

use std::process::Command;

use strongroom_envelope::{ChunkRange, FileKey, Header, Identity, NONCE_BYTES, Opener, Payload, Sealer};
use strongroom_envelope::{ciphertext_len, plaintext_len};

const SIZES: [usize; 9] = [0, 1, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 200_001];

fn plaintext(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// A header and a payload.
fn sealed(plain: &[u8], identity: &Identity) -> (Header, Vec<u8>) {
    let key = FileKey::generate().expect("randomness");
    let mut payload = Vec::new();
    let mut sealer = Sealer::new(&key, &mut payload).expect("randomness");
    plain.chunks(10_007).for_each(|piece| sealer.push(piece, &mut payload).expect("sealed"));
    sealer.finish(&mut payload).expect("sealed");
    (Header::seal(&key, &[identity.to_recipient()]).expect("a header"), payload)
}

fn opened(key: &FileKey, payload: &[u8]) -> Option<Vec<u8>> {
    let (nonce, chunks) = payload.split_first_chunk::<NONCE_BYTES>()?;
    let (mut opener, mut plain) = (Opener::new(key, nonce), Vec::new());
    chunks.chunks(9_973).try_for_each(|piece| opener.push(piece, &mut plain)).ok()?;
    opener.finish(&mut plain).ok()?;
    Some(plain)
}

#[test]
fn what_we_seal_opens_with_the_age_cli_and_what_it_seals_opens_with_us() {
    let Ok(age) = std::env::var("STRONGROOM_TEST_AGE") else {
        eprintln!("left out: STRONGROOM_TEST_AGE names no age program (see tests/all)");
        return;
    };
    let folder = std::env::temp_dir().join(format!("strongroom-age-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = |name: &str| folder.join(name);
    let identity = Identity::from_secret_bytes(&[42; 32]).expect("an identity");
    std::fs::write(path("key"), identity.to_secret_text().as_bytes()).expect("written");
    for size in SIZES {
        let plain = plaintext(size);
        let (header, payload) = sealed(&plain, &identity);
        std::fs::write(path("ours.age"), [header.as_bytes(), &payload].concat()).expect("written");
        let theirs = Command::new(&age).arg("-d").arg("-i").arg(path("key")).arg(path("ours.age")).output();
        let theirs = theirs.expect("age runs");
        assert!(theirs.status.success(), "{size}: {}", String::from_utf8_lossy(&theirs.stderr));
        assert!(theirs.stdout == plain, "{size} bytes come back as they were");

        std::fs::write(path("plain"), &plain).expect("written");
        let recipient = identity.to_recipient().to_string();
        let mut made = Command::new(&age);
        made.arg("-r").arg(recipient).arg("-o").arg(path("theirs.age")).arg(path("plain"));
        assert!(made.status().expect("age runs").success());
        let file = std::fs::read(path("theirs.age")).expect("written by age");
        let (header, payload) = Header::split_from(&file).expect("age's header");
        let key = header.open(&identity).expect("age sealed it for us");
        assert!(opened(&key, payload).expect("age's payload") == plain, "{size} bytes");
    }
    std::fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn a_rewrapped_header_opens_the_untouched_payload_for_the_new_recipient_only() {
    let [ours, theirs] = [Identity::generate(), Identity::generate()];
    let (header, payload) = sealed(b"weights", &ours);
    let rewrapped = header.rewrap(&ours, &[theirs.to_recipient()]).expect("ours opens it");
    assert!(rewrapped.open(&ours).is_err());
    let key = rewrapped.open(&theirs).expect("now theirs");
    assert_eq!(opened(&key, &payload).as_deref(), Some(&b"weights"[..]));
}

#[test]
fn a_range_touches_only_its_chunks_and_gives_the_same_bytes() {
    let identity = Identity::generate();
    for size in SIZES {
        let plain = plaintext(size);
        let (header, payload) = sealed(&plain, &identity);
        assert_eq!(ciphertext_len(size as u64), Some(payload.len() as u64));
        assert_eq!(plaintext_len(payload.len() as u64), Some(size as u64));
        let (nonce, _) = payload.split_first_chunk().expect("a nonce");
        let chunks = Payload::new(&header.open(&identity).expect("ours"), nonce);
        let edges = [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000, size];
        for (start, end) in edges.iter().flat_map(|start| edges.map(|end| (*start, end))) {
            let Some(range) = ChunkRange::of(start as u64..end as u64, size as u64) else {
                assert!(start >= end || end > size, "{start}..{end} of {size}");
                continue;
            };
            let mut got = Vec::new();
            let mut bytes = payload[range.payload.start as usize..range.payload.end as usize].to_vec();
            for (index, chunk) in range.chunks.clone().zip(bytes.chunks_mut(65_552)) {
                let last = range.last && index + 1 == range.chunks.end;
                got.extend_from_slice(chunks.open_chunk(index, last, chunk).expect("a chunk of ours"));
            }
            let skip = range.skip as usize;
            assert!(got[skip..skip + end - start] == plain[start..end], "{start}..{end} of {size}");
        }
    }
    assert_eq!(plaintext_len(16), None);
    assert_eq!(plaintext_len(16 + 65_552 + 16), None, "an empty last chunk after a full one");
    assert_eq!(ciphertext_len(u64::MAX), None);
}

#[test]
fn a_payload_that_was_cut_flipped_reordered_or_extended_does_not_open() {
    let identity = Identity::generate();
    let (header, payload) = sealed(&plaintext(200_001), &identity);
    let key = header.open(&identity).expect("ours");
    assert!(opened(&key, &payload).is_some());
    let chunk = |index: usize| 16 + index * 65_552..16 + (index + 1) * 65_552;
    for end in [0, 15, 16, 17, 32, chunk(0).end, chunk(2).end, payload.len() - 1] {
        assert!(opened(&key, &payload[..end]).is_none(), "cut at {end}");
    }
    for place in [0, 15, 16, 100, chunk(1).start, chunk(2).end, payload.len() - 1] {
        let mut flipped = payload.clone();
        flipped[place] ^= 1;
        assert!(opened(&key, &flipped).is_none(), "flipped at {place}");
    }
    let swapped = [&payload[..16], &payload[chunk(1)], &payload[chunk(0)], &payload[chunk(2).start..]].concat();
    assert!(opened(&key, &swapped).is_none(), "swapped");
    let repeated = [&payload[..chunk(0).end], &payload[chunk(0)], &payload[chunk(1).start..]].concat();
    assert!(opened(&key, &repeated).is_none(), "repeated");
    assert!(opened(&key, &[&payload[..], b"x"].concat()).is_none(), "extended");
    assert!(opened(&FileKey::generate().expect("randomness"), &payload).is_none(), "another key");
}

#[test]
fn a_header_with_any_bit_changed_does_not_open() {
    let identity = Identity::generate();
    let (header, _) = sealed(b"", &identity);
    for place in 0..header.as_bytes().len() {
        for bit in 0..8 {
            let mut bytes = header.as_bytes().to_vec();
            bytes[place] ^= 1 << bit;
            let open = Header::parse(&bytes).and_then(|header| header.open(&identity));
            assert!(open.is_err(), "byte {place}, bit {bit}");
        }
    }
    for end in 0..header.as_bytes().len() {
        assert!(Header::parse(&header.as_bytes()[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn plug_in_recipients_are_refused_and_secrets_do_not_print() {
    for text in
        ["age1yubikey1q2w7u3vpya839jxxuq8g0sedh3d740d4xvn639sqhr95ejj8vu3hyfumptt", "age1", "", "AGE-PLUGIN-X-1"]
    {
        assert!(text.parse::<strongroom_envelope::Recipient>().is_err(), "{text}");
    }
    let identity = Identity::from_secret_bytes(&[42; 32]).expect("an identity");
    let printed = format!("{identity:?} {:?}", FileKey::from_bytes([42; 16]));
    assert_eq!(printed, "Identity(…) FileKey(…)");
    assert!(identity.to_secret_text().parse::<Identity>().is_ok());
}
