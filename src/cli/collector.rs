//! A collector of log lines, by syslog over TLS (RFC 5425): who it is, the connection to it, and a line on its way.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::courier::{bundle, host_and_port};
use crate::{Failed, words};

/// A connection, after its handshake.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// How long a collector has to end its side.
const ENDS: Duration = Duration::from_secs(5);

/// `tls://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// As its certificate names it.
    pub host: String,
    /// TCP.
    pub port: u16,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = text.strip_prefix("tls://").and_then(host_and_port).map(|(host, port)| Self { host, port });
        found.ok_or_else(|| "a collector is tls://HOST:PORT (RFC 5425 has port 6514)".to_owned())
    }
}

/// How a collector's certificate is judged: by these CAs, or by those that the system trusts. `option` is where to name some.
///
/// # Errors
/// Certificates that can't be read.
pub fn trust(ca: Option<&Path>, option: &str) -> Result<Arc<ClientConfig>, Failed> {
    let mut roots = RootCertStore::empty();
    let file = ca.map(PathBuf::from).or_else(bundle);
    let file = file.ok_or_else(|| Failed(format!("this system has no certificates: name some with {option}")))?;
    let about = |error: &dyn std::fmt::Display| Failed(format!("{}: {error}", file.display()));
    for certificate in CertificateDer::pem_file_iter(&file).map_err(|error| about(&error))? {
        roots.add(certificate.map_err(|error| about(&error))?).map_err(|error| about(&error))?;
    }
    if roots.is_empty() {
        return Err(about(&"no certificate"));
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let tls = tls.with_safe_default_protocol_versions().map_err(words)?;
    Ok(Arc::new(tls.with_root_certificates(roots).with_no_client_auth()))
}

impl Place {
    /// Something about it that failed.
    pub fn failed(&self, error: &dyn std::fmt::Display) -> Failed {
        Failed(format!("collector {}:{}: {error}", self.host, self.port))
    }

    /// A connection to one of its addresses, whose certificate holds: before its first line, so that none is seen by another.
    /// `deadline` is for each step.
    ///
    /// # Errors
    /// Why there is none: of several addresses, what the last one said.
    pub fn connect(
        &self,
        addresses: &[SocketAddr],
        tls: &Arc<ClientConfig>,
        deadline: Duration,
    ) -> Result<Stream, Failed> {
        let mut last = self.failed(&"it has no address");
        for address in addresses {
            match self.connect_to(address, tls, deadline) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = self.failed(&error),
            }
        }
        Err(last)
    }

    fn connect_to(&self, address: &SocketAddr, tls: &Arc<ClientConfig>, deadline: Duration) -> std::io::Result<Stream> {
        let name = ServerName::try_from(self.host.clone()).map_err(std::io::Error::other)?;
        let mut session = ClientConnection::new(tls.clone(), name).map_err(std::io::Error::other)?;
        let mut socket = TcpStream::connect_timeout(address, deadline)?;
        socket.set_read_timeout(Some(deadline))?;
        socket.set_write_timeout(Some(deadline))?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(session, socket))
    }
}

/// Writes lines, each in one piece with its length before it: a record of TLS and its packet are dear.
///
/// # Errors
/// Whatever the connection says.
pub fn write<'a>(stream: &mut Stream, lines: impl Iterator<Item = &'a String>) -> std::io::Result<()> {
    for line in lines {
        stream.write_all(format!("{} {line}", line.len()).as_bytes())?;
    }
    stream.flush()
}

/// Says that nothing more comes, and waits for the collector to have read it (RFC 5425 section 4.4).
///
/// # Errors
/// A collector that did not read to the end.
pub fn finish(mut stream: Stream) -> std::io::Result<()> {
    stream.conn.send_close_notify();
    stream.flush()?;
    stream.sock.shutdown(Shutdown::Write)?;
    // A collector that closes without a word of TLS has read to our end all the same.
    stream.sock.set_read_timeout(Some(ENDS))?;
    match std::io::copy(&mut stream.sock, &mut std::io::sink()) {
        // One that keeps its end open: whether it has read all of it is not known.
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
        read => read.map(drop),
    }
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
