//! TRUSTED: root key, key ring, principals and tokens, Casbin policy, budgets, audit log. No network, no HTTP.
//!
//! [`serve`](server::serve) answers one gate at a time over its socket. State is in memory and in the keeper's own
//! database; what changes it goes through [`log`], in one transaction with its record.

mod act;
mod answer;
mod ask;
mod change;
mod credential;
mod decoy;
mod did;
mod dual;
mod effect;
mod follow;
mod grants;
mod held;
pub mod incident;
mod inspect;
mod keys;
mod lapse;
mod load;
pub mod log;
mod metrics;
mod orders;
mod partner;
pub mod policy;
mod review;
mod rewrap;
pub mod root;
mod rotation;
mod seal;
mod server;
mod setup;
mod share;
pub mod share_record;
mod sinks;
mod state;
mod ticket;
mod token;
mod waiting;
mod witness;

pub use inspect::{InspectedKeys, InspectedRepo, InspectedRotation, Inspection};
pub use rewrap::{RewrapError, rewrap};
pub use rotation::copies;
pub use server::{Core, Keeper, ServeError, serve};
pub use setup::{
    Authority, Settings, SetupError, TABLES, authority, create, let_open, mark, migrate, open, stored_authority,
};
pub use sinks::{SinkError, Undelivered};
pub use waiting::{Waiting, protect, split};
pub use witness::{Heard, WitnessError};
