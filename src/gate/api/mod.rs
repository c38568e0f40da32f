//! Strongroom's own API: `POST /api/strongroom/v1/…`, which the command line uses, and the numbers for Prometheus,
//! traces for OpenTelemetry.

pub mod access;
pub mod admin;
pub mod log;
pub mod metrics;
pub mod quota;
pub mod recover;
pub mod sealed;
pub mod share;
pub mod traces;
pub mod unseal;
