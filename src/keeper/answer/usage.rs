//! Budgets: what an opened object uses of them.

use strongroom_protocol::Refusal;

use crate::log::{Charge, Entry, Record};
use crate::metrics;
use crate::server::{Core, now_ms};
use crate::state::State;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Core {
    /// What a record uses. Putting together what one sent oneself is no reading.
    pub(crate) fn charge(&self, record: &Record) -> Option<Charge> {
        let (start, end) = record.range.filter(|_| record.action == "object.open")?;
        if record.compartments.iter().any(|part| part == "inbox") {
            return None;
        }
        Some(Charge {
            principal: record.principal_id?,
            day: record.time_ms / DAY_MS,
            bytes: end - start,
            repo: record.repo_id,
            limits: (self.settings.budget_bytes, self.settings.budget_repos),
        })
    }

    /// The refusal of what would pass a budget, recorded: with the seconds until the next day (UTC).
    pub(crate) async fn over_budget<T>(&self, judge: &impl Fn(&State, &mut Record) -> Result<T, Refusal>) -> Refusal {
        let now = now_ms();
        let left = (now / DAY_MS + 1) * DAY_MS - now;
        let refusal = Refusal::OverBudget(u64::try_from(left).unwrap_or(0) / 1000);
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
