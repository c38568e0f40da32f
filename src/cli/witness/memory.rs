//! What a witness remembers of each log: the last checkpoint that it cosigned, a file each. It is durable before it is told.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};
use strongroom_audit::note::VerifierKey;
use strongroom_audit::{Checkpoint, Hash};

use crate::{Failed, words};

/// In a folder that a witness made; without it, the folder is one that somebody emptied.
const MARK: &str = "witness-state";

/// What is remembered of a log.
pub struct Remembered {
    /// Leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// The folder, while one process has it to itself.
pub struct Memory {
    folder: PathBuf,
    /// One request of a log at a time.
    turns: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
    _lock: File,
}

/// Of one log, while nobody else asks about it.
pub struct Of<'a> {
    folder: &'a Path,
    file: PathBuf,
    known: Option<Remembered>,
}

/// A name or a rename in a folder is durable.
///
/// # Errors
/// What the system says.
pub fn sync_folder(folder: &Path) -> Result<(), Failed> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Failed(format!("{}: {error}", folder.display())))
}

/// The file of a log's key: the hash of the key with its name.
fn file_of(folder: &Path, key: &VerifierKey) -> PathBuf {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.to_string().as_bytes());
    let name: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("{name}.checkpoint"))
}

impl Memory {
    /// Makes an empty one.
    ///
    /// # Errors
    /// What the system says; where something is in the folder already, it is another witness's.
    pub fn make(folder: &Path) -> Result<(), Failed> {
        let about = |error: std::io::Error| Failed(format!("{}: {error}", folder.display()));
        fs::create_dir_all(folder).map_err(about)?;
        if fs::read_dir(folder).map_err(about)?.next().is_some() {
            return Err(Failed(format!("{} is not empty, and the key is not there", folder.display())));
        }
        File::create(folder.join(MARK)).and_then(|mark| mark.sync_all()).map_err(about)?;
        sync_folder(folder)
    }

    /// Takes it.
    ///
    /// # Errors
    /// Where it was emptied, or another process has it.
    pub fn open(folder: &Path) -> Result<Self, Failed> {
        let mark = File::open(folder.join(MARK)).map_err(|error| {
            let why = "a witness that forgot what it cosigned is none: restore the folder, or make another key, and name it in the servers";
            Failed(format!("{}: {error}; {why}", folder.join(MARK).display()))
        })?;
        flock(&mark, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Failed(format!("{} is another process's: stop that witness first", folder.display())))?;
        Ok(Self { folder: folder.to_owned(), turns: Mutex::default(), _lock: mark })
    }

    /// Reads what is remembered of each of these logs, so that a damaged memory stops the start.
    ///
    /// # Errors
    /// Which is damaged.
    pub fn check(&self, logs: &[VerifierKey]) -> Result<(), Failed> {
        logs.iter().try_for_each(|key| known(&file_of(&self.folder, key), key).map(drop))
    }

    /// What is remembered of a log, and nobody else's turn until this is over.
    ///
    /// # Errors
    /// What can't be read.
    pub fn with<T>(&self, key: &VerifierKey, act: impl FnOnce(&mut Of<'_>) -> T) -> Result<T, Failed> {
        let turn = {
            // A thread that panicked has changed nothing of the map.
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(key.to_string()).or_default().clone()
        };
        let _turn: MutexGuard<'_, ()> = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let file = file_of(&self.folder, key);
        let known = known(&file, key)?;
        Ok(act(&mut Of { folder: &self.folder, file, known }))
    }

    /// Forgets a log's last checkpoint; it is kept beside under another name.
    ///
    /// # Errors
    /// Where nothing of it is remembered.
    pub fn forget(&self, key: &VerifierKey) -> Result<(), Failed> {
        let file = file_of(&self.folder, key);
        if known(&file, key)?.is_none() {
            return Err(Failed(format!("nothing of {} is remembered here", key.name())));
        }
        fs::rename(&file, file.with_extension("forgotten")).map_err(words)?;
        sync_folder(&self.folder)
    }
}

fn known(file: &Path, key: &VerifierKey) -> Result<Option<Remembered>, Failed> {
    let about = |what: &dyn std::fmt::Display| Failed(format!("{}: {what}", file.display()));
    match fs::read_to_string(file) {
        Ok(note) => {
            let Checkpoint { size, root, .. } = Checkpoint::open(&note, key).map_err(|error| about(&error))?;
            Ok(Some(Remembered { size, root }))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(about(&error)),
    }
}

impl Of<'_> {
    /// Size and root.
    pub fn known(&self) -> Option<(u64, Hash)> {
        self.known.as_ref().map(|known| (known.size, known.root))
    }

    /// Remembers a checkpoint instead, by its signed note. After this, and not before, it may be cosigned.
    ///
    /// # Errors
    /// What the system says: then nothing may be cosigned.
    pub fn remember(&mut self, note: &str) -> Result<(), Failed> {
        let about = |error: std::io::Error| Failed(format!("{}: {error}", self.file.display()));
        let beside = self.file.with_extension("new");
        let mut file = File::create(&beside).map_err(about)?;
        file.write_all(note.as_bytes()).and_then(|()| file.sync_all()).map_err(about)?;
        fs::rename(&beside, &self.file).map_err(about)?;
        sync_folder(self.folder)
    }
}

#[cfg(test)]
mod tests {
    use strongroom_audit::note::Signer;

    use super::*;

    #[test]
    fn what_is_remembered_is_there_again_and_an_emptied_memory_is_none() {
        let folder = std::env::temp_dir().join(format!("strongroom-witness-{}", std::process::id()));
        Memory::make(&folder).unwrap();
        let signer = Signer::from_seed("log.example", &[5; 32]).unwrap();
        let key = signer.verifier_key();
        let note = |size| {
            Checkpoint { origin: "log.example".to_owned(), size, root: Hash::leaf(b"root") }.sign(&signer).unwrap()
        };
        let memory = Memory::open(&folder).unwrap();
        assert!(Memory::open(&folder).is_err(), "one process at a time");
        assert_eq!(memory.with(&key, |of| of.known()).unwrap(), None);
        memory.with(&key, |of| of.remember(&note(7))).unwrap().unwrap();
        memory.with(&key, |of| of.remember(&note(9))).unwrap().unwrap();
        drop(memory);
        let memory = Memory::open(&folder).unwrap();
        assert_eq!(memory.with(&key, |of| of.known()).unwrap(), Some((9, Hash::leaf(b"root"))));
        // The same name with another key is another log.
        let other = Signer::from_seed("log.example", &[6; 32]).unwrap().verifier_key();
        assert_eq!(memory.with(&other, |of| of.known()).unwrap(), None);
        assert!(memory.forget(&other).is_err());
        memory.forget(&key).unwrap();
        assert_eq!(memory.with(&key, |of| of.known()).unwrap(), None);
        drop(memory);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(Memory::open(&folder).is_err());
    }
}
