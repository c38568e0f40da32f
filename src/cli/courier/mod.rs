//! The courier: a process that delivers alerts to one sink, or asks one witness. It holds no key and no credential of the server; what
//! it is given comes over the socket that is its standard input, and where to is in its arguments, from the configuration file.
//! Whatever it meets outside meets nothing else: a sandbox leaves it one port.

mod https;
mod syslog;
mod webhook;
mod witness;

use std::io::Read;
use std::os::unix::net::UnixStream;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strongroom_gate::{Outgoing, enter_sandbox};
use strongroom_protocol::{Dispatch, Numbered, Receipt, split};

use crate::config::Config;
use crate::show::inert;
use crate::{Failed, words};

pub use https::{bundle, is_plain_https, place, resolved};
pub use syslog::{Collector, Syslog, host_and_port};
pub use webhook::{Webhook, secret as webhook_secret};
pub use witness::{DEADLINE as WITNESS_DEADLINE, WitnessUrl};

/// What one courier is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Errand {
    /// Alerts.
    Alerts(Sink),
    /// Cosignatures.
    Witness(WitnessUrl),
}

/// Bytes of an errand's name, at most: a URL.
const NAME_MAX: usize = 4096;

fn unconnected(error: std::io::Error) -> Failed {
    Failed(format!("standard input: {error}; strongroom-courier.socket gives a courier its connection to the keeper"))
}

impl Errand {
    /// All that a configuration knows.
    ///
    /// # Errors
    /// Where alerts go is no address of its kind.
    pub fn all(config: &Config) -> Result<Vec<Self>, Failed> {
        let sinks = config.alerts.sinks()?.into_iter().map(Self::Alerts);
        Ok(sinks.chain(config.witnesses.iter().map(|witness| Self::Witness(witness.place()))).collect())
    }

    /// By what two processes with the same configuration mean the same.
    pub fn name(&self) -> &str {
        match self {
            Self::Alerts(sink) => sink.word(),
            Self::Witness(witness) => &witness.url,
        }
    }

    /// The one whose name, and the end of a line after it, comes first over a keeper's socket. Nothing of what follows is read.
    ///
    /// # Errors
    /// No name, or one that the configuration does not know: it alone says where a courier goes.
    pub fn asked(config: &Config, mut keeper: &UnixStream) -> Result<Self, Failed> {
        let (mut name, mut byte) = (Vec::new(), [0]);
        // Byte by byte: what follows is not ours.
        while name.len() < NAME_MAX && keeper.read(&mut byte).map_err(unconnected)? == 1 && byte != *b"\n" {
            name.extend(byte);
        }
        let all = Self::all(config)?.into_iter().find(|errand| errand.name().as_bytes() == name);
        all.ok_or_else(|| Failed(format!("'{}' is not in this configuration", inert(&String::from_utf8_lossy(&name)))))
    }
}

/// Where alerts go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Sink {
    /// To a URL.
    Webhook(Webhook),
    /// To a collector of log lines.
    Syslog(Syslog),
}

impl Sink {
    /// By what its deliveries are counted.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Syslog(_) => "syslog",
        }
    }
}

/// Goes until the keeper is gone.
///
/// # Errors
/// Why it can't.
pub fn run(errand: &Errand, keeper: UnixStream) -> Result<(), Failed> {
    // What is read from files is read before the sandbox.
    match errand {
        Errand::Alerts(Sink::Webhook(webhook)) => {
            let sender = webhook.sender()?;
            go(&webhook.outgoing()?, keeper, |alert: &Dispatch| receipt(sender.send(alert)))
        }
        Errand::Alerts(Sink::Syslog(syslog)) => {
            let sender = syslog.sender()?;
            go(&syslog.outgoing(), keeper, |alert: &Dispatch| receipt(sender.send(alert)))
        }
        Errand::Witness(witness) => {
            let asker = witness.asker()?;
            go(&witness.outgoing()?, keeper, |submission| asker.ask(submission))
        }
    }
}

fn receipt(sent: Result<(), Failed>) -> Receipt {
    sent.map_or_else(|Failed(why)| Receipt::Failed(why), |()| Receipt::Taken)
}

fn go<Q: DeserializeOwned, A: Serialize>(
    outgoing: &Outgoing,
    keeper: UnixStream,
    errand: impl Fn(&Q) -> A,
) -> Result<(), Failed> {
    sandbox(outgoing)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(words)?;
    runtime.block_on(async {
        keeper.set_nonblocking(true).map_err(words)?;
        let (mut reader, mut writer) = split(tokio::net::UnixStream::from_std(keeper).map_err(words)?);
        while let Some(Numbered { number, message }) = reader.next::<Q>().await.map_err(words)? {
            // One after the other: whoever waits for it has nothing else for this courier.
            let message = errand(&message);
            writer.feed(&Numbered { number, message }).await.map_err(words)?;
            writer.flush().await.map_err(words)?;
        }
        Ok(())
    })
}

/// No file and no program; no socket but to one port.
fn sandbox(outgoing: &Outgoing) -> Result<(), Failed> {
    enter_sandbox(&[], outgoing).map(drop).map_err(|error| Failed(format!("the sandbox: {error}")))
}
