//! `Metrics`: numbers without a name.

use strongroom_domain::Action;
use strongroom_protocol::{GrantId, Refusal, Reply};

use crate::metrics;
use crate::server::Core;

impl Core {
    pub(super) fn answer_metrics(&self, grant: GrantId) -> Result<Reply, Refusal> {
        let state = self.state.read();
        if self.live(&state, grant)?.action != Action::MetricsRead {
            return Err(Refusal::NotFound);
        }
        Ok(Reply::Metrics(metrics::text(self.log.position().size, state.generation, self.grants.lock().count())))
    }
}
