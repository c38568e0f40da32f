//! The slot in the wall between gate and keeper: requests, replies, [`Grant`], frames.
//!
//! The keeper treats whoever is at the other end as hostile. Both sides read the same enums, so that `Request::Open` here
//! is `keeper.open()` in the gate and `answer_open` in the keeper.

mod access;
pub mod admin;
mod alert;
mod approval;
mod client;
mod frame;
pub mod incident;
pub mod metrics;
mod partner;
mod reply;
mod request;
mod review;
mod seal;
mod secret;
mod share;
mod tile;
mod witness;

pub use access::{AccessCommand, AccessStatus, Asker};
pub use alert::{AlertCommand, DecoyCommand, DecoySpec, Dispatch, Receipt};
pub use approval::ApprovalCommand;
pub use client::{Failure, Grant, Keeper, RepoGrant, SPANS};
pub use frame::{FRAME_BYTES_MAX, FrameError, FrameReader, FrameWriter, Numbered, split};
pub use partner::PartnerCommand;
pub use reply::{GrantParts, Listed, MetaKeys, PartKeys, Purpose, Refusal, Reply, RepoParts};
pub use request::{Call, Credential, GrantId, ListQuery, ObjectRef, Order, Request, Rewrapped, Target};
pub use review::{Given, GivenAt, ReviewCommand};
pub use seal::SealCommand;
pub use secret::{Secret, SecretText};
pub use share::{SHARE_WORDS, ShareCommand, ShareSpec, Shared};
pub use witness::{Submission, Witnessed};
