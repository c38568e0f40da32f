//! Shards: how files are made of runs of chunks. As a client posts them: no footer, no look-up tables.

use crate::hash::Hash;

/// Bytes of a shard, at most.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Every record, and the header, has this many bytes.
const RECORD: usize = 48;

/// `MDB_SHARD_HEADER_TAG`: the name, a zero, and 17 fixed bytes of which only the name is checked here.
const TAG: &[u8; 15] = b"HFRepoMetaData\0";

const WITH_RANGE_HASHES: u32 = 1 << 31;
const WITH_SHA256: u32 = 1 << 30;

/// Why a shard is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// Too many bytes, or the bytes end inside a section.
    #[error("a shard is cut, or has more than {BYTES_MAX} bytes")]
    Size,
    /// Another tag, version or a footer.
    #[error("not a Xet shard of version 2 without footer")]
    Header,
    /// A file without range hashes or SHA-256, with unknown flags, or with no term.
    #[error("a file in a shard needs its terms, its range hashes and its SHA-256")]
    File,
    /// A term with no chunk or no byte.
    #[error("a term of a file is empty")]
    Term,
    /// Bytes after the end.
    #[error("a shard has bytes after its end")]
    Trailing,
}

/// A run of chunks of one xorb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// The xorb.
    pub xorb: Hash,
    /// Bytes of plaintext in the run.
    pub bytes: u32,
    /// The first chunk.
    pub start: u32,
    /// The chunk after the last.
    pub end: u32,
    /// [`range_hash`](crate::range_hash) over the run: only who has the chunks can know it.
    pub range_hash: Hash,
}

/// A file of a shard; everything in it is the client's claim until the bytes have been put together and hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The Xet hash.
    pub hash: Hash,
    /// SHA-256 of the whole plaintext: the LFS oid of the commit that follows.
    pub sha256: [u8; 32],
    /// Its content, in order.
    pub terms: Vec<Term>,
}

/// Reads the files of a shard. Its xorb section repeats what the xorbs themselves say, and is only walked.
///
/// # Errors
/// [`ShardError`]. Allocates in proportion to the bytes that are there, not to what they claim.
pub fn parse(shard: &[u8]) -> Result<Vec<File>, ShardError> {
    if shard.len() > BYTES_MAX {
        return Err(ShardError::Size);
    }
    let mut records = Records(shard);
    let header = records.next()?;
    if !header.starts_with(TAG) || word64(header, 32) != 2 || word64(header, 40) != 0 {
        return Err(ShardError::Header);
    }
    let mut files = Vec::new();
    while let Some(record) = records.next_of_section()? {
        files.push(file(record, &mut records)?);
    }
    while let Some(record) = records.next_of_section()? {
        (0..word32(record, 36)).try_for_each(|_| records.next().map(drop))?;
    }
    if records.0.is_empty() { Ok(files) } else { Err(ShardError::Trailing) }
}

fn file(record: &[u8; RECORD], records: &mut Records<'_>) -> Result<File, ShardError> {
    let (flags, count) = (word32(record, 32), word32(record, 36));
    if flags != WITH_RANGE_HASHES | WITH_SHA256 || count == 0 {
        return Err(ShardError::File);
    }
    let mut terms = Vec::new();
    for _ in 0..count {
        let record = records.next()?;
        let [bytes, start, end] = [36, 40, 44].map(|at| word32(record, at));
        if start >= end || bytes == 0 {
            return Err(ShardError::Term);
        }
        terms.push(Term { xorb: hash(record), bytes, start, end, range_hash: Hash([0; 32]) });
    }
    for term in &mut terms {
        term.range_hash = hash(records.next()?);
    }
    Ok(File { hash: hash(record), sha256: hash(records.next()?).reversed_words(), terms })
}

struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    fn next(&mut self) -> Result<&'a [u8; RECORD], ShardError> {
        let (record, rest) = self.0.split_first_chunk().ok_or(ShardError::Size)?;
        self.0 = rest;
        Ok(record)
    }

    /// `None` at a section's end, a record that begins with 32 bytes of ones.
    fn next_of_section(&mut self) -> Result<Option<&'a [u8; RECORD]>, ShardError> {
        let record = self.next()?;
        Ok((hash(record).0 != [0xff; 32]).then_some(record))
    }
}

fn hash(record: &[u8; RECORD]) -> Hash {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&record[..32]);
    Hash(bytes)
}

fn word32(record: &[u8; RECORD], at: usize) -> u32 {
    u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
}

fn word64(record: &[u8; RECORD], at: usize) -> u64 {
    u64::from(word32(record, at)) | u64::from(word32(record, at + 4)) << 32
}
