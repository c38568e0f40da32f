//! The age specification's own test vectors (C2SP CCTV), from the npm package `cctv-age` 0.2.0.

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_envelope::{FileKey, Header, HeaderError, Identity, NONCE_BYTES, Opener};

/// Damaged payloads of which the reference implementation gives out a full chunk that carries the wrong "last" mark before
/// it finds the payload wrong. [`Opener`] knows by then whether more bytes follow, and gives out nothing of that chunk.
const GIVES_OUT_LESS: [&str; 8] = [
    "armor_garbage_encoded",
    "stream_no_final_full",
    "stream_no_final_two_chunks_full",
    "stream_trailing_garbage_long",
    "stream_trailing_garbage_short",
    "stream_two_final_chunks",
    "stream_two_final_chunks_full",
    "stream_two_final_chunks_second",
];

/// What `expect:` says, and the digest of the plaintext given out before that.
fn outcome(file: &[u8], identities: &[Identity], released: &mut Vec<u8>) -> &'static str {
    let Ok((header, payload)) = Header::split_from(file) else { return "header failure" };
    let mut keys = identities.iter().map(|identity| header.open(identity));
    let key = match keys.find(|key| !matches!(key, Err(HeaderError::NoMatch))) {
        None => return "no match",
        Some(Err(HeaderError::Mac)) => return "HMAC failure",
        Some(Err(_)) => return "header failure",
        Some(Ok(key)) => key,
    };
    payload_outcome(&key, payload, released)
}

fn payload_outcome(key: &FileKey, payload: &[u8], released: &mut Vec<u8>) -> &'static str {
    let Some((nonce, chunks)) = payload.split_first_chunk::<NONCE_BYTES>() else { return "header failure" };
    let mut opener = Opener::new(key, nonce);
    match opener.push(chunks, released).and_then(|()| opener.finish(released)) {
        Ok(()) => "success",
        Err(_) => "payload failure",
    }
}

/// The file inside an armor that is known to be good.
fn unarmored(file: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(file).expect("armor is text");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("-----"));
    STANDARD.decode(lines.collect::<String>()).expect("base64")
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

#[test]
fn every_x25519_vector_and_every_payload_of_the_age_specification_ends_as_it_says() {
    let Ok(folder) = std::env::var("STRONGROOM_TEST_CCTV") else {
        eprintln!("left out: STRONGROOM_TEST_CCTV names no folder with the cctv-age package (see tests/all)");
        return;
    };
    let package = std::fs::read_to_string(format!("{folder}/index.js")).expect("the package's index.js");
    let mut counts = BTreeMap::new();
    let mut wrong = Vec::new();
    for part in package.split("// ../testdata/").skip(1) {
        let (name, rest) = part.split_once('\n').expect("a name line");
        let encoded = rest.split('"').nth(1).expect("a base64 text");
        let vector = STANDARD.decode(encoded).expect("base64");
        let end = vector.windows(2).position(|pair| pair == b"\n\n").expect("an empty line after the vector's head");
        let head = std::str::from_utf8(&vector[..end]).expect("a text head");
        let fields: Vec<_> = head.lines().filter_map(|line| line.split_once(": ")).collect();
        let field = |name| fields.iter().find(|field| field.0 == name).map(|field| field.1);
        let mut file = vector[end + 2..].to_vec();
        if field("compressed") == Some("zlib") {
            let mut inflated = Vec::new();
            flate2::read::ZlibDecoder::new(&file[..]).read_to_end(&mut inflated).expect("zlib");
            file = inflated;
        }
        let texts = || fields.iter().filter(|field| field.0 == "identity").map(|field| field.1);
        let armored = field("armored").is_some();
        let foreign =
            armored || field("passphrase").is_some() || texts().any(|text| !text.starts_with("AGE-SECRET-KEY-1"));
        let mut released = Vec::new();
        let got = if !foreign {
            *counts.entry("whole").or_insert(0) += 1;
            let identities: Vec<Identity> = texts().map(|text| text.parse().expect("an identity")).collect();
            outcome(&file, &identities, &mut released)
        } else if matches!(field("expect"), Some("success" | "payload failure")) {
            // Its payload with the vector's own file key.
            *counts.entry("payload").or_insert(0) += 1;
            let file = if armored { unarmored(&file) } else { file };
            let key = hex(field("file key").expect("a file key")).try_into().expect("16 bytes");
            let (_, payload) = Header::split_from(&file).expect("a header");
            payload_outcome(&FileKey::from_bytes(key), payload, &mut released)
        } else {
            // Armor, passphrases and post-quantum hybrids are not ours by design: the server never writes or takes them.
            *counts.entry("left out: a header or armor that fails").or_insert(0) += 1;
            continue;
        };
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &released);
        let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let differs = field("payload").is_some_and(|payload| payload != digest);
        let gives_out_less = got == "payload failure" && GIVES_OUT_LESS.contains(&name);
        if field("expect") != Some(got) || differs != gives_out_less {
            wrong.push(format!("{name}: {got}, {} bytes; the vector says\n{head}", released.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let expected = [("left out: a header or armor that fails", 63), ("payload", 13), ("whole", 67)];
    assert_eq!(counts, BTreeMap::from(expected), "no vector may vanish silently");
}
