//! `quota`: what namespaces may store.

use strongroom_protocol::admin::AdminCommand;

use super::send;
use crate::Failed;
use crate::arguments::Quota;

/// `strongroom quota …`.
///
/// # Errors
/// The server's reason.
pub fn run(quota: Quota) -> Result<(), Failed> {
    let (command, remote) = match quota {
        Quota::Set { namespace, bytes, none: _, remote } => (AdminCommand::QuotaSet { namespace, bytes }, remote),
        Quota::List { remote } => (AdminCommand::QuotaList, remote),
    };
    send(&remote, "quota", &command)
}
