//! Strongroom's own API: `POST /api/strongroom/v1/…`, which the command line uses.

pub mod admin;
pub mod recover;
pub mod unseal;
