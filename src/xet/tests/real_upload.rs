//! A real upload of a stock client: every hash in it is recomputed, and nothing changed in it passes.

use strongroom_xet::shard::{self, ShardError};
use strongroom_xet::xorb::{self, XorbError};
use strongroom_xet::{CHUNK_BYTES_MAX, ChunkError, FileHasher, Hash, decode_chunk, range_hash};

const XORB: &[u8] = include_bytes!("../fixtures/hf_xet-1.8.0.xorb");
const SHARD: &[u8] = include_bytes!("../fixtures/hf_xet-1.8.0.shard");
const XORB_HASH: &str = "a5c8a01e67b7907ea79fcdc127c4674db525642777d165ec8b59d45c44aa1060";
const SHA256: &str = "0baf9ab87effe116bc95d463668c6f38f04fc6ac0039dea460ab9bf51e66b81f";

fn hash() -> Hash {
    XORB_HASH.parse().expect("a hash")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A framed chunk of the given scheme.
fn chunk(scheme: u8, stored: &[u8], plain: usize) -> Vec<u8> {
    let [s, p] = [stored.len(), plain].map(|length| (length as u32).to_le_bytes());
    [&[0, s[0], s[1], s[2], scheme, p[0], p[1], p[2]], stored].concat()
}

fn lz4(plain: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    std::io::Write::write_all(&mut encoder, plain).expect("in memory");
    encoder.finish().expect("in memory")
}

#[test]
fn the_file_that_a_real_shard_describes_comes_out_of_its_real_xorb() {
    let chunks = xorb::verify(XORB, hash()).expect("a real xorb");
    let [file] = &shard::parse(SHARD).expect("a real shard")[..] else { panic!("one file") };
    let (mut plain, mut hasher) = (Vec::new(), FileHasher::default());
    for term in &file.terms {
        assert_eq!(term.xorb, hash());
        let run = &chunks[term.start as usize..term.end as usize];
        assert_eq!(range_hash(run.iter().map(|chunk| chunk.hash)), term.range_hash);
        assert_eq!(run.iter().map(|chunk| chunk.bytes).sum::<u32>(), term.bytes);
        for chunk in run {
            hasher.push(chunk.hash, chunk.bytes);
            plain.extend(decode_chunk(&XORB[chunk.offset as usize..]).expect("verified").0);
        }
    }
    assert_eq!((hasher.finish(), plain.len()), (file.hash, 150_000));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &plain);
    assert_eq!((hex(digest.as_ref()).as_str(), hex(&file.sha256).as_str()), (SHA256, SHA256));
}

#[test]
fn a_hash_prints_as_it_was_read_and_nothing_else_is_read() {
    assert_eq!(hash().to_string(), XORB_HASH);
    for bad in ["", &XORB_HASH[1..], &XORB_HASH.to_uppercase(), &"+0".repeat(32), &"é".repeat(32)] {
        assert!(bad.parse::<Hash>().is_err(), "{bad}");
    }
}

#[test]
fn a_xorb_with_any_bit_changed_cut_or_extended_is_refused() {
    // Every header and the first bytes of every chunk, and a sample of the rest.
    let starts: Vec<usize> =
        xorb::verify(XORB, hash()).expect("a real xorb").iter().map(|chunk| chunk.offset as usize).collect();
    let places =
        (0..XORB.len()).filter(|at| starts.iter().any(|start| (*start..start + 32).contains(at)) || at % 997 == 0);
    let original: Vec<u8> = starts.iter().flat_map(|at| decode_chunk(&XORB[*at..]).expect("verified").0).collect();
    let mut changed = XORB.to_vec();
    for place in places {
        for bit in 0..8 {
            changed[place] ^= 1 << bit;
            // A bit that LZ4 frames do not use changes no plaintext; any other makes another xorb.
            if let Ok(chunks) = xorb::verify(&changed, hash()) {
                let plain: Vec<u8> = chunks
                    .iter()
                    .flat_map(|at| decode_chunk(&changed[at.offset as usize..]).expect("verified").0)
                    .collect();
                assert!(plain == original, "byte {place}, bit {bit}");
            }
            changed[place] ^= 1 << bit;
        }
    }
    for end in (0..XORB.len()).step_by(211) {
        assert!(xorb::verify(&XORB[..end], hash()).is_err(), "cut at {end}");
    }
    assert!(xorb::verify(&[XORB, &[0]].concat(), hash()).is_err());
    assert_eq!(xorb::verify(XORB, Hash([0; 32])), Err(XorbError::Hash));
    assert_eq!(xorb::verify(&[], Hash([0; 32])), Err(XorbError::Size), "no chunk has the root of none");
}

