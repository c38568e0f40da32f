//! `approval`: acts that need a second person.

use strongroom_protocol::ApprovalCommand;
use strongroom_protocol::admin::AdminCommand;

use crate::Failed;
use crate::arguments::Approval;
use crate::client::Client;
use crate::show::show;

/// `strongroom approval …`.
///
/// # Errors
/// The server's reason.
pub fn run(approval: Approval) -> Result<(), Failed> {
    let (command, remote) = match approval {
        Approval::List { all, remote } => (ApprovalCommand::List { all }, remote),
        Approval::Show { id, remote } => (ApprovalCommand::Show { id }, remote),
        Approval::Approve { id, remote } => (ApprovalCommand::Approve { id }, remote),
        Approval::Reject { id, reason, remote } => (ApprovalCommand::Reject { id, reason }, remote),
    };
    show(&Client::new(&remote)?.admin("approval", &AdminCommand::Approval(command))?, remote.json);
    Ok(())
}
