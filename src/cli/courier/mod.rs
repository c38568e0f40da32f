//! The courier: a process that delivers alerts to one sink. It holds no key and no credential of the server; what it is given to
//! deliver comes over the socket that is its standard input, and where to is in its arguments, from the configuration file.
//! Whatever it meets outside meets nothing else: a sandbox leaves it the sink's port.

mod syslog;
mod webhook;

use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::{Deserialize, Serialize};
use strongroom_gate::{Outgoing, enter_sandbox};
use strongroom_protocol::{Dispatch, Numbered, Receipt, split};

use crate::{Failed, words};

pub use syslog::{Collector, Syslog, host_and_port};
pub use webhook::{Webhook, bundle, resolved, secret as webhook_secret};

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

/// What delivers, with all that it needs from the outside.
enum Courier {
    Webhook(Box<webhook::Sender>),
    Syslog(syslog::Sender),
}

/// Delivers until the keeper is gone.
///
/// # Errors
/// Why it can't.
pub fn run(sink: &Sink, keeper: UnixStream) -> Result<(), Failed> {
    // What is read from files is read before the sandbox.
    let (courier, outgoing) = match sink {
        Sink::Webhook(webhook) => (Courier::Webhook(Box::new(webhook.sender()?)), webhook.outgoing()?),
        Sink::Syslog(syslog) => (Courier::Syslog(syslog.sender()?), syslog.outgoing()),
    };
    sandbox(&outgoing)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(words)?;
    runtime.block_on(async {
        keeper.set_nonblocking(true).map_err(words)?;
        let (mut reader, mut writer) = split(tokio::net::UnixStream::from_std(keeper).map_err(words)?);
        while let Some(Numbered { number, message }) = reader.next::<Dispatch>().await.map_err(words)? {
            // One after the other: whoever waits for it has nothing else for this sink.
            let sent = match &courier {
                Courier::Webhook(sender) => sender.send(&message),
                Courier::Syslog(sender) => sender.send(&message),
            };
            let message = sent.map_or_else(|Failed(why)| Receipt::Failed(why), |()| Receipt::Taken);
            writer.feed(&Numbered { number, message }).await.map_err(words)?;
            writer.flush().await.map_err(words)?;
        }
        Ok(())
    })
}

/// No file and no program; no socket but to the sink's port.
fn sandbox(outgoing: &Outgoing) -> Result<(), Failed> {
    let nothing = Path::new("/nonexistent");
    enter_sandbox(nothing, outgoing).map(drop).map_err(|error| Failed(format!("the sandbox: {error}")))
}