#[test]
fn chunks_of_every_scheme_and_odd_length_decode() {
    for length in [1, 2, 3, 4, 5, 7, 8, 1001, CHUNK_BYTES_MAX] {
        let plain: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let grouped: Vec<u8> = (0..4).flat_map(|group| plain.iter().skip(group).step_by(4).copied()).collect();
        for framed in [chunk(0, &plain, length), chunk(1, &lz4(&plain), length), chunk(2, &lz4(&grouped), length)] {
            assert!(decode_chunk(&framed) == Ok((plain.clone(), framed.len())), "{length} bytes, scheme {}", framed[4]);
        }
    }
}

#[test]
fn chunks_that_lie_are_refused() {
    let bomb = lz4(&vec![0; 50_000_000]);
    let long = vec![0; CHUNK_BYTES_MAX + 1];
    let cases = [
        (chunk(1, &bomb, 1000), ChunkError::Data),
        (chunk(1, &lz4(b"abc"), 4), ChunkError::Data),
        (chunk(1, &lz4(b"abc"), 2), ChunkError::Data),
        (chunk(1, b"not lz4", 7), ChunkError::Data),
        (chunk(0, b"abc", 4), ChunkError::Data),
        (chunk(0, b"", 0), ChunkError::Length),
        (chunk(0, &long, long.len()), ChunkError::Length),
        (chunk(3, b"abc", 3), ChunkError::Scheme),
        (chunk(0, b"abc", 3)[..10].to_vec(), ChunkError::Cut),
        (vec![0; 7], ChunkError::Cut),
        ([&[1], &chunk(0, b"abc", 3)[1..]].concat(), ChunkError::Version),
    ];
    for (framed, error) in cases {
        assert_eq!(decode_chunk(&framed).map(|chunk| chunk.1), Err(error));
    }
}

#[test]
fn a_shard_that_is_cut_extended_or_lies_about_its_counts_is_refused() {
    let honest = shard::parse(SHARD).expect("a real shard");
    for end in 0..SHARD.len() {
        assert!(shard::parse(&SHARD[..end]).is_err(), "cut at {end}");
    }
    assert_eq!(shard::parse(&[SHARD, &[0]].concat()), Err(ShardError::Trailing));
    let changed = |at: usize, bytes: &[u8]| {
        let mut shard = SHARD.to_vec();
        shard[at..at + bytes.len()].copy_from_slice(bytes);
        shard::parse(&shard)
    };
    assert_eq!(changed(0, b"X"), Err(ShardError::Header));
    assert_eq!(changed(32, &[3]), Err(ShardError::Header));
    assert_eq!(changed(40, &[1]), Err(ShardError::Header));
    assert_eq!(changed(48 + 32, &[0; 4]), Err(ShardError::File), "no range hash and no SHA-256");
    assert_eq!(changed(48 + 36, &[0; 4]), Err(ShardError::File), "no term");
    assert_eq!(changed(48 + 36, &[0xff; 4]), Err(ShardError::Term), "four thousand million terms");
    assert_eq!(changed(96 + 36, &[0; 4]), Err(ShardError::Term), "a term without bytes");
    assert_eq!(changed(96 + 44, &[0; 4]), Err(ShardError::Term), "a term without chunks");
    // Whatever else is changed, it is refused or it is another claim; it never panics.
    for place in 0..SHARD.len() {
        for bit in 0..8 {
            let mut shard = SHARD.to_vec();
            shard[place] ^= 1 << bit;
            let in_files = (48..48 * 5).contains(&place);
            assert!(!in_files || shard::parse(&shard).as_ref() != Ok(&honest) || is_unused(place), "byte {place}");
        }
    }
}

/// Bytes of a file's records that say nothing: the tails of the head, range hash and SHA-256 records, a term's flags.
fn is_unused(place: usize) -> bool {
    let (record, at) = (place / 48, place % 48);
    match record {
        1 => at >= 40,
        2 => (32..36).contains(&at),
        _ => at >= 32,
    }
}
