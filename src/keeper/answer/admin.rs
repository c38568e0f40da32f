//! `Admin`: people, roles, tokens, locks and the log, each with its right.

use serde_json::Value;
use strongroom_domain::Action;
use strongroom_protocol::admin::{AdminCommand, AdminReply};
use strongroom_protocol::{AccessCommand, Call, Credential, Refusal, Reply, ShareCommand};

use super::about;
use super::authorize::may;
use crate::change::Change;
use crate::credential::{Subject, authenticate};
use crate::log::Record;
use crate::server::{Core, now_ms};
use crate::state::State;

/// What a command shows and changes.
pub(super) type Outcome = Result<(Value, Vec<Change>), Refusal>;

impl Core {
    pub(super) async fn answer_admin(
        &self,
        call: Call,
        credential: Option<Credential>,
        command: AdminCommand,
    ) -> Result<Reply, Refusal> {
        if let AdminCommand::Review(command) = &command {
            self.learn_uses(credential.as_ref(), command).await?;
        }
        let shown = self
            .changed(|state, record| {
                about(record, &call, command.word());
                let subject = authenticate(state, &self.keys, credential.as_ref(), now_ms(), record)?;
                if subject.ticket.is_some() {
                    return Err(Refusal::Credential);
                }
                if !self.permits(state, &subject, &command) {
                    return Err(Refusal::Forbidden(format!("this needs the right to {}", command.action())));
                }
                let done = self.run(state, &subject, &command, record)?;
                self.or_wait(state, &subject, &command, done, record)
            })
            .await??;
        // What reads the log is recorded first, and then reads its own record too.
        let shown = match &command {
            AdminCommand::AuditSearch(query) => self.search(query).await?,
            AdminCommand::AuditWhat(query) => self.what(query).await?,
            AdminCommand::AuditWho(query) => self.who(query, shown).await?,
            AdminCommand::AuditLeaves { log, from, limit } => self.leaves(*log, *from, *limit).await?,
            AdminCommand::AuditCheckpoint => self.checkpoint().await?,
            AdminCommand::AuditCheckpointOf { log } => self.checkpoint_of(*log).await?,
            AdminCommand::AuditTile(tile) => self.tile(tile).await?,
            AdminCommand::AuditRecords { log, from, since_ms } => self.records(*log, *from, *since_ms).await?,
            AdminCommand::AuditProve { log, record, from_size } => self.prove(*log, *record, *from_size).await?,
            AdminCommand::Share(ShareCommand::Record { sizes, before, .. }) => {
                self.share_record(&shown, sizes, *before).await?
            }
            AdminCommand::Share(_) | AdminCommand::Access(AccessCommand::Approve { .. }) => {
                self.with_usage(shown).await?
            }
            AdminCommand::Alert(command) => self.alerts(command).await?,
            AdminCommand::Incident(command) => {
                let json = self.incident(&call, credential.as_ref(), command, shown).await?;
                return Ok(Reply::Admin(Box::new(AdminReply { json })));
            }
            AdminCommand::KeyRotateRoot { finish } => self.rotate_root(&call, credential.as_ref(), *finish).await?,
            _ => shown,
        };
        Ok(Reply::Admin(Box::new(AdminReply { json: shown.to_string() })))
    }

    /// Whether policy lets the subject give the command. Shares and reviews are judged at the place of each, approvals by what
    /// is approved, partner organisations by who stands for them; a token is exchanged by whoever has it.
    pub(super) fn permits(&self, state: &State, subject: &Subject, command: &AdminCommand) -> bool {
        let there = matches!(command, AdminCommand::Partner(partner) if partner.action() == Action::Whoami)
            || matches!(
                command,
                AdminCommand::Share(_)
                    | AdminCommand::Access(_)
                    | AdminCommand::Approval(_)
                    | AdminCommand::Review(_)
                    | AdminCommand::TokenClaim { .. }
            );
        there || may(state, subject, command.action(), None, None)
    }

