//! Where lines go: standard output, or a collector by syslog over TLS (RFC 5425), each with its length before it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::courier::{bundle, host_and_port};
use crate::{Failed, words};

/// For a connection, and for what waits in it.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of lines that are kept after they were sent: no collector says what it has, and so much may lie in the buffers of both
/// kernels when a connection ends.
const KEPT_BYTES: usize = 16 * 1024 * 1024;
/// How long a collector has to end its side.
const ENDS: Duration = Duration::from_secs(5);
/// Before another try.
const AGAIN: Duration = Duration::from_secs(2);

/// `tls://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: u16,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = text.strip_prefix("tls://").and_then(host_and_port).map(|(host, port)| Self { host, port });
        found.ok_or_else(|| "a collector is tls://HOST:PORT (RFC 5425 has port 6514)".to_owned())
    }
}

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
    stream: Option<StreamOwned<ClientConnection, TcpStream>>,
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
        let mut roots = RootCertStore::empty();
        let file = ca.map(PathBuf::from).or_else(bundle);
        let file = file.ok_or_else(|| Failed("this system has no certificates: name some with --to-ca".to_owned()))?;
        let about = |error: &dyn std::fmt::Display| Failed(format!("{}: {error}", file.display()));
        for certificate in CertificateDer::pem_file_iter(&file).map_err(|error| about(&error))? {
            roots.add(certificate.map_err(|error| about(&error))?).map_err(|error| about(&error))?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let tls = tls.with_safe_default_protocol_versions().map_err(words)?;
        let tls = Arc::new(tls.with_root_certificates(roots).with_no_client_auth());
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
        let Place { host, port } = &self.place;
        let failed = |error: &dyn std::fmt::Display| Failed(format!("collector {host}:{port}: {error}"));
        let mut stream = match self.stream.take().filter(is_open) {
            Some(stream) => stream,
            None => {
                let mut stream = self.connect()?;
                write(&mut stream, self.sent.iter()).map_err(|error| failed(&error))?;
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
            return Err(failed(&error));
        }
        while self.sent_bytes > KEPT_BYTES {
            self.sent_bytes -= self.sent.pop_front().map_or(0, |line| line.len());
        }
        self.stream = Some(stream);
        Ok(())
    }

    /// Says that nothing more comes, and waits for the collector to have read it (RFC 5425 section 4.4).
    fn finish(self) -> Result<(), Failed> {
        let Place { host, port } = &self.place;
        let Some(mut stream) = self.stream else { return Ok(()) };
        stream.conn.send_close_notify();
        let ended = stream.flush().and_then(|()| stream.sock.shutdown(Shutdown::Write));
        // A collector that closes without a word of TLS has read to our end all the same.
        let read = ended.and_then(|()| stream.sock.set_read_timeout(Some(ENDS)));
        let read = read.and_then(|()| std::io::copy(&mut stream.sock, &mut std::io::sink()));
        let read = match read {
            // One that keeps its end open: whether it has read all of it is not known.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(0),
            read => read,
        };
        read.map(drop).map_err(|error| Failed(format!("collector {host}:{port} did not read to the end: {error}")))
    }

    fn connect(&self) -> Result<StreamOwned<ClientConnection, TcpStream>, Failed> {
        let Place { host, port } = &self.place;
        let failed = |error: &dyn std::fmt::Display| Failed(format!("collector {host}:{port}: {error}"));
        let name = ServerName::try_from(host.clone()).map_err(|error| failed(&error))?;
        let mut session = ClientConnection::new(self.tls.clone(), name).map_err(|error| failed(&error))?;
        let mut socket = TcpStream::connect((host.as_str(), *port)).map_err(|error| failed(&error))?;
        let limits = socket.set_read_timeout(Some(DEADLINE)).and_then(|()| socket.set_write_timeout(Some(DEADLINE)));
        limits.map_err(|error| failed(&error))?;
        // Before the first line: a certificate that does not hold sees none.
        while session.is_handshaking() {
            session.complete_io(&mut socket).map_err(|error| failed(&error))?;
        }
        Ok(StreamOwned::new(session, socket))
    }
}

fn write<'a>(
    stream: &mut StreamOwned<ClientConnection, TcpStream>,
    lines: impl Iterator<Item = &'a String>,
) -> std::io::Result<()> {
    // Each in one piece: a record of TLS and its packet are dear.
    for line in lines {
        stream.write_all(format!("{} {line}", line.len()).as_bytes())?;
    }
    stream.flush()
}

/// Whether the other end has not ended it, as far as this one knows.
fn is_open(stream: &StreamOwned<ClientConnection, TcpStream>) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_reached_by_tls_alone() {
        let place = Place { host: "::1".to_owned(), port: 6514 };
        assert_eq!("tls://[::1]:6514".parse::<Place>(), Ok(place));
        for wrong in ["", "host:6514", "tcp://host:6514", "tls://host", "tls://:1", "tls://host:0", "tls://a@b:1"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
