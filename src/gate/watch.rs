//! Streams in flight: asks the keeper a few times a second which of their grants are over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom_protocol::{Grant, GrantId, Keeper};

use crate::http::{Cut, Peer};

/// A revocation stops a stream within this and the way to the keeper: well within a second.
const PERIOD: Duration = Duration::from_millis(250);

/// The grants of streams in flight.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<HashMap<GrantId, Stop>>>);

/// A stream's place among them; leaves with it.
pub struct Watched {
    watch: Watch,
    id: GrantId,
    over: Arc<AtomicBool>,
}

/// What ends a stream.
struct Stop {
    over: Arc<AtomicBool>,
    cut: Arc<Cut>,
}

impl Stop {
    fn end(&self) {
        // The connection first: a stream that ends by itself must find it cut.
        self.cut.now();
        if !self.over.swap(true, Ordering::Release) {
            crate::metrics::CUT.add(1);
        }
    }
}

impl Watch {
    /// Watches a grant; a connection that sends under it is cut when it is over.
    pub fn add(&self, grant: &Grant, peer: &Peer) -> Watched {
        let over = Arc::new(AtomicBool::new(false));
        self.lock().insert(grant.id(), Stop { over: over.clone(), cut: peer.cut.clone() });
        Watched { watch: self.clone(), id: grant.id(), over }
    }

    /// Ends all streams: the process is about to stop.
    pub fn end_all(&self) {
        for stop in self.lock().values() {
            stop.end();
        }
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
            for stop in dead.iter().filter_map(|id| held.get(id)) {
                stop.end();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<GrantId, Stop>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Whether the stream must stop.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.lock().remove(&self.id);
    }
}
