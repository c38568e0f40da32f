//! `partner`: organisations whose people are here through them.

use strongroom_domain::Action;
use strongroom_protocol::PartnerCommand;
use strongroom_protocol::admin::AdminCommand;

use super::send;
use crate::Failed;
use crate::arguments::Partner;

/// `strongroom partner …`.
///
/// # Errors
/// The server's reason.
pub fn run(partner: Partner) -> Result<(), Failed> {
    let (command, remote) = match partner {
        Partner::Create { name, sponsor, recertify, remote } => {
            let recertify_s = recertify.map(|every| every.as_secs());
            (PartnerCommand::Create { name, sponsor, recertify_s }, remote)
        }
        Partner::List { remote } => (PartnerCommand::List, remote),
        Partner::Show { name, remote } => (PartnerCommand::Show { name }, remote),
        Partner::Add { name, user, remote } => (PartnerCommand::Add { name, user }, remote),
        Partner::Remove { name, user, remote } => (PartnerCommand::Remove { name, user }, remote),
        Partner::Sponsor { name, user, remote } => (PartnerCommand::Sponsor { name, user }, remote),
        Partner::Confirm { name, remote } => (PartnerCommand::Confirm { name }, remote),
        Partner::End { name, remote } => (PartnerCommand::End { name }, remote),
    };
    let noun = if command.action() == Action::PartnerManage { "partner" } else { "partner/sponsored" };
    send(&remote, noun, &AdminCommand::Partner(command))
}
