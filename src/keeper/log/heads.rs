//! How far other keepers' logs were: a log that vanishes is missed by those that named it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_audit::{Checkpoint, Hash};

/// One log's size and root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The log's name.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl From<Checkpoint> for Head {
    fn from(Checkpoint { origin, size, root }: Checkpoint) -> Self {
        Self { origin, size, root }
    }
}

/// The heads of logs, as text: `ORIGIN SIZE ROOT`, a line each, the root in base64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heads(pub Vec<Head>);

impl fmt::Display for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|head| writeln!(f, "{} {} {}", head.origin, head.size, STANDARD.encode(head.root.0)))
    }
}

/// Not the text form of heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("heads are lines of ORIGIN SIZE ROOT")]
pub struct HeadsError;

impl FromStr for Heads {
    type Err = HeadsError;

    fn from_str(text: &str) -> Result<Self, HeadsError> {
        let head = |line: &str| {
            let mut words = line.split(' ');
            let (origin, size, root) = (words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?);
            let root = STANDARD.decode(root).ok()?.try_into().ok()?;
            words.next().is_none().then_some(Head { origin, size, root: Hash(root) })
        };
        text.lines().map(head).collect::<Option<_>>().map(Self).ok_or(HeadsError)
    }
}

/// The name of a keeper's log: the first bears the name of all.
pub fn origin(name: &str, log: u64) -> String {
    if log == 1 { name.to_owned() } else { format!("{name}/{log}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_were_written_and_nothing_else_is() {
        let head = |origin: &str, size| Head { origin: origin.to_owned(), size, root: Hash([7; 32]) };
        let heads = Heads(vec![head("strongroom", 5), head("strongroom/2", 0)]);
        assert_eq!(heads.to_string().parse(), Ok(heads));
        assert_eq!("".parse(), Ok(Heads::default()));
        for wrong in ["strongroom 5", "strongroom x AA==", "strongroom 5 AA==", "\n"] {
            assert!(wrong.parse::<Heads>().is_err(), "{wrong}");
        }
    }
}
