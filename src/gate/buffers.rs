//! Buffers for runs of chunks: used again and again, and wiped in between. Fresh ones would be wiped, mapped and faulted in
//! for each run, which costs as much as opening the chunks.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Free buffers that are kept, at most: as many as streams have in use on a busy server. 4 MiB.
const KEPT_MAX: usize = 16;

/// Each begins as far behind the beginning of a page as what is read into it does in its file: where the two differ by a few
/// bytes, as they did in what the allocator gives, the kernel's copy takes some processors six times as long (measured: an AMD
/// EPYC with `fsrm`).
const PAGE: usize = 4096;

/// The free buffers, all of one length.
#[derive(Clone)]
pub struct Buffers {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
    length: usize,
}

impl Buffers {
    /// None yet.
    pub fn new(length: usize) -> Self {
        Self { free: Arc::default(), length }
    }

    /// One of `length` bytes, all zero, for what is read from `offset` on.
    pub fn take(&self, offset: u64, length: usize) -> Buffer {
        let free = || self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let home = (length <= self.length).then(|| self.clone());
        let kept = home.as_ref().and_then(|_| free());
        let bytes = kept.unwrap_or_else(|| vec![0; length.max(self.length) + 2 * PAGE]);
        // Less than a page, or, where it can't be told, none.
        let start = bytes.as_ptr().align_offset(PAGE).min(PAGE) + (offset % PAGE as u64) as usize;
        Buffer { bytes, used: start..start + length, written: start..start + length, home }
    }
}

/// A buffer in use; wiped when it is dropped.
pub struct Buffer {
    bytes: Vec<u8>,
    used: std::ops::Range<usize>,
    /// Those that were asked for: no others were ever written.
    written: std::ops::Range<usize>,
    home: Option<Buffers>,
}

impl Buffer {
    /// A part of it, as it is handed on. `part` lies within.
    pub fn freeze(mut self, part: std::ops::Range<usize>) -> Bytes {
        self.used = self.written.start + part.start..self.written.start + part.end;
        Bytes::from_owner(self)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.used.clone()]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.used.clone()]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Whatever goes back to the allocator is wiped there.
        let Some(home) = self.home.take() else { return };
        let mut free = home.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT_MAX {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes[self.written.clone()].fill(0);
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_wiped_and_is_used_again() {
        let buffers = Buffers::new(8);
        let mut one = buffers.take(PAGE as u64, 6);
        assert_eq!(one.len(), 6);
        one.copy_from_slice(b"secret");
        let place = one.as_ptr();
        assert_eq!(place.align_offset(PAGE), 0);
        let handed = one.freeze(1..4);
        assert_eq!(handed, b"ecr"[..]);
        drop(handed);
        let again = buffers.take(0, 8);
        assert_eq!((again.as_ptr(), &again[..]), (place, &[0; 8][..]));
        drop(again);
        let more = buffers.take(5 * PAGE as u64 + 16, 20);
        assert_eq!((more.len(), more.as_ptr().align_offset(PAGE)), (20, PAGE - 16));
        drop(buffers.take(4095, 8));
    }
}
