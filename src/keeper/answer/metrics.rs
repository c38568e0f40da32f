//! `Metrics`: numbers without a name.

use strongroom_domain::Action;
use strongroom_protocol::{GrantId, Refusal, Reply};

use crate::metrics;
use crate::server::{Core, now_ms};

impl Core {
    pub(super) fn answer_metrics(&self, grant: GrantId) -> Result<Reply, Refusal> {
        let state = self.state.read();
        if self.live(&state, grant)?.action != Action::MetricsRead {
            return Err(Refusal::NotFound);
        }
        let (size, grants) = (self.log.position().size, self.grants.lock().count());
        Ok(Reply::Metrics(metrics::text(size, state.generation, grants, self.witnesses.numbers(now_ms()))))
    }
}
