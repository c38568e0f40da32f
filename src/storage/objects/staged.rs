//! A file of a directory store while it is written: under another name, past the page cache.
//!
//! `NAME#1` is written, synced and renamed to `NAME`, and the folder is synced; if we die before the renaming, what was staged is
//! removed at the next start ([`Objects::remove_staged`](super::Objects::remove_staged)). The page cache is passed by because a
//! large upload would push out of it what is read, and because giving it fresh pages costs as much as the upload's cryptography
//! (docs/performance.md). Where a file system has no such writes, they are ordinary ones.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use super::ObjectError;

/// What a write past the page cache begins at and is a multiple of, in memory and in the file: a page, and a block of every disk.
const BLOCK: usize = 4096;
/// Bytes that are written at once: enough to be worth the way to another thread, and no more of memory.
const PART: usize = 512 * 1024;
/// Bytes that may come beyond a part before it is written: the piece that fills it.
const SLACK: usize = 256 * 1024;
/// Free buffers that are kept, at most: 6 MiB.
const KEPT_MAX: usize = 8;

/// Buffers that writes are made from, used again and again: fresh ones are mapped and faulted in for each part. What is in
/// them is ciphertext.
#[derive(Clone, Default)]
pub(super) struct Blocks(Arc<Mutex<Vec<Vec<u8>>>>);

impl Blocks {
    /// A buffer, and where in it a block begins. It is filled up to there.
    fn take(&self) -> (Vec<u8>, usize) {
        // A panic elsewhere leaves the list whole.
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = free.unwrap_or_else(|| Vec::with_capacity(BLOCK + PART + SLACK));
        let start = buffer.as_ptr().align_offset(BLOCK).min(BLOCK);
        buffer.clear();
        buffer.resize(start, 0);
        (buffer, start)
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT_MAX {
            free.push(buffer);
        }
    }
}

/// A part on its way to the file: gives back the file, and the buffer.
type Writing = JoinHandle<io::Result<(Open, Vec<u8>)>>;

/// An object that is being written to a directory. One write is on its way while the next part comes in; dropped before it is
/// published, nothing is left of it.
pub(super) struct Staged {
    blocks: Blocks,
    place: PathBuf,
    pending: Vec<u8>,
    /// Where in `pending` its bytes begin.
    start: usize,
    open: Option<Open>,
    writing: Option<Writing>,
    length: u64,
}

impl Staged {
    /// Begins an object that will lie at `place`. Nothing is made yet.
    pub(super) fn new(blocks: Blocks, place: PathBuf) -> Self {
        let (pending, start) = blocks.take();
        Self { blocks, place, pending, start, open: None, writing: None, length: 0 }
    }

    /// Where the next bytes go.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Writes what is pending, where it is enough to be worth it.
    ///
    /// # Errors
    /// [`ObjectError`], also of the part before.
    pub(super) async fn flush(&mut self) -> Result<(), ObjectError> {
        if self.pending.len() - self.start < PART {
            return Ok(());
        }
        let mut open = self.settled().await?;
        let end = self.start + (self.pending.len() - self.start) / BLOCK * BLOCK;
        let (mut next, start) = self.blocks.take();
        next.extend_from_slice(&self.pending[end..]);
        let part = std::mem::replace(&mut self.pending, next);
        let from = std::mem::replace(&mut self.start, start);
        self.length += (end - from) as u64;
        self.writing = Some(tokio::task::spawn_blocking(move || {
            open.write(&part[from..end])?;
            Ok((open, part))
        }));
        Ok(())
    }

    /// Publishes the object, durably; its length.
    ///
    /// # Errors
    /// [`ObjectError`]; then nothing is visible.
    pub(super) async fn finish(mut self) -> Result<u64, ObjectError> {
        let mut open = self.settled().await?;
        let (rest, from, place) = (self.pending, self.start, self.place);
        let length = self.length + (rest.len() - from) as u64;
        let published = tokio::task::spawn_blocking(move || {
            open.write(&rest[from..])?;
            open.publish(&place)?;
            Ok::<_, io::Error>(rest)
        });
        self.blocks.give(joined(published).await?);
        Ok(length)
    }

    /// The file, once the write before is done.
    async fn settled(&mut self) -> Result<Open, ObjectError> {
        if let Some(writing) = self.writing.take() {
            let (open, part) = joined(writing).await?;
            self.blocks.give(part);
            return Ok(open);
        }
        match self.open.take() {
            Some(open) => Ok(open),
            None => {
                let place = self.place.clone();
                joined(tokio::task::spawn_blocking(move || Open::create(&place))).await
            }
        }
    }
}

async fn joined<T>(work: JoinHandle<io::Result<T>>) -> Result<T, ObjectError> {
    Ok(work.await.map_err(|error| ObjectError::Store(error.to_string()))??)
}

