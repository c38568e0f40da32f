//! Grants that live: what was decided, and until when it holds.

use std::collections::{BTreeSet, HashMap};

use strongroom_domain::{Action, Commit, Compartment};
use strongroom_protocol::{Call, GrantId, Purpose};

use crate::policy::PrincipalId;

/// Grants of one gate at a time: each request in flight has one, and connections are bounded far below.
pub const LIVE_MAX: usize = 65_536;

/// One decision.
#[derive(Debug, Clone)]
pub struct Live {
    /// For whom.
    pub principal: PrincipalId,
    /// By which token.
    pub token: u64,
    /// Of which share the token is, if of any.
    pub share: Option<u64>,
    /// To do what.
    pub action: Action,
    /// In which repository.
    pub repo: Option<u64>,
    /// What the catalogue knew it by then: a rotation changes it, and the keys with it.
    pub catalog_id: Option<[u8; 16]>,
    /// In which of its compartments.
    pub compartments: Vec<Compartment>,
    /// Decided under this generation of the policy.
    pub generation: u64,
    /// For what alone, where a ticket was shown.
    pub purpose: Option<Purpose>,
    /// The request, for its records.
    pub call: Call,
    /// As the client wrote it.
    pub revision: Option<String>,
    /// What was opened under it last: its compartment, and the commit.
    pub opened: Option<(Compartment, Option<Commit>)>,
    /// Compartments that were opened and are open only while the log is witnessed.
    pub witnessed: BTreeSet<Compartment>,
}

/// The live grants of one gate.
#[derive(Default)]
pub struct Grants {
    next: u64,
    live: HashMap<GrantId, Live>,
}

impl Grants {
    /// Adds one; `None` where the gate holds too many.
    pub fn add(&mut self, live: Live) -> Option<GrantId> {
        if self.live.len() >= LIVE_MAX {
            return None;
        }
        self.next += 1;
        self.live.insert(GrantId(self.next), live);
        Some(GrantId(self.next))
    }

    /// What was decided.
    pub fn get(&self, id: GrantId) -> Option<&Live> {
        self.live.get(&id)
    }

    /// The same, to note that it was decided again.
    pub fn get_mut(&mut self, id: GrantId) -> Option<&mut Live> {
        self.live.get_mut(&id)
    }

    /// How many live.
    pub fn count(&self) -> usize {
        self.live.len()
    }

    /// Ends one.
    pub fn remove(&mut self, id: GrantId) {
        self.live.remove(&id);
    }
}
