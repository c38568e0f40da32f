//! Where backups are: `payloads/` as in an object store, `SHA256SUMS` over them, `snapshots/` one file a backup.
//!
//! Payloads have random names that are never used again, so backups share them.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use strongroom_domain::Sha256;
use strongroom_envelope::Identity;
use strongroom_storage::{ObjectId, Objects};

use super::snapshot::{Frame, Reader};
use crate::Failed;

/// A folder of backups.
pub struct Folder(PathBuf);

/// A payload as a snapshot lists it.
pub struct Listed {
    /// Its name.
    pub object: ObjectId,
    /// Bytes.
    pub length: u64,
    /// Of those bytes.
    pub digest: Sha256,
}

fn about<'a, E: std::fmt::Display>(path: &'a Path) -> impl Fn(E) -> Failed + 'a {
    move |error| Failed(format!("{}: {error}", path.display()))
}

/// A payload as it is named to the operator, and to `sha256sum -c` in the folder.
pub fn path_of(object: ObjectId) -> String {
    let hex = object.to_string();
    format!("payloads/{}/{}", &hex[..2], &hex[2..])
}

impl Folder {
    /// A folder that is there.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes what is missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn make(&self) -> Result<(), Failed> {
        for part in [&self.0, &self.0.join("payloads"), &self.snapshots()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(part).map_err(about(part))?;
        }
        Ok(())
    }

    /// The folder of snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }

    /// The payloads.
    ///
    /// # Errors
    /// No such folder.
    pub fn payloads(&self) -> Result<Objects, Failed> {
        let folder = self.0.join("payloads");
        Objects::local(&folder).map_err(about(&folder))
    }

    /// Keeps other `backup create` out until this is dropped.
    ///
    /// # Errors
    /// One is at work.
    pub fn lock(&self) -> Result<File, Failed> {
        let path = self.0.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(about(&path))?;
        let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        locked.map_err(|_| Failed(format!("{}: another backup is being made here", path.display())))?;
        Ok(file)
    }

    fn names(&self) -> Result<Vec<String>, Failed> {
        let folder = self.snapshots();
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(about(&folder))? {
            let entry = entry.map_err(about(&folder))?.file_name();
            names.extend(entry.to_str().and_then(|entry| entry.strip_suffix(".age")).map(str::to_owned));
        }
        Ok(names)
    }

    /// A name for the next snapshot: its number, which says what is the newest also where two are of one second or a clock was
    /// set back, and the time for people.
    ///
    /// # Errors
    /// What the system says.
    pub fn next(&self, now: SystemTime) -> Result<String, Failed> {
        let last = self.names()?.iter().map(|name| number(name)).max().unwrap_or(0);
        let time = humantime::format_rfc3339_seconds(now).to_string().replace(['-', ':'], "");
        Ok(format!("{:06}-{time}", last + 1))
    }

    /// The snapshot of this name, or the newest.
    ///
    /// # Errors
    /// There is none.
    pub fn snapshot(&self, name: Option<&str>) -> Result<(String, PathBuf), Failed> {
        let (folder, names) = (self.snapshots(), self.names()?);
        let found = match name {
            Some(name) => names.into_iter().find(|found| found == name),
            None => names.into_iter().max_by_key(|name| number(name)),
        };
        let found = found.ok_or_else(|| Failed(format!("{}: no such backup", folder.display())))?;
        let path = folder.join(format!("{found}.age"));
        Ok((found, path))
    }

    /// The payloads that a snapshot lists, when all of it was read and authenticated.
    ///
    /// # Errors
    /// A snapshot that is damaged.
    pub fn listed(&self, snapshot: &Path, identity: &Identity) -> Result<Vec<Listed>, Failed> {
        let (mut reader, mut listed) = (Reader::open(snapshot, identity)?, Vec::new());
        while let Some(frame) = reader.next()? {
            if let Frame::Payload(object, length, digest) = frame {
                listed.push(Listed { object: ObjectId(object), length, digest: Sha256::from_bytes(digest) });
            }
        }
        Ok(listed)
    }

    /// Removes what a `backup create` that was killed has left.
    ///
    /// # Errors
    /// What the system says.
    pub fn tidy(&self) -> Result<(), Failed> {
        let folder = self.snapshots();
        for entry in fs::read_dir(&folder).map_err(about(&folder))? {
            let path = entry.map_err(about(&folder))?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(&path).map_err(about(&path))?;
            }
        }
        self.payloads()?.remove_staged().map(drop).map_err(about(&self.0))
    }
}

/// `SHA256SUMS`: what was copied, a line each, in the form of sha256sum(1).
pub struct Sums {
    path: PathBuf,
    file: File,
    known: HashMap<ObjectId, Sha256>,
}

impl Sums {
    /// Reads it. A line that was cut by a crash counts for nothing: its payload is copied again.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(folder: &Folder) -> Result<Self, Failed> {
        let path = folder.0.join("SHA256SUMS");
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(&path).map_err(about(&path))?;
        let text = fs::read_to_string(&path).map_err(about(&path))?;
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n").map_err(about(&path))?;
        }
        let line = |line: &str| {
            let (digest, name) = line.split_once("  ")?;
            let hex = name.strip_prefix("payloads/")?.replacen('/', "", 1);
            let id = u128::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 32)?;
            Some((ObjectId(id.to_be_bytes()), digest.parse().ok()?))
        };
        let known = text.lines().filter_map(line).collect();
        Ok(Self { path, file, known })
    }

    /// The digest of a payload.
    pub fn get(&self, object: ObjectId) -> Option<Sha256> {
        self.known.get(&object).copied()
    }

    /// Notes a payload that is durable in the folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&mut self, object: ObjectId, digest: Sha256) -> Result<(), Failed> {
        writeln!(self.file, "{digest}  {}", path_of(object)).map_err(about(&self.path))?;
        self.known.insert(object, digest);
        Ok(())
    }

    /// Makes the notes durable.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> Result<(), Failed> {
        self.file.sync_all().map_err(about(&self.path))
    }
}

/// The number that a snapshot's name begins with; 0 for a file that is none of ours.
fn number(name: &str) -> u64 {
    name.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
