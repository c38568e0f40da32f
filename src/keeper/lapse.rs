//! What is over without anybody doing anything: reviews that end, and what is recorded of partner organisations. Once, by
//! whichever keeper comes first: a change that was decided under an older generation is not written.

use std::sync::Weak;
use std::time::Duration;

use strongroom_protocol::Refusal;

use crate::answer::review::counted;
use crate::change::Change;
use crate::effect::Effect;
use crate::log::{Entry, LogError, Record};
use crate::partner::Partner;
use crate::review::{ReviewChange, Round, end, taking};
use crate::server::{Core, now_ms};
use crate::state::State;

/// How often it is looked for where nothing else asks.
const EVERY: Duration = Duration::from_secs(1);
/// Reviews that end before one decision, at most.
const AT_ONCE: usize = 64;

/// A partner organisation that nobody confirmed in time, and whose record does not say so yet. It is refused before.
fn partner(state: &State, now_ms: i64) -> Option<(u64, Partner)> {
    let mut all = state.partners.all().iter();
    let over = |partner: &Partner| {
        let due = partner.due_ms();
        partner.ended_ms.is_none() && due <= now_ms && partner.lapsed_ms != Some(due)
    };
    all.find(|(_, partner)| over(partner)).map(|(id, partner)| (*id, partner.clone()))
}

pub(crate) fn begun(state: &State, action: &str, subject: String) -> Record {
    Record { subject: Some(subject), ..Record::own(action, now_ms(), state.generation) }
}

fn partner_lapse(state: &State, id: u64, partner: Partner) -> (Record, Vec<Change>) {
    let mut record = begun(state, "partner.lapse", format!("partner {}", partner.name));
    record.reason = "not confirmed by its sponsor".to_owned();
    let lapsed_ms = Some(partner.due_ms());
    (record, vec![Change::Partner(id, Box::new(Partner { lapsed_ms, ..partner }))])
}

/// The end of a review. What it takes is taken as by anybody, so that it is gone on every keeper, and the log says so.
fn review_lapse(state: &State, id: u64, round: &Round) -> (Record, Vec<Change>) {
    let mut record = begun(state, "review.lapse", format!("review {id}"));
    let ended = end(state, round, record.time_ms);
    record.reason = format!("nobody confirmed {}", counted(&ended.lapsed));
    if !ended.kept.is_empty() {
        let kept: Vec<_> = ended.kept.iter().map(|(given, _)| *given).collect();
        record.reason += &format!("; {} stay, or nobody could go on", counted(&kept));
    }
    let taken: Vec<Change> = ended.lapsed.iter().map(|given| taking(*given, record.time_ms)).collect();
    let round = Round { ended: Some(ended), ..round.clone() };
    (record, taken.into_iter().chain([Change::Review(ReviewChange::Round(id, Box::new(round)))]).collect())
}

impl Core {
    /// As long as the server runs.
    pub(crate) async fn record_lapses(core: Weak<Self>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(core) = core.upgrade() else { return };
            let lapsed = {
                let state = core.state.read();
                partner(&state, now_ms()).map(|(id, found)| partner_lapse(&state, id, found))
            };
            if let Some(lapsed) = lapsed
                && let Err(error) = core.lapse(lapsed).await
            {
                tracing::warn!(%error, "a partner organisation that is over is not recorded yet");
            }
            if let Err(error) = core.end_reviews().await {
                tracing::warn!(%error, "a review that is over is not ended yet");
            }
        }
    }

    /// Ends reviews that are over. Asked before each decision: from their deadline on nothing is decided by what lapsed,
    /// whether or not anything else happened.
    pub(crate) async fn end_reviews(&self) -> Result<(), Refusal> {
        for _ in 0..AT_ONCE {
            let lapsed = {
                let state = self.state.read();
                state.reviews.over(now_ms()).map(|(id, round)| review_lapse(&state, id, round))
            };
            let Some(lapsed) = lapsed else { return Ok(()) };
            self.lapse(lapsed).await.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        }
        Err(Refusal::Unavailable("a review is being ended".to_owned()))
    }

    /// Writes what is over, once for all keepers.
    pub(crate) async fn lapse(&self, (mut record, changes): (Record, Vec<Change>)) -> Result<(), LogError> {
        record.effects = changes.iter().filter_map(Effect::of).collect();
        let decided = Some(record.generation);
        match self.log.append(Entry { record, changes, decided, ..Entry::default() }).await {
            // Something changed meanwhile, or another keeper was faster: what is known then is looked at again.
            Ok(_) | Err(LogError::Stale) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
