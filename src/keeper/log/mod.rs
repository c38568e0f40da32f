//! The audit log: records, written in groups, each group one durable transaction; the Merkle tree over them; search.
//!
//! An answer waits for its group. The group's transaction reads the policy generation: a decision made under an older one
//! is not recorded and not released, but made again.

mod alarm;
mod charge;
mod copy;
mod coverage;
mod denials;
mod filter;
mod front;
mod heads;
mod history;
mod index;
mod leaf;
mod places;
mod proofs;
mod record;
mod roots;
mod rows;
mod search;
mod seat;
mod share;
mod spent;
mod tiles;
mod writer;

pub use alarm::{Alarm, Alarms};
pub use charge::{Charge, Piece};
pub use copy::{CopiedLog, CopiedLogs, read_logs};
pub use filter::{Filter, LOOKED_AT_MAX, ShareFilter};
pub use front::{Entry, Log, LogError, Position};
pub use heads::{Head, Heads, HeadsError, origin};
pub use history::{Step, history};
pub use leaf::{RecordKey, StoredLeaf};
pub use places::wrongly_indexed;
pub use proofs::Proofs;
pub use record::Record;
pub use roots::{Roots, RootsError};
pub use search::{Page, SearchError, leaf_at, leaves, newest_ms, search, search_closed};
pub use share::{Over, ShareCharge};
pub use spent::Crossed;
pub use tiles::{StoredTile, StoredTiles, Tiles, TilesError};
