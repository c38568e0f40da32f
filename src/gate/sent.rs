//! What was sent of a file, on its way to the log.

use std::ops::Range;
use std::sync::Arc;

use strongroom_protocol::Grant;

use crate::gate::Gate;

/// Comes to its record when this is dropped, also when the client hangs up: that is how a cut transfer comes to its record.
pub struct Sent {
    /// Where from.
    pub gate: Arc<Gate>,
    /// Leaves with the record: the keeper must know it until then.
    grant: Option<Grant>,
    /// A stop waits for it.
    held: Arc<()>,
    path: Option<String>,
    range: Range<u64>,
    /// Bytes of the file that were sent so far.
    pub bytes: u64,
}

impl Sent {
    /// Nothing yet, of what the keeper let be opened under this grant.
    pub fn new(gate: Arc<Gate>, grant: Grant, path: Option<String>, range: Range<u64>) -> Self {
        let held = gate.recording.clone();
        Self { gate, grant: Some(grant), held, path, range, bytes: 0 }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let Some(grant) = self.grant.take() else { return };
        let (keeper, path, held) = (self.gate.keeper.clone(), self.path.take(), self.held.clone());
        let (range, bytes) = (self.range.clone(), self.bytes);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = keeper.delivered(grant, path, range, bytes).await {
                    tracing::error!(%error, "a delivery was not recorded");
                }
                drop(held);
            });
        }
    }
}
