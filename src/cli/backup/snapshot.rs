//! A snapshot: the rows of both databases and the list of payloads, in one age file for the recovery recipients.
//!
//! Its plaintext is a row of frames, each 4 bytes of length (big-endian) and a [`Frame`] in postcard's form. The last one is
//! [`Frame::End`]: what ends without it was cut.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use strongroom_database::Cell;
use strongroom_envelope::{FileKey, HEADER_BYTES_MAX, Header, Identity, NONCE_BYTES, Opener, Recipient, Sealer};

use crate::Failed;

/// Of the form. A reader refuses a newer one.
pub const VERSION: u32 = 1;

/// Which database a table is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// The gate's.
    Catalog,
    /// The keeper's.
    Keeper,
}

/// A part of a snapshot.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// The first: the form's version, and Unix milliseconds.
    Begin(u32, i64),
    /// The rows that follow are of this table and have these columns.
    Table(Base, String, Vec<String>),
    /// A row.
    Row(Vec<Cell>),
    /// A payload that the rows name: its name, its length in bytes, its SHA-256.
    Payload([u8; 16], u64, [u8; 32]),
    /// The last: how many rows and payloads there were.
    End(u64, u64),
}

/// Bytes of ciphertext that are written or read at once.
const RUN: usize = 256 * 1024;
/// Bytes of a frame, at most: more than any row has.
const FRAME_MAX: usize = 1 << 30;

/// Writes a snapshot.
pub struct Writer {
    path: PathBuf,
    file: File,
    sealer: Sealer,
    out: Vec<u8>,
    /// Rows until now.
    pub rows: u64,
    /// Payloads until now.
    pub payloads: u64,
}

