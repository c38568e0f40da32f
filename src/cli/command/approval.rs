//! `approval`: acts that need a second person.

use strongroom_protocol::ApprovalCommand;
use strongroom_protocol::admin::AdminCommand;

use super::send;
use crate::Failed;
use crate::arguments::Approval;

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
    send(&remote, "approval", &AdminCommand::Approval(command))
}
