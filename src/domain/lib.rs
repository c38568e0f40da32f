//! Values that can only exist well formed: names, paths, digests, actions, compartments, limits. No I/O, no secrets.
//!
//! Every value from outside is parsed here once, at the rim. A function that takes a [`RepoPath`] has no path left to
//! check. Errors say what is wrong in words a client may see; they never repeat the input.

mod action;
mod alerts;
mod budgets;
mod budgets_file;
mod compartment;
mod compartment_file;
mod digest;
mod dual_control;
mod globs;
mod inside;
pub mod limits;
mod name;
mod network;
mod path;
mod probed;
mod revision;
mod wire;
mod witness;

pub use action::{Action, Role};
pub use alerts::{AlertKind, AlertRules, AlertsError, DecoyLock};
pub use budgets::{Actor, Budget, Budgets, Counted, CoverageLine, Line, Lines, Window};
pub use budgets_file::BudgetFileError;
pub use compartment::{Compartment, CompartmentRules, RuleError};
pub use compartment_file::CompartmentFileError;
pub use digest::{Commit, DigestError, GitBlob, Sha256};
pub use dual_control::{DualControl, DualControlError};
pub use globs::{GlobsError, PathGlobs};
pub use inside::is_inside;
pub use name::{NameError, RepoKind, RepoName, check_namespace};
pub use network::{Network, NetworkError};
pub use path::{PathError, RepoPath, is_hidden};
pub use probed::is_probed;
pub use revision::{Revision, RevisionError};
pub use witness::{Required, WitnessError, WitnessRules};
