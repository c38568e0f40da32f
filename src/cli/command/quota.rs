//! `quota`: what namespaces may store.

use strongroom_protocol::admin::AdminCommand;

use crate::Failed;
use crate::arguments::Quota;
use crate::client::Client;
use crate::show::show;

/// `strongroom quota …`.
///
/// # Errors
/// The server's reason.
pub fn run(quota: Quota) -> Result<(), Failed> {
    let (command, remote) = match quota {
        Quota::Set { namespace, bytes, none: _, remote } => (AdminCommand::QuotaSet { namespace, bytes }, remote),
        Quota::List { remote } => (AdminCommand::QuotaList, remote),
    };
    show(&Client::new(&remote)?.admin("quota", &command)?, remote.json);
    Ok(())
}