/// A staged file. It is removed when this is dropped, unless it was published.
struct Open {
    file: File,
    staged: Option<PathBuf>,
    at: u64,
    direct: bool,
}

impl Open {
    fn create(place: &Path) -> io::Result<Self> {
        let folder = parent(place)?;
        match fs::create_dir(folder) {
            Ok(()) => sync(parent(folder)?)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let mut staged = place.as_os_str().to_owned();
        staged.push("#1");
        let staged = PathBuf::from(staged);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let (file, direct) = match direct(&options, &staged) {
            Ok(file) => (file, true),
            // Some file systems make the file before they say so.
            Err(error) if is_refused(&error) => (options.create_new(false).create(true).open(&staged)?, false),
            Err(error) => return Err(error),
        };
        Ok(Self { file, staged: Some(staged), at: 0, direct })
    }

    /// Appends. What is no whole block is the last that comes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let aligned = bytes.as_ptr().align_offset(BLOCK) == 0 && self.at.is_multiple_of(BLOCK as u64);
        let blocks = if self.direct && aligned { bytes.len() / BLOCK * BLOCK } else { 0 };
        let (whole, rest) = bytes.split_at(blocks);
        if !whole.is_empty() {
            match self.file.write_all_at(whole, self.at) {
                Err(error) if is_refused(&error) => {
                    self.ordinary()?;
                    self.file.write_all_at(whole, self.at)?;
                }
                written => written?,
            }
            self.at += whole.len() as u64;
        }
        if !rest.is_empty() {
            self.ordinary()?;
            self.file.write_all_at(rest, self.at)?;
            self.at += rest.len() as u64;
        }
        Ok(())
    }

    /// From here on through the page cache.
    fn ordinary(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.direct) {
            #[cfg(target_os = "linux")]
            rustix::fs::fcntl_setfl(&self.file, rustix::fs::fcntl_getfl(&self.file)? - rustix::fs::OFlags::DIRECT)?;
        }
        Ok(())
    }

    fn publish(&mut self, place: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        if let Some(staged) = &self.staged {
            fs::rename(staged, place)?;
        }
        // From here on the object is there; if the sync fails, whoever wrote it is told that it is not, and the sweep finds it.
        self.staged = None;
        sync(parent(place)?)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // What can't be removed now is removed at the next start.
        self.staged.take().map(fs::remove_file);
    }
}

#[cfg(target_os = "linux")]
fn direct(options: &OpenOptions, staged: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    options.clone().custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed()).open(staged)
}

#[cfg(not(target_os = "linux"))]
fn direct(_: &OpenOptions, _: &Path) -> io::Result<File> {
    Err(io::ErrorKind::InvalidInput.into())
}

/// The file system has no writes past its page cache, or wants them otherwise.
fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("strongroom-staged-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    async fn write(folder: &Path, pieces: &[usize]) -> (Vec<u8>, u64) {
        let place = folder.join("ab").join("object");
        let mut staged = Staged::new(Blocks::default(), place.clone());
        let (mut all, mut byte) = (Vec::new(), 0_u8);
        for length in pieces {
            let piece: Vec<u8> = std::iter::repeat_with(|| (byte = byte.wrapping_mul(31).wrapping_add(7), byte).1)
                .take(*length)
                .collect();
            all.extend_from_slice(&piece);
            staged.buffer().extend_from_slice(&piece);
            staged.flush().await.unwrap();
            assert!(!place.exists());
        }
        let length = staged.finish().await.unwrap();
        assert_eq!(fs::read(&place).unwrap(), all);
        assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
        fs::remove_file(&place).unwrap();
        (all, length)
    }

    #[tokio::test]
    async fn what_comes_in_pieces_of_any_length_is_written_as_it_came() {
        let folder = scratch("lengths");
        let odd = vec![65_552; 40];
        let huge = [PART + 3 * SLACK + 1, 5, PART, 1];
        for pieces in [&[][..], &[0], &[1], &[BLOCK], &[PART], &[PART - 1, 1], &[PART, 1], &odd, &huge] {
            let (all, length) = write(&folder, pieces).await;
            assert_eq!(length, all.len() as u64);
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn nothing_is_left_of_what_was_given_up() {
        let folder = scratch("dropped");
        let place = folder.join("ab").join("object");
        let mut staged = Staged::new(Blocks::default(), place.clone());
        for _ in 0..3 {
            staged.buffer().extend_from_slice(&[7; PART]);
            staged.flush().await.unwrap();
        }
        drop(staged);
        for _ in 0..200 {
            if fs::read_dir(folder.join("ab")).unwrap().count() == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(fs::read_dir(folder.join("ab")).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }
}
