//! `DeliverSealed`: a file for a partner's own recipient. The keeper re-wraps the header; no file key leaves it.

use strongroom_domain::Action;
use strongroom_protocol::{GrantId, ObjectRef, Refusal, Reply};

use super::cut;
use super::object::describe;
use crate::grants::Live;
use crate::server::Core;
use crate::share::Share;
use crate::state::State;

/// The share of a grant, and that the gate asks for what it shows.
fn shown<'a>(state: &'a State, live: &Live, object: &ObjectRef) -> Result<Option<&'a Share>, Refusal> {
    let Some(share) = live.share else { return Ok(None) };
    let share = state.shares.get(&share).ok_or(Refusal::Over)?;
    match share.shows(object.commit, object.path.as_deref()) {
        true => Ok(Some(share)),
        false => Err(Refusal::NotFound),
    }
}

/// Whether an object may be opened here under the grant: not where it is delivered sealed, or not shared.
pub(super) fn readable(state: &State, live: &Live, object: &ObjectRef) -> Result<(), Refusal> {
    match shown(state, live, object)? {
        Some(share) if share.body.recipient.is_some() => {
            let mend = "this share delivers files encrypted to your recipient alone: strongroom pull";
            Err(Refusal::Forbidden(mend.to_owned()))
        }
        _ => Ok(()),
    }
}

impl Core {
    pub(super) async fn answer_deliver_sealed(&self, grant: GrantId, object: ObjectRef) -> Result<Reply, Refusal> {
        let header = self
            .recorded(|state, record| {
                let live = self.live(state, grant)?;
                describe(state, &live, record, "object.rewrap");
                record.path = object.path.as_deref().map(|path| cut(path, 1024));
                record.revision = object.commit.map(|commit| commit.to_string());
                record.range = Some((0, object.size));
                let part = object.compartment.filter(|part| live.compartments.contains(part));
                let part = part.filter(|_| live.action == Action::RepoRead).ok_or(Refusal::NotFound)?;
                record.compartments = vec![part.to_string()];
                let recipient = shown(state, &live, &object)?.and_then(Share::recipient);
                let recipient = recipient.ok_or_else(|| {
                    Refusal::Forbidden("only a share that was made with --sealed is delivered so".to_owned())
                })?;
                self.witnessed(grant, part)?;
                self.note_opened(grant, part, &object);
                self.given_out(state, &live, (part, &object), recipient, record)
            })
            .await?;
        Ok(Reply::Envelopes(vec![header]))
    }
}
