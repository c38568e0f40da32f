//! Streams in flight: asks the keeper a few times a second which of their grants are over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom_protocol::{Grant, GrantId, Keeper};

/// A revocation stops a stream within this and the way to the keeper: well within a second.
const PERIOD: Duration = Duration::from_millis(250);

/// The grants of streams in flight.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<HashMap<GrantId, Arc<AtomicBool>>>>);

/// A stream's place among them; leaves with it.
pub struct Watched {
    watch: Watch,
    id: GrantId,
    over: Arc<AtomicBool>,
}

impl Watch {
    /// Watches a grant.
    pub fn add(&self, grant: &Grant) -> Watched {
        let over = Arc::new(AtomicBool::new(false));
        self.lock().insert(grant.id(), over.clone());
        Watched { watch: self.clone(), id: grant.id(), over }
    }

    /// Asks until the keeper is gone.
    pub async fn run(self, keeper: Keeper) {
        loop {
            tokio::time::sleep(PERIOD).await;
            let grants: Vec<GrantId> = self.lock().keys().copied().collect();
            if grants.is_empty() {
                continue;
            }
            // Without an answer nothing may go on.
            let dead = keeper.renew(grants.clone()).await.unwrap_or(grants);
            let held = self.lock();
            dead.iter().filter_map(|id| held.get(id)).for_each(|over| over.store(true, Ordering::Relaxed));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<GrantId, Arc<AtomicBool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Whether the stream must stop.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.lock().remove(&self.id);
    }
}
