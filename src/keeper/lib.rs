//! TRUSTED: root key, key ring, principals and tokens, Casbin policy, budgets, audit log. No network, no HTTP.
//!
//! Written so far: [`policy`], the judge.

pub mod policy;