impl Writer {
    /// Begins a file that is not there yet.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &Path, recipients: &[Recipient], time_ms: i64) -> Result<Self, Failed> {
        let failed = |error: &dyn std::fmt::Display| Failed(format!("{}: {error}", path.display()));
        let key = FileKey::generate().map_err(|error| failed(&error))?;
        let mut out = Header::seal(&key, recipients).map_err(|error| failed(&error))?.as_bytes().to_vec();
        let sealer = Sealer::new(&key, &mut out).map_err(|error| failed(&error))?;
        let file = File::create_new(path).map_err(|error| failed(&error))?;
        let mut writer = Self { path: path.to_owned(), file, sealer, out, rows: 0, payloads: 0 };
        writer.put(&Frame::Begin(VERSION, time_ms))?;
        Ok(writer)
    }

    fn failed(&self, error: impl std::fmt::Display) -> Failed {
        Failed(format!("{}: {error}", self.path.display()))
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// What the system says.
    pub fn put(&mut self, frame: &Frame) -> Result<(), Failed> {
        match frame {
            Frame::Row(_) => self.rows += 1,
            Frame::Payload(..) => self.payloads += 1,
            _ => {}
        }
        // Postcard into a growing vector fails for no value of these types.
        let body = postcard::to_stdvec(frame).expect("plain values");
        let length = u32::try_from(body.len()).map_err(|error| self.failed(error))?;
        let pushed = self.sealer.push(&length.to_be_bytes(), &mut self.out);
        let pushed = pushed.and_then(|()| self.sealer.push(&body, &mut self.out));
        pushed.map_err(|error| self.failed(error))?;
        if self.out.len() >= RUN { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Failed> {
        let written = self.file.write_all(&self.out);
        self.out.clear();
        written.map_err(|error| self.failed(error))
    }

    /// Ends the file, durably.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(mut self) -> Result<(), Failed> {
        self.put(&Frame::End(self.rows, self.payloads))?;
        let Self { path, mut file, sealer, mut out, .. } = self;
        let failed = |error: &dyn std::fmt::Display| Failed(format!("{}: {error}", path.display()));
        sealer.finish(&mut out).map_err(|error| failed(&error))?;
        file.write_all(&out).and_then(|()| file.sync_all()).map_err(|error| failed(&error))
    }
}

/// Reads a snapshot; what it gives was authenticated at its place.
pub struct Reader {
    path: PathBuf,
    file: File,
    opener: Option<Opener>,
    plain: Vec<u8>,
    at: usize,
    rows: u64,
    payloads: u64,
    ended: bool,
}

impl Reader {
    /// Opens a snapshot with one of the identities that it was made for.
    ///
    /// # Errors
    /// Another identity, or a file that is none.
    pub fn open(path: &Path, identity: &Identity) -> Result<Self, Failed> {
        let failed = |error: &dyn std::fmt::Display| Failed(format!("{}: {error}", path.display()));
        let mut file = File::open(path).map_err(|error| failed(&error))?;
        let mut first = Vec::new();
        let head = (HEADER_BYTES_MAX + NONCE_BYTES) as u64;
        (&mut file).take(head).read_to_end(&mut first).map_err(|error| failed(&error))?;
        let (header, rest) = Header::split_from(&first).map_err(|error| failed(&error))?;
        let key = header.open(identity).map_err(|error| failed(&error))?;
        let (nonce, rest) = rest.split_first_chunk().ok_or_else(|| failed(&"the snapshot is cut"))?;
        let (mut opener, mut plain) = (Opener::new(&key, nonce), Vec::new());
        opener.push(rest, &mut plain).map_err(|error| failed(&error))?;
        let mut reader = Self {
            path: path.to_owned(),
            file,
            opener: Some(opener),
            plain,
            at: 0,
            rows: 0,
            payloads: 0,
            ended: false,
        };
        match reader.next()? {
            Some(Frame::Begin(VERSION, _)) => Ok(reader),
            Some(Frame::Begin(version, _)) => Err(reader.failed(format!("form {version} is of a newer strongroom"))),
            _ => Err(reader.failed("not a snapshot")),
        }
    }

    fn failed(&self, error: impl std::fmt::Display) -> Failed {
        Failed(format!("{}: {error}", self.path.display()))
    }

    /// Reads until so many bytes are there; false where the file ends before.
    fn fill(&mut self, wanted: usize) -> Result<bool, Failed> {
        while self.plain.len() - self.at < wanted {
            let Some(opener) = &mut self.opener else { return Ok(false) };
            self.plain.drain(..self.at);
            self.at = 0;
            let mut cipher = vec![0; RUN];
            let failed = |error: &dyn std::fmt::Display| Failed(format!("{}: {error}", self.path.display()));
            let read = self.file.read(&mut cipher).map_err(|error| failed(&error))?;
            let opened = if read > 0 {
                opener.push(&cipher[..read], &mut self.plain)
            } else {
                // Checked above.
                self.opener.take().map_or(Ok(()), |opener| opener.finish(&mut self.plain))
            };
            opened.map_err(|_| failed(&"the snapshot is damaged or cut"))?;
        }
        Ok(true)
    }

    /// The next frame; `None` after the last, when the whole file was authenticated.
    ///
    /// # Errors
    /// A snapshot that is damaged, cut, or not whole.
    pub fn next(&mut self) -> Result<Option<Frame>, Failed> {
        if !self.fill(4)? {
            let whole = self.ended && self.plain.len() == self.at;
            return if whole { Ok(None) } else { Err(self.failed("the snapshot is cut")) };
        }
        let length: [u8; 4] = self.plain[self.at..self.at + 4].try_into().unwrap_or_default();
        let length = u32::from_be_bytes(length) as usize;
        if self.ended || length > FRAME_MAX || !self.fill(4 + length)? {
            return Err(self.failed("the snapshot is damaged"));
        }
        let body = &self.plain[self.at + 4..self.at + 4 + length];
        let frame = postcard::from_bytes(body).map_err(|error| self.failed(error))?;
        self.at += 4 + length;
        match &frame {
            Frame::Row(_) => self.rows += 1,
            Frame::Payload(..) => self.payloads += 1,
            Frame::End(rows, payloads) if (*rows, *payloads) == (self.rows, self.payloads) => self.ended = true,
            Frame::End(..) => return Err(self.failed("the snapshot is damaged")),
            _ => {}
        }
        Ok(Some(frame))
    }
}
