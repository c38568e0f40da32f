//! A socket that reads ahead once much comes in: TLS asks it for 4 KiB at a time, and each way into the kernel costs more than
//! the bytes. Holds what the socket holds: records as they were sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read at once, once much comes.
const AHEAD: usize = 64 * 1024;
/// Bytes after which a connection is one that sends much: most never are.
const MUCH: u64 = 64 * 1024;

/// The socket.
pub struct Ahead<S> {
    socket: S,
    held: Vec<u8>,
    /// What of `held` was not asked for yet.
    at: usize,
    end: usize,
    came: u64,
}

impl<S> Ahead<S> {
    /// Nothing was read yet.
    pub fn new(socket: S) -> Self {
        Self { socket, held: Vec::new(), at: 0, end: 0, came: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.at == this.end {
            if this.came < MUCH || into.remaining() >= AHEAD {
                let before = into.filled().len();
                ready!(Pin::new(&mut this.socket).poll_read(context, into))?;
                this.came += (into.filled().len() - before) as u64;
                return Poll::Ready(Ok(()));
            }
            this.held.resize(AHEAD, 0);
            let mut buffer = ReadBuf::new(&mut this.held);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut buffer))?;
            (this.at, this.end) = (0, buffer.filled().len());
        }
        let taken = into.remaining().min(this.end - this.at);
        into.put_slice(&this.held[this.at..this.at + taken]);
        this.at += taken;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_comes_is_read_as_it_came_to_its_end_however_little_is_asked_for() {
        let (mut sender, receiver) = tokio::io::duplex(100_000);
        let sent: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
        let expected = sent.clone();
        let sending = tokio::spawn(async move {
            sender.write_all(&sent).await.unwrap();
            sender.shutdown().await.unwrap();
        });
        let (mut ahead, mut got, mut piece) = (Ahead::new(receiver), Vec::new(), [0; 4096]);
        loop {
            match ahead.read(&mut piece).await.unwrap() {
                0 => break,
                count => got.extend_from_slice(&piece[..count]),
            }
        }
        sending.await.unwrap();
        assert!(got == expected && !ahead.held.is_empty());
    }

    #[tokio::test]
    async fn a_connection_that_sends_little_holds_no_buffer() {
        let (mut sender, receiver) = tokio::io::duplex(1000);
        sender.write_all(&[7; 500]).await.unwrap();
        let (mut ahead, mut piece) = (Ahead::new(receiver), [0; 500]);
        ahead.read_exact(&mut piece).await.unwrap();
        assert!(ahead.held.is_empty());
    }
}
