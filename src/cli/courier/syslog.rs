//! Syslog: RFC 5424 lines, to a socket of this machine, over TCP, or over TLS (RFC 5425); there each has its length before it.

use std::io::Write;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use strongroom_domain::Network;
use strongroom_gate::Outgoing;
use strongroom_protocol::Dispatch;
use tokio_rustls::rustls::ClientConfig;

use super::https::resolved;
use crate::collector::{Place, finish, trust, write as write_lines};
use crate::command::alert_line;
use crate::{Failed, words};

/// For a connection, and for each line.
const DEADLINE: Duration = Duration::from_secs(10);

/// A collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Syslog {
    /// `unix:///dev/log`.
    Socket(PathBuf),
    /// `tcp://HOST:PORT`.
    Tcp(String, u16),
    /// `tls://HOST:PORT`.
    Tls(Collector),
}

/// A collector over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collector {
    /// Where.
    pub place: Place,
    /// Whom its certificate is of; by default whoever the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Networks of the inside that it may be in.
    pub allow: Vec<Network>,
}

impl FromStr for Syslog {
    type Err = Failed;

    fn from_str(text: &str) -> Result<Self, Failed> {
        let wrong = || Failed("alerts.syslog: unix:///PATH, tcp://HOST:PORT or tls://HOST:PORT".to_owned());
        if let Some(path) = text.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
            return Ok(Self::Socket(path.into()));
        }
        if let Ok(place) = text.parse() {
            return Ok(Self::Tls(Collector { place, ca_file: None, allow: Vec::new() }));
        }
        text.strip_prefix("tcp://").and_then(host_and_port).map(|(host, port)| Self::Tcp(host, port)).ok_or_else(wrong)
    }
}

/// `HOST:PORT`, as a URL has it, and nothing else of one.
pub fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty() && !host.contains(['/', '@'])).then(|| (host.to_owned(), port))
}

/// What sends.
pub enum Sender {
    /// Opened before the sandbox. Where the collector starts anew the courier ends, and another one opens it again.
    Socket(UnixDatagram),
    /// A connection each.
    Tcp(String, u16),
    /// A connection each, with its certificates read before the sandbox.
    Tls(Collector, Arc<ClientConfig>),
}

impl Syslog {
    /// Opens what can't be opened later.
    ///
    /// # Errors
    /// What the system says.
    pub fn sender(&self) -> Result<Sender, Failed> {
        match self {
            Self::Socket(path) => {
                let socket = UnixDatagram::unbound().map_err(words)?;
                socket.connect(path).map_err(|error| Failed(format!("{}: {error}", path.display())))?;
                socket.set_write_timeout(Some(DEADLINE)).map_err(words)?;
                Ok(Sender::Socket(socket))
            }
            Self::Tcp(host, port) => Ok(Sender::Tcp(host.clone(), *port)),
            Self::Tls(collector) => {
                let tls = trust(collector.ca_file.as_deref(), "alerts.syslog_ca_file")?;
                Ok(Sender::Tls(collector.clone(), tls))
            }
        }
    }

    /// What its courier still reaches.
    pub fn outgoing(&self) -> Outgoing {
        let (host, port) = match self {
            Self::Socket(_) => return Outgoing::default(),
            Self::Tcp(host, port) => (host, port),
            Self::Tls(Collector { place, .. }) => (&place.host, &place.port),
        };
        let names = host.parse::<std::net::IpAddr>().is_err();
        Outgoing { ports: vec![*port], names, certificates: Vec::new() }
    }
}

impl Sender {
    /// Sends one.
    ///
    /// # Errors
    /// Why the collector does not have it. That it has it, no collector says.
    pub fn send(&self, alert: &Dispatch) -> Result<(), Failed> {
        let alert: Value = serde_json::from_str(&alert.body).map_err(words)?;
        let line = alert_line(&alert);
        match self {
            Self::Socket(socket) => match socket.send(line.as_bytes()) {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    // The collector is another one by now.
                    tracing::warn!("the collector of log lines is gone");
                    std::process::exit(70);
                }
                Err(error) => Err(words(error)),
            },
            Self::Tcp(host, port) => {
                let mut last = Failed(format!("{host} has no address"));
                for address in (host.as_str(), *port).to_socket_addrs().map_err(words)? {
                    match TcpStream::connect_timeout(&address, DEADLINE).and_then(|stream| write(stream, &line)) {
                        Ok(()) => return Ok(()),
                        Err(error) => last = Failed(format!("{address}: {error}")),
                    }
                }
                Err(last)
            }
            Self::Tls(Collector { place, allow, .. }, tls) => {
                // As a webhook's address: looked up once, looked at, and connected to.
                let addresses = resolved(&place.host, place.port, allow).map_err(Failed)?;
                let mut stream = place.connect(&addresses, tls, DEADLINE)?;
                let sent = write_lines(&mut stream, std::iter::once(&line)).and_then(|()| finish(stream));
                sent.map_err(|error| place.failed(&error))
            }
        }
    }
}

fn write(mut stream: TcpStream, line: &str) -> std::io::Result<()> {
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(format!("{} {line}", line.len()).as_bytes())?;
    stream.flush()?;
    stream.shutdown(std::net::Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_socket_or_a_host_with_a_port() {
        assert_eq!("unix:///dev/log".parse::<Syslog>().unwrap(), Syslog::Socket("/dev/log".into()));
        assert_eq!("tcp://[::1]:601".parse::<Syslog>().unwrap(), Syslog::Tcp("::1".to_owned(), 601));
        let Syslog::Tls(collector) = "tls://logs.example:6514".parse().unwrap() else { panic!("over TLS") };
        assert_eq!((collector.place.host.as_str(), collector.place.port), ("logs.example", 6514));
        for wrong in [
            "",
            "tls://host",
            "unix://dev/log",
            "udp://host:514",
            "tcp://host",
            "tcp://:1",
            "tcp://host:0",
            "tcp://a@b:1",
        ] {
            assert!(wrong.parse::<Syslog>().is_err(), "{wrong}");
        }
    }
}
