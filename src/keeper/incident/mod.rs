//! Incidents: what somebody could reach and did, with evidence that an outsider verifies without any key of the keeper's.
//!
//! Keeper and verifier compute the summary by the same code: the keeper from the log, the verifier from the records in the
//! bundle, which it opens itself out of the leaves whose place in the log is proved. docs/decisions/0022 has the format.

mod bundle;
mod reach;
mod verify;

pub use crate::did::time;
pub(crate) use bundle::hex;
pub use bundle::{Digest, FORMAT, Header, Page, Sealed, Witnessed, statement};
pub use reach::{Replay, Who};
pub use verify::{BundleError, Verifier};
pub(crate) use verify::{from_address, is_of};

#[cfg(test)]
mod tests;
