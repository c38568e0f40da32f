//! Whether SQLite still writes the file that has the database's name. A file that was removed or replaced under an open connection
//! goes on taking writes, and all of it is gone with the process; SQLite itself looks only where it keeps a journal, not a WAL.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files of an open database, as they were when it was opened.
pub struct Files(Vec<(PathBuf, (u64, u64))>);

fn number(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Files {
    /// Of a database that is open and in WAL mode: its file, and the WAL, which stays the same as long as anyone has it open.
    pub fn of(file: &Path) -> io::Result<Self> {
        let mut wal = file.as_os_str().to_owned();
        wal.push("-wal");
        let held = |path: PathBuf| number(&path).map(|number| (path, number));
        [file.to_owned(), wal.into()].into_iter().map(held).collect::<io::Result<_>>().map(Self)
    }

    /// The first that is not where it was.
    pub fn missing(&self) -> Option<&Path> {
        let moved = |entry: &&(PathBuf, (u64, u64))| number(&entry.0).ok() != Some(entry.1);
        self.0.iter().find(moved).map(|(path, _)| path.as_path())
    }
}