    pub(super) fn run(&self, state: &State, subject: &Subject, command: &AdminCommand, record: &mut Record) -> Outcome {
        match command {
            AdminCommand::UserCreate { name } => self.user_create(state, name, record),
            AdminCommand::UserList => self.user_list(state),
            AdminCommand::UserShow { name } => self.user_show(state, name, record),
            AdminCommand::UserRemove { name } => self.user_remove(state, subject, name, record),
            AdminCommand::UserRecipient { name, recipient } => {
                self.user_recipient(state, name, recipient.as_deref(), record)
            }
            AdminCommand::Share(command) => self.share(state, subject, command, record),
            AdminCommand::Access(command) => self.access(state, subject, command, record),
            AdminCommand::Partner(command) => self.partner(state, subject, command, record),
            AdminCommand::Review(command) => self.review(state, subject, command, record),
            AdminCommand::RoleGrant { user, role, place } => self.role_grant(state, user, *role, place, record),
            AdminCommand::RoleRevoke { user, role, place } => self.role_revoke(state, user, *role, place, record),
            AdminCommand::RoleList => self.role_list(state),
            AdminCommand::RoleLine { user, action, compartment, place, allow, remove } => {
                self.role_line(state, user, (*action, *compartment), place, (*allow, *remove), record)
            }
            AdminCommand::TokenCreate { user, name, scope, expires_s } => {
                self.token_create(state, subject, (user, name.as_deref()), scope, *expires_s, record)
            }
            AdminCommand::TokenClaim { name } => self.token_claim(state, subject, name.as_deref(), record),
            AdminCommand::UserUnclaim { name } => self.user_unclaim(state, name, record),
            AdminCommand::Approval(command) => self.approval(state, subject, command, record),
            AdminCommand::TokenList { user } => self.token_list(state, user.as_deref()),
            AdminCommand::TokenRevoke { id } => self.token_revoke(state, *id, record),
            AdminCommand::LockAdd { subject, reason } => self.lock_add(state, subject, reason, record),
            AdminCommand::LockRemove { subject } => self.lock_remove(state, subject, record),
            AdminCommand::LockList => self.lock_list(state),
            AdminCommand::Seal(command) => self.seal(state, command, record),
            AdminCommand::KeyRotateRepo { kind, repo, step } => self.rotate_repo(state, *kind, repo, *step, record),
            AdminCommand::QuotaSet { namespace, bytes } => self.quota_set(state, namespace, *bytes, record),
            AdminCommand::QuotaList => self.quota_list(state),
            AdminCommand::AuditSearch(query) => self.describe_search(state, query, record),
            AdminCommand::AuditWhat(query) => self.describe_what(state, query, record),
            AdminCommand::AuditWho(query) => self.describe_who(state, query, record),
            AdminCommand::Incident(command) => self.incident_begin(state, subject, command, record),
            AdminCommand::Decoy(command) => self.decoy(state, subject, command, record),
            AdminCommand::Alert(command) => {
                record.subject = Some(format!("{command:?}"));
                Ok((Value::Null, Vec::new()))
            }
            AdminCommand::AuditProve { log, record: Some(seq), .. } => {
                record.subject = Some(format!("{log}/{seq}"));
                Ok((Value::Null, Vec::new()))
            }
            AdminCommand::AuditTile(tile) => {
                record.subject = Some(format!("{tile:?}"));
                Ok((Value::Null, Vec::new()))
            }
            AdminCommand::AuditLeaves { log, from, .. } | AdminCommand::AuditRecords { log, from, .. } => {
                record.subject = Some(format!("{log}/{from}"));
                Ok((Value::Null, Vec::new()))
            }
            AdminCommand::KeyRotateRoot { .. }
            | AdminCommand::AuditCheckpoint
            | AdminCommand::AuditCheckpointOf { .. }
            | AdminCommand::AuditProve { .. }
            | AdminCommand::RepoList { .. } => Ok((Value::Null, Vec::new())),
        }
    }
}
