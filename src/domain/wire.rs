//! Values on the wall between the processes: as text, parsed again on arrival, so that a hostile sender cannot make a
//! value that could not exist.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Action, Commit, Compartment, GitBlob, Network, RepoKind, RepoName, RepoPath, Revision, Role, Sha256};

macro_rules! as_text {
    ($($name:ident),*) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )* };
}

as_text!(Action, Commit, Compartment, GitBlob, Network, RepoKind, RepoName, RepoPath, Revision, Role, Sha256);
