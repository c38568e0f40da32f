//! `Rewrap`: headers for the compartments that a commit's paths select. To put what is in one compartment into another is to
//! read it there: it is judged, recorded and counted as an opening of all of it, before anything is rewrapped.

use futures_util::{StreamExt, TryStreamExt, stream};
use strongroom_domain::{Action, Compartment};
use strongroom_envelope::Header;
use strongroom_protocol::{GrantId, ObjectRef, Refusal, Reply, Rewrapped};

use super::cut;
use super::object::describe;
use crate::keys::Part;
use crate::server::Core;

/// Envelopes of one `Rewrap`, at most.
const REWRAP_MAX: usize = 20_000;

/// Records of one `Rewrap` that are written at once: those of one group are durable together.
const AT_ONCE: usize = 256;

impl Core {
    pub(super) async fn answer_rewrap(&self, grant: GrantId, envelopes: Vec<Rewrapped>) -> Result<Reply, Refusal> {
        if envelopes.len() > REWRAP_MAX {
            return Err(Refusal::NotFound);
        }
        let moved = envelopes.iter().filter_map(|(object, to)| Some((object, object.compartment?, *to)));
        let (kept, read): (Vec<_>, Vec<_>) =
            moved.filter(|(_, from, to)| from != to).partition(|(_, from, to)| self.dual.keeps(*from, *to));
        // The refusal is one record; nothing else of the commit was read then.
        for moved in kept.into_iter().take(1) {
            self.moved(grant, moved).await?;
        }
        let reading: Vec<_> = read.into_iter().map(|moved| self.moved(grant, moved)).collect();
        stream::iter(reading).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let state = self.state.read();
        let live = self.live(&state, grant)?;
        if live.action != Action::RepoWrite {
            return Err(Refusal::NotFound);
        }
        let keys = self.keys_of(&state, &live)?;
        drop(state);
        let rewrap = |(object, to): &Rewrapped| {
            let from = object.compartment;
            if !live.compartments.contains(to) || from.is_some_and(|from| !live.compartments.contains(&from)) {
                return Err(Refusal::NotFound);
            }
            let from = &keys.part(from.map_or(Part::Inbox, Part::Compartment)).identity;
            let to = keys.part(Part::Compartment(*to)).recipient.clone();
            let header = Header::parse(&object.envelope).and_then(|header| header.rewrap(from, &[to]));
            header.map(|header| header.as_bytes().to_vec()).map_err(|error| Refusal::Invalid(error.to_string()))
        };
        Ok(Reply::Envelopes(envelopes.iter().map(rewrap).collect::<Result<_, _>>()?))
    }

    /// Judges, records and counts that an object of one compartment is put into another.
    async fn moved(
        &self,
        grant: GrantId,
        (object, from, to): (&ObjectRef, Compartment, Compartment),
    ) -> Result<(), Refusal> {
        self.recorded(|state, record| {
            let live = self.live(state, grant)?;
            describe(state, &live, record, "object.open");
            record.path = object.path.as_deref().map(|path| cut(path, 1024));
            record.range = Some((0, object.size));
            record.compartments = vec![from.to_string()];
            record.subject = Some(format!("put into {to} without being sent"));
            if live.action != Action::RepoWrite || ![from, to].iter().all(|part| live.compartments.contains(part)) {
                return Err(Refusal::NotFound);
            }
            if self.dual.keeps(from, to) {
                return Err(Refusal::Forbidden(format!(
                    "this content is in {from}, which nobody shares alone: a hash does not bring it into {to}. Choose a path \
                     that keeps it in {from}, or send its bytes for this one"
                )));
            }
            self.witnessed(grant, from)?;
            self.read_whole(state, &live, (from, object), record).map(drop)
        })
        .await
    }
}
