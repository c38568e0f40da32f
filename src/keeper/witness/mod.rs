//! Whether this keeper's log is witnessed, and what is opened only while it is. What counts is in memory and was heard since this
//! process began: a database that is rolled back brings no cosignature along.

mod asking;
mod rows;

use std::time::{Duration, Instant};

use parking_lot::RwLock;
use strongroom_audit::cosignature::CosignerKey;
use strongroom_domain::{Compartment, WitnessRules};
use strongroom_protocol::{GrantId, Refusal};

use crate::grants::Live;
use crate::server::{Core, now_ms};

pub use asking::{Heard, WitnessError};
pub use rows::{Cosigned, cosigned};

/// When a refused client may try again: a witness is asked again within that or a little more.
const AGAIN_S: u64 = 10;

/// What is known of one witness.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// Its newest cosignature since we began.
    fresh: Option<Fresh>,
    /// How many records it has cosigned, as far as we know: where the next proof begins.
    size: Option<u64>,
    /// What it has seen of this log that can't be.
    conflict: Option<String>,
}

/// A cosignature, by two clocks: neither set back makes it younger.
#[derive(Debug, Clone, Copy)]
struct Fresh {
    /// By the witness, but not after we had it: Unix milliseconds.
    time_ms: i64,
    /// When we had it.
    heard: Instant,
}

impl Fresh {
    fn age(self, now_ms: i64) -> Duration {
        let by_time = u64::try_from(now_ms - self.time_ms).unwrap_or(0);
        Duration::from_millis(by_time).max(self.heard.elapsed())
    }
}

/// The witnesses of this keeper's log.
pub struct Witnesses {
    rules: WitnessRules,
    keys: Vec<CosignerKey>,
    seen: RwLock<Vec<Seen>>,
    began: Instant,
}

impl Witnesses {
    /// By these rules, with the keys of those that may cosign.
    pub fn new(rules: WitnessRules, keys: Vec<CosignerKey>) -> Self {
        let seen = RwLock::new(vec![Seen::default(); keys.len()]);
        Self { rules, keys, seen, began: Instant::now() }
    }

    /// Whether a compartment is opened only while the log is witnessed.
    pub fn gates(&self, part: Compartment) -> bool {
        self.rules.of(part).is_some()
    }

    /// Whether what is in a compartment may be opened now.
    ///
    /// # Errors
    /// [`Refusal::WitnessConflict`], [`Refusal::WitnessStale`].
    pub fn check(&self, part: Compartment, now_ms: i64) -> Result<(), Refusal> {
        let Some(required) = self.rules.of(part) else { return Ok(()) };
        let seen = self.seen.read();
        if let Some(conflict) = seen.iter().find_map(|seen| seen.conflict.as_ref()) {
            return Err(Refusal::WitnessConflict(format!("{part} is closed: {conflict}")));
        }
        let fresh = |seen: &&Seen| seen.fresh.is_some_and(|fresh| fresh.age(now_ms) <= required.within);
        if seen.iter().filter(fresh).count() >= required.witnesses as usize {
            return Ok(());
        }
        let within = humantime::format_duration(required.within);
        let text = format!(
            "{part} is closed until {} of this server's witnesses cosigned its log within {within}; an operator sees which did not in \
             strongroom audit checkpoint --json",
            required.witnesses
        );
        Err(Refusal::WitnessStale(text, AGAIN_S))
    }

    /// Why the server must not start: a compartment requires a witness, and one has seen what can't be.
    pub fn refused(&self) -> Option<String> {
        let conflict = self.seen.read().iter().find_map(|seen| seen.conflict.clone());
        conflict.filter(|_| self.rules.any())
    }

    /// Seconds since the witness that was longest away cosigned (or since we began), and how many see a conflict.
    pub fn numbers(&self, now_ms: i64) -> (u64, usize) {
        let seen = self.seen.read();
        let age = |seen: &Seen| seen.fresh.map_or_else(|| self.began.elapsed(), |fresh| fresh.age(now_ms)).as_secs();
        (seen.iter().map(age).max().unwrap_or(0), seen.iter().filter(|seen| seen.conflict.is_some()).count())
    }

    /// Of each witness: its key, the age of its newest cosignature in seconds, and what it has seen that can't be.
    pub fn standing(&self, now_ms: i64) -> Vec<(String, Option<u64>, Option<String>)> {
        let seen = self.seen.read();
        let each = self.keys.iter().zip(seen.iter());
        each.map(|(key, seen)| {
            let age = seen.fresh.map(|fresh| fresh.age(now_ms).as_secs());
            (key.to_string(), age, seen.conflict.clone())
        })
        .collect()
    }
}

impl Core {
    /// Whether a compartment may be opened now under a grant, whose streams then end when it may not any more.
    ///
    /// # Errors
    /// As [`Witnesses::check`].
    pub(crate) fn witnessed(&self, grant: GrantId, part: Compartment) -> Result<(), Refusal> {
        self.witnesses.check(part, now_ms())?;
        if self.witnesses.gates(part)
            && let Some(live) = self.grants.lock().get_mut(grant)
        {
            live.witnessed.insert(part);
        }
        Ok(())
    }

    /// Whether all that was opened under a grant might be opened now too.
    pub(crate) fn still_witnessed(&self, live: &Live) -> bool {
        live.witnessed.iter().all(|part| self.witnesses.check(*part, now_ms()).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use strongroom_audit::cosignature::Cosigner;

    use super::*;

    fn witnesses(text: &str, count: u8) -> Witnesses {
        let key = |at: u8| Cosigner::from_seed(&format!("w{at}"), &[at; 32]).unwrap().key();
        Witnesses::new(WitnessRules::from_toml(text).unwrap(), (0..count).map(key).collect())
    }

    fn heard(witnesses: &Witnesses, at: usize, time_ms: i64) {
        witnesses.seen.write()[at].fresh = Some(Fresh { time_ms, heard: Instant::now() });
    }

    #[test]
    fn a_compartment_opens_with_as_many_fresh_witnesses_as_it_requires_and_others_need_none() {
        let two = witnesses("[require_witness]\nweights = { witnesses = 2, within = \"10s\" }", 3);
        assert!(two.check(Compartment::Docs, 0).is_ok());
        assert!(matches!(two.check(Compartment::Weights, 0), Err(Refusal::WitnessStale(..))));
        heard(&two, 0, 1_000);
        assert!(two.check(Compartment::Weights, 1_000).is_err(), "one is not two");
        heard(&two, 2, 1_000);
        assert!(two.check(Compartment::Weights, 11_000).is_ok());
        assert!(two.check(Compartment::Weights, 11_001).is_err(), "a millisecond too old");
        assert!(two.check(Compartment::Weights, 500).is_ok(), "a clock that was set back makes nothing old by itself");
        two.seen.write()[1].conflict = Some("it saw more".to_owned());
        assert!(matches!(two.check(Compartment::Weights, 1_000), Err(Refusal::WitnessConflict(_))));
        assert!(two.check(Compartment::Docs, 1_000).is_ok());
        assert!(two.refused().is_some());
    }

    #[test]
    fn where_nothing_requires_a_witness_a_conflict_is_told_and_stops_nothing() {
        let none = witnesses("[require_witness]", 1);
        none.seen.write()[0].conflict = Some("it saw more".to_owned());
        assert!(none.refused().is_none() && none.check(Compartment::Weights, 0).is_ok());
        assert_eq!(none.standing(0)[0].2.as_deref(), Some("it saw more"));
    }
}
