//! Where lines go: standard output, or a collector by syslog over TLS (RFC 5425), each with its length before it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::ToSocketAddrs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ClientConfig;

use crate::Failed;
use crate::collector::{Place, Stream, finish, trust, write};

/// For a connection, and for what waits in it.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of lines that are kept after they were sent: no collector says what it has, and so much may lie in the buffers of both
/// kernels when a connection ends.
const KEPT_BYTES: usize = 16 * 1024 * 1024;
/// Before another try.
const AGAIN: Duration = Duration::from_secs(2);

/// A way out.
pub enum Out {
    /// Standard output, a line each.
    Stdout,
    /// A collector.
    Collector(Box<Collector>),
}

/// A collector, connected when there is something for it.
pub struct Collector {
    place: Place,
    tls: Arc<ClientConfig>,
    stream: Option<Stream>,
    /// What was sent through this connection, or through one that ended: it is sent again through the next one.
    sent: VecDeque<String>,
    sent_bytes: usize,
    /// Whether what fails is tried again, for ever.
    patient: bool,
}

impl Out {
    /// One, with the CA of its certificate where it is not of those that the system trusts.
    ///
    /// # Errors
    /// Certificates that can't be read.
    pub fn new(place: Option<Place>, ca: Option<&Path>, patient: bool) -> Result<Self, Failed> {
        let Some(place) = place else { return Ok(Self::Stdout) };
        let tls = trust(ca, "--to-ca")?;
        Ok(Self::Collector(Box::new(Collector {
            place,
            tls,
            stream: None,
            sent: VecDeque::new(),
            sent_bytes: 0,
            patient,
        })))
    }

    /// Ends it.
    ///
    /// # Errors
    /// A collector that did not read to the end.
    pub fn finish(self) -> Result<(), Failed> {
        match self {
            Self::Stdout => Ok(()),
            Self::Collector(collector) => collector.finish(),
        }
    }

    /// Sends lines. Where that fails and is tried again, what came before may come again too: each line has its number.
    ///
    /// # Errors
    /// A reader that is gone, or a collector that can't be reached.
    pub fn send(&mut self, lines: &[String]) -> Result<(), Failed> {
        let collector = match self {
            Self::Stdout => {
                let mut out = std::io::stdout().lock();
                let written = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
                return written.map_err(|error| Failed(format!("standard output: {error}")));
            }
            Self::Collector(collector) => collector,
        };
        loop {
            match collector.send(lines) {
                Ok(()) => return Ok(()),
                Err(error) if collector.patient => {
                    eprintln!("strongroom: {error}; trying again");
                    collector.stream = None;
                    std::thread::sleep(AGAIN);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Collector {
    fn send(&mut self, lines: &[String]) -> Result<(), Failed> {
        let place = self.place.clone();
        let mut stream = match self.stream.take().filter(is_open) {
            Some(stream) => stream,
            None => {
                let mut stream = self.connect()?;
                write(&mut stream, self.sent.iter()).map_err(|error| place.failed(&error))?;
                stream
            }
        };
        // Kept before it is sent: if the connection ends meanwhile, it goes through the next one.
        let first = self.sent.len();
        for line in lines {
            self.sent_bytes += line.len();
            self.sent.push_back(line.clone());
        }
        if let Err(error) = write(&mut stream, lines.iter()) {
            self.sent.drain(first..).for_each(|line| self.sent_bytes -= line.len());
            return Err(place.failed(&error));
        }
        while self.sent_bytes > KEPT_BYTES {
            self.sent_bytes -= self.sent.pop_front().map_or(0, |line| line.len());
        }
        self.stream = Some(stream);
        Ok(())
    }

    fn finish(self) -> Result<(), Failed> {
        let Some(stream) = self.stream else { return Ok(()) };
        finish(stream).map_err(|error| self.place.failed(&format!("it did not read to the end: {error}")))
    }

    fn connect(&self) -> Result<Stream, Failed> {
        let Place { host, port } = &self.place;
        let addresses = (host.as_str(), *port).to_socket_addrs().map_err(|error| self.place.failed(&error))?;
        self.place.connect(&addresses.collect::<Vec<_>>(), &self.tls, DEADLINE)
    }
}

/// Whether the other end has not ended it, as far as this one knows.
fn is_open(stream: &Stream) -> bool {
    let mut socket = &stream.sock;
    let looked = stream.sock.set_nonblocking(true).and_then(|()| {
        // A collector says nothing: what comes is TLS's own (tickets, the word that it ends), and then the end.
        let mut bytes = [0; 4096];
        let ended = loop {
            match socket.read(&mut bytes) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() != ErrorKind::WouldBlock,
            }
        };
        stream.sock.set_nonblocking(false)?;
        Ok(!ended)
    });
    looked.unwrap_or(false)
}
