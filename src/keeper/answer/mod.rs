//! One file for each answer. What the gate may ask stands in [`Core::answer`]: nothing else is answered.

mod access;
mod admin;
mod alert;
mod approval;
mod ask;
mod audit;
mod authorize;
mod claim;
mod decoy;
mod evidence;
mod incident;
mod list;
mod metrics;
mod object;
mod partner;
mod people;
mod publish;
mod quota;
mod relabel;
mod repo;
pub(crate) mod review;
mod rotate;
mod rotate_repo;
mod seal;
mod sealed;
mod share;
mod share_record;
mod stop;
mod transfer;
mod usage;
pub(crate) mod what;
mod who;

use strongroom_protocol::{Call, Refusal, Reply, Request};

use crate::log::Record;
use crate::server::Core;

impl Core {
    /// The permit table: request → who answers it. A request that needs a grant names it, and its answer checks that the
    /// grant lives and is for this.
    pub(crate) async fn answer(&self, request: Request) -> Result<Reply, Refusal> {
        match request {
            // Greeted once, before the first question.
            Request::Hello { .. } => Err(Refusal::Invalid("greeted already".to_owned())),
            Request::Status => Ok(Reply::Status { sealed: false }),
            Request::Unseal { .. } => Err(Refusal::Conflict("the keeper is not sealed".to_owned())),
            Request::Authorize { call, credential, action, target } => {
                self.answer_authorize(call, credential, action, target).await
            }
            Request::Named { grant, paths } => self.answer_named(grant, paths).await,
            Request::Open { grant, object, start, end } => self.answer_open(grant, object, start..end).await,
            Request::Recover { grant, object } => self.answer_recover(grant, object).await,
            Request::DeliverSealed { grant, object } => self.answer_deliver_sealed(grant, object).await,
            Request::Rewrap { grant, envelopes } => self.answer_rewrap(grant, envelopes).await,
            Request::Delivered { grant, path, start, end, bytes, complete } => {
                self.answer_delivered(grant, path, start..end, bytes, complete).await
            }
            Request::Absent { grant, path } => self.answer_absent(grant, &path).await,
            Request::Wrote { grant, what, subject, digest, compartments, moved_ms, added } => {
                self.answer_wrote(grant, (what, subject, digest), compartments, moved_ms, added).await
            }
            Request::Reject { call, reason, status } => self.answer_reject(call, reason, status).await,
            Request::CreateRepo { call, credential, kind, namespace, name } => {
                self.answer_create_repo(call, credential, kind, namespace, name).await
            }
            Request::MoveRepo { call, credential, kind, from, to } => {
                self.answer_move_repo(call, credential, kind, from, to).await
            }
            Request::DeleteRepo { call, credential, kind, name } => {
                self.answer_delete_repo(call, credential, kind, name).await
            }
            Request::ListRepos { call, credential, query } => self.answer_list_repos(call, credential, query).await,
            Request::Ticket { grant, purpose } => self.answer_ticket(grant, purpose),
            Request::Metrics { grant } => self.answer_metrics(grant),
            Request::Renew { grants } => self.answer_renew(&grants).await,
            Request::Release { grants } => {
                let mut live = self.grants.lock();
                grants.into_iter().for_each(|grant| live.remove(grant));
                Ok(Reply::Done)
            }
            Request::Admin { call, credential, command } => self.answer_admin(call, credential, command).await,
        }
    }
}

/// A record of this call, about this action.
fn about(record: &mut Record, call: &Call, action: &str) {
    record.action = action.to_owned();
    record.address = call.address.to_string();
    record.request_id = cut(&call.request_id, 128);
    record.route = cut(&call.route, 128);
}

/// What could not be reached or read: nothing was done.
fn unavailable(error: impl ToString) -> Refusal {
    Refusal::Unavailable(error.to_string())
}

/// Client-made text in a record has a bound.
fn cut(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}
