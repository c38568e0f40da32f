//! Budgets: what an opened object uses of them.

use strongroom_protocol::Refusal;

use crate::log::{Charge, Entry, Over, Record, ShareCharge};
use crate::metrics;
use crate::server::{Core, now_ms};
use crate::state::State;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Core {
    /// What a record uses. Putting together what one sent oneself is no reading.
    pub(crate) fn charge(&self, record: &Record) -> Option<Charge> {
        let reads = matches!(record.action.as_str(), "object.open" | "object.rewrap");
        let (start, end) = record.range.filter(|_| reads)?;
        if record.compartments.iter().any(|part| part == "inbox") {
            return None;
        }
        Some(Charge {
            principal: record.principal_id?,
            day: record.time_ms / DAY_MS,
            bytes: end - start,
            repo: record.repo_id,
            limits: (self.settings.budget_bytes, self.settings.budget_repos),
            share: record.share.map(|share| {
                let state = self.state.read();
                // One that is not known is none to read through.
                let limits = state.shares.get(&share).map_or((Some(0), Some(0)), |share| {
                    let body = &share.body;
                    (body.max_bytes, body.max_downloads)
                });
                ShareCharge { share, bytes: end - start, limits }
            }),
        })
    }

    /// The refusal of what would pass a budget, recorded: with the seconds until the next day (UTC); or of what would pass a
    /// share's.
    pub(crate) async fn over_budget<T>(
        &self,
        judge: &impl Fn(&State, &mut Record) -> Result<T, Refusal>,
        over: Over,
    ) -> Refusal {
        let now = now_ms();
        let left = (now / DAY_MS + 1) * DAY_MS - now;
        let refusal = match over {
            Over::Budget => Refusal::OverBudget(u64::try_from(left).unwrap_or(0) / 1000),
            Over::Share => Refusal::ShareSpent,
        };
        let (_, mut record) = self.judge(judge);
        record.outcome = "denied".to_owned();
        record.reason = refusal.to_string();
        match self.log.append(Entry { record, ..Entry::default() }).await {
            Ok(_) => {
                metrics::decided(Some(&refusal));
                refusal
            }
            Err(error) => Refusal::Unavailable(error.to_string()),
        }
    }
}
