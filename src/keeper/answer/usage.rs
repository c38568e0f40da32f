//! Budgets: what an opened object uses of them, and what is said and done where that is too much.

use strongroom_domain::{Actor, Compartment};
use strongroom_envelope::{FileKey, keyed_hash};
use strongroom_protocol::{ObjectRef, Refusal};

use crate::change::Change;
use crate::grants::Live;
use crate::log::{Alarm, Charge, Entry, Over, Piece, Record, ShareCharge};
use crate::metrics;
use crate::server::Core;
use crate::state::{State, Stop};

impl Core {
    /// What of an object is given out. It is known by its file key, which no gate can change without losing the content:
    /// the same payload is the same object under each of its headers.
    pub(super) fn piece(
        &self,
        live: &Live,
        compartment: Compartment,
        key: &FileKey,
        object: &ObjectRef,
        range: std::ops::Range<u64>,
    ) -> Option<Piece> {
        let repo = live.repo?;
        let place: [&[u8]; 4] = [b"taken", &repo.to_be_bytes(), compartment.word().as_bytes(), key.expose()];
        let hash = keyed_hash(&self.keys.index, &place);
        let mut name = [0; 16];
        name.copy_from_slice(&hash[..16]);
        Some(Piece { repo, compartment, object: name, size: object.size, range })
    }

    /// What a record uses. Putting together what one sent oneself is no reading.
    pub(crate) fn charge(&self, record: &Record) -> Option<Charge> {
        let piece = record.piece.clone()?;
        let bytes = piece.range.end - piece.range.start;
        Some(Charge {
            principal: record.principal_id?,
            token: record.token,
            time_ms: record.time_ms,
            share: record.share.map(|share| {
                let state = self.state.read();
                // One that is not known is none to read through.
                let known = state.shares.get(&share);
                let limits = known.map_or((Some(0), Some(0)), |share| (share.body.max_bytes, share.body.max_downloads));
                let common = known.is_some_and(|share| share.partner().is_some());
                ShareCharge { share, common, bytes, limits }
            }),
            piece,
            budgets: self.budgets.clone(),
        })
    }

    /// The refusal of what would pass a budget, recorded as it was judged; or of what would pass a share's. Where the budget says
    /// so, the actor is locked in the record's transaction, also where its grant was given back meanwhile.
    pub(crate) async fn over_budget(&self, record: Record, over: Over) -> Refusal {
        let refusal = match over {
            Over::Budget(_, crossed) => Refusal::OverBudget(crossed.budget, crossed.retry_s),
            Over::Share => Refusal::ShareSpent,
        };
        let alarm = match over {
            Over::Budget(_, crossed) => Some(Alarm::Budget(crossed.budget)),
            Over::Share => None,
        };
        let record = Record { outcome: "denied".to_owned(), reason: refusal.to_string(), piece: None, alarm, ..record };
        let told = match over {
            Over::Budget(actor, _) if self.budgets.of(actor).lock => self.lock_over(record, actor).await,
            // Changes do not wait for refusals, of which there may be many.
            _ => {
                self.log.append(Entry { record, ..Entry::default() }).await.map(drop).map_err(|error| error.to_string())
            }
        };
        match told {
            Ok(()) => {
                metrics::decided(Some(&refusal));
                refusal
            }
            Err(why) => Refusal::Unavailable(why),
        }
    }

    async fn lock_over(&self, judged: Record, actor: Actor) -> Result<(), String> {
        let locked = self.changed(|state, record| {
            *record = Record { time_ms: record.time_ms, generation: record.generation, ..judged.clone() };
            let lock = |stop| Change::Stop(stop, judged.reason.clone(), record.time_ms);
            Ok(((), stops(state, actor, record).map(lock).into_iter().collect()))
        });
        locked.await.map_err(|error| error.to_string())
    }
}

/// What stops an actor, where it is not stopped yet: a principal, a token, or a share.
fn stops(state: &State, actor: Actor, record: &Record) -> Option<Stop> {
    let stop = match actor {
        Actor::Principal => record.principal_id.map(Stop::Principal),
        Actor::Token => record.token.map(Stop::Token),
        Actor::Share => record.share.map(Stop::Share),
    };
    stop.filter(|stop| !state.stops.contains_key(stop))
}
