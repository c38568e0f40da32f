//! What a witness is asked about this keeper's log, and what its answer means. Who carries both is another process, and what it
//! brings is believed only where a signature or our own tree says the same.

use std::time::Instant;

use strongroom_audit::cosignature::{Cosignature, CosignerKey};
use strongroom_audit::note::parts;
use strongroom_audit::witness::AddCheckpoint;
use strongroom_protocol::Witnessed;

use super::rows;
use super::{Fresh, Seen};
use crate::log::{Entry, LogError, Position, Proofs, Record, TilesError};
use crate::server::{Core, Keeper, now_ms};

/// Why a witness can't be asked, or its answer not be kept.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The tree.
    #[error("witness: {0}")]
    Tiles(#[from] TilesError),
    /// The database.
    #[error("witness: {0}")]
    Database(#[from] sqlx::Error),
    /// The log.
    #[error("witness: {0}")]
    Log(#[from] LogError),
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It cosigned.
    Cosigned,
    /// It has another size than we thought: ask again at once.
    Again,
    /// It did not, for this reason.
    Not(String),
    /// It has seen of this log what can't be.
    Conflict(String),
}

impl Keeper {
    /// Where this keeper's log ends, for all of its witnesses to be asked about the same; none while it is sealed.
    pub fn log_position(&self) -> Option<Position> {
        self.core().map(|core| core.log.position())
    }

    /// What the witness of this place in the configuration is asked about a position of the log; none while sealed.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub async fn ask_witness(&self, at: usize, position: &Position) -> Result<Option<AddCheckpoint>, WitnessError> {
        match self.core() {
            Some(core) => core.ask_witness(at, position).await.map(Some),
            None => Ok(None),
        }
    }

    /// What its answer means, kept and recorded.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub async fn hear_witness(
        &self,
        at: usize,
        (position, asked): (&Position, &AddCheckpoint),
        answer: Witnessed,
    ) -> Result<Heard, WitnessError> {
        match self.core() {
            Some(core) => core.hear_witness(at, (position, asked), answer).await,
            None => Ok(Heard::Not("sealed".to_owned())),
        }
    }

    /// Why the server must not start, or go on to start.
    pub fn refused_by_witness(&self) -> Option<String> {
        self.core()?.witnesses.refused()
    }
}

impl Core {
    async fn ask_witness(&self, at: usize, position: &Position) -> Result<AddCheckpoint, WitnessError> {
        let key = &self.witnesses.keys[at];
        let known = self.witnesses.seen.read()[at].size;
        let old = match known {
            Some(size) => size,
            None => rows::size(&self.database.reader, self.log.number(), key).await?.unwrap_or(0),
        };
        // A row of a longer log than ours is said by its witness too, or is a lie.
        let old = if old > position.size { 0 } else { old };
        let mut proofs = Proofs::new(&self.database.reader, self.log.number(), position.size);
        let proof = proofs.consistency(old).await?.unwrap_or_default();
        Ok(AddCheckpoint { old, proof, note: position.checkpoint.clone() })
    }

    async fn hear_witness(
        &self,
        at: usize,
        (position, asked): (&Position, &AddCheckpoint),
        answer: Witnessed,
    ) -> Result<Heard, WitnessError> {
        let key = &self.witnesses.keys[at];
        let heard = match answer {
            Witnessed::Cosigned(lines) => match cosignature(key, position, &lines) {
                Ok(cosignature) => {
                    self.cosigned(at, position, cosignature).await?;
                    return Ok(Heard::Cosigned);
                }
                Err(why) => Heard::Not(why),
            },
            Witnessed::Size(size) => self.other_size(at, position, asked.old, size),
            // Our first records, as our own tree has them, are not those that it cosigned.
            Witnessed::Refused(422, _) if asked.old > 0 => {
                Heard::Conflict(format!("it cosigned other {} records than the first ones of this log", asked.old))
            }
            Witnessed::Refused(404, _) => {
                Heard::Not(format!("it does not know this log: its operator adds --log {}", self.log_key()))
            }
            Witnessed::Refused(status, text) => Heard::Not(format!("{status} {text}")),
            Witnessed::Failed(why) => Heard::Not(why),
        };
        let Heard::Conflict(why) = heard else { return Ok(heard) };
        let why = format!("witness {} against log {}: {why}", key.name(), self.log_key().name());
        self.conflict(at, &why).await?;
        Ok(Heard::Conflict(why))
    }

    /// The key of this keeper's own log, by which a witness knows it.
    fn log_key(&self) -> strongroom_audit::note::VerifierKey {
        let all = self.log.key();
        let own = crate::log::origin(all.name(), self.log.number());
        // A number behind a name that stands in notes already.
        all.named(&own).unwrap_or_else(|_| all.clone())
    }

    fn other_size(&self, at: usize, position: &Position, old: u64, size: u64) -> Heard {
        let now = self.log.position().size;
        if size > now {
            return Heard::Conflict(format!("it cosigned {size} records, and this log has {now}: it was rolled back"));
        }
        if size == old && old == position.size {
            return Heard::Conflict(format!("it cosigned another log of {size} records"));
        }
        if size == old {
            return Heard::Not(format!("it says that it has {size} records, which is what it was told"));
        }
        if size > position.size {
            return Heard::Not(format!("it has {size} records already, and was asked about {}", position.size));
        }
        self.witnesses.seen.write()[at].size = Some(size);
        Heard::Again
    }

    async fn cosigned(&self, at: usize, position: &Position, cosignature: Cosignature) -> Result<(), WitnessError> {
        let Cosignature { time_s, line } = cosignature;
        let now = now_ms();
        let time_ms = i64::try_from(time_s).unwrap_or(i64::MAX).saturating_mul(1000).min(now);
        let before = {
            let mut seen = self.witnesses.seen.write();
            let fresh = Some(Fresh { time_ms, heard: Instant::now() });
            std::mem::replace(&mut seen[at], Seen { fresh, size: Some(position.size), conflict: None })
        };
        if before.conflict.is_some() {
            self.note_witness(
                "log.agreed",
                "done",
                &format!("witness {} cosigns again", self.witnesses.keys[at].name()),
            )
            .await?;
        }
        let note = format!("{}{line}", position.checkpoint);
        let key = &self.witnesses.keys[at];
        rows::keep(&self.database.writer, (self.log.number(), key), position.size, time_s, &note).await?;
        Ok(())
    }

    async fn conflict(&self, at: usize, why: &str) -> Result<(), WitnessError> {
        let before = {
            let mut seen = self.witnesses.seen.write();
            (seen[at].fresh, seen[at].size) = (None, None);
            seen[at].conflict.replace(why.to_owned())
        };
        if before.is_some() {
            return Ok(());
        }
        self.note_witness("log.conflict", "denied", why).await
    }

    async fn note_witness(&self, action: &str, outcome: &str, reason: &str) -> Result<(), WitnessError> {
        let record = Record {
            time_ms: now_ms(),
            action: action.to_owned(),
            outcome: outcome.to_owned(),
            reason: reason.to_owned(),
            generation: self.state.read().generation,
            ..Record::default()
        };
        self.log.append(Entry { record, ..Entry::default() }).await?;
        Ok(())
    }
}

/// The cosignature of this witness over a checkpoint of ours.
fn cosignature(key: &CosignerKey, position: &Position, lines: &str) -> Result<Cosignature, String> {
    let wrong = |error| format!("its cosignature does not hold: {error}");
    let (text, _) = parts(&position.checkpoint).map_err(wrong)?;
    key.find(text, lines).map_err(wrong)
}
