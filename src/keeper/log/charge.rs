//! Budgets: what each actor read, counted where all keepers count it, in the transaction of the record.
//!
//! A group of records works on one copy of each row: read at its first charge, written once after the last. The row of a
//! principal is locked first; what is counted for its tokens and shares is read under that lock, on every keeper. The rows of
//! shares through which several read are locked before those of all principals: where two keepers meet, they meet in one order.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{AnyConnection, Row};
use strongroom_domain::{Actor, Budget, Budgets, Compartment, Counted, Lines};

use super::coverage::{Covered, Grown, Taken};
use super::share::{Over, ShareCharge};
use super::spent::{Crossed, Spent};

/// What a decision uses of budgets.
#[derive(Debug, Clone)]
pub struct Charge {
    /// Whose.
    pub principal: u64,
    /// With which token.
    pub token: Option<u64>,
    /// What it uses of a share.
    pub share: Option<ShareCharge>,
    /// When, Unix milliseconds.
    pub time_ms: i64,
    /// What.
    pub piece: Piece,
    /// The lines.
    pub budgets: Arc<Budgets>,
}

/// A range of an object that is given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Of which repository.
    pub repo: u64,
    /// Of which compartment.
    pub compartment: Compartment,
    /// Which object: made of its file key, so that whoever asks can't give it another name.
    pub object: [u8; 16],
    /// Bytes of all of it, as the gate says.
    pub size: u64,
    /// Bytes of it that are asked for.
    pub range: Range<u64>,
}

/// An actor, by its number.
type Who = (Actor, u64);
type Class = (Who, u64, Compartment);
type Object = (Who, [u8; 16]);

/// What is durable of objects, so that reading the same bytes again asks no database.
#[derive(Default)]
pub struct Known(HashMap<Object, Taken>);

/// Entries of [`Known`], at most.
const KNOWN_MAX: usize = 10_000;

impl Known {
    /// After the transaction is durable.
    pub fn keep(&mut self, ledger: Ledger) {
        if self.0.len() + ledger.objects.len() > KNOWN_MAX {
            self.0.clear();
        }
        self.0.extend(ledger.objects.into_iter().filter(|(_, row)| row.changed).map(|(key, row)| (key, row.value)));
    }
}

struct Held<T> {
    value: T,
    changed: bool,
}

/// The rows of one transaction.
#[derive(Default)]
pub struct Ledger {
    spent: BTreeMap<Who, Held<Spent>>,
    classes: BTreeMap<Class, Held<Covered>>,
    objects: BTreeMap<Object, Held<Taken>>,
    wholes: BTreeMap<(u64, Compartment), u64>,
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A row that does not open counts nothing and lets nobody read.
fn opened<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, sqlx::Error> {
    if body.is_empty() {
        return Ok(T::default());
    }
    postcard::from_bytes(body).map_err(|error| sqlx::Error::Decode(format!("a row of a budget: {error}").into()))
}

/// Postcard into a growing vector fails for no value of these types.
fn closed<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain values")
}

/// What a charge adds to a compartment of an actor, before it is known whether it may.
struct Addition {
    class: Class,
    object: Object,
    taken: Taken,
    grown: [Grown; 3],
}

impl Ledger {
    /// Counts a charge, unless that crosses a hard line or what a share allows; then nothing of it is counted. The soft
    /// lines that it crosses for the first time in their window.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn spend(
        &mut self,
        tx: &mut AnyConnection,
        known: &Known,
        charge: &Charge,
    ) -> Result<Result<Vec<Budget>, Over>, sqlx::Error> {
        let piece = &charge.piece;
        let bytes = piece.range.end - piece.range.start;
        let principal = (Actor::Principal, charge.principal);
        let token = charge.token.map(|token| (Actor::Token, token));
        let share = charge.share.as_ref().map(|share| (Actor::Share, share.share));
        let actors: Vec<Who> = [Some(principal), token, share].into_iter().flatten().collect();
        // First of all, for it is the lock.
        self.lock(tx, principal).await?;
        let mut additions = Vec::new();
        for who in &actors {
            let lines = charge.budgets.of(who.0);
            if lines.counts() {
                let spent = self.lock(tx, *who).await?;
                spent.roll(charge.time_ms);
                if let Some(crossed) = spent.over(who.0, lines, charge.time_ms, bytes, Some(piece.repo)) {
                    return Ok(Err(Over::Budget(who.0, crossed)));
                }
            }
            match self.cover(tx, known, charge, *who, lines).await? {
                Ok(addition) => additions.extend(addition),
                Err(crossed) => return Ok(Err(Over::Budget(who.0, crossed))),
            }
        }
        if let Some(share) = &charge.share
            && !share.spend(tx).await?
        {
            return Ok(Err(Over::Share));
        }
        let mut warned = Vec::new();
        for who in actors {
            let lines = charge.budgets.of(who.0);
            if let Some(spent) = self.spent.get_mut(&who).filter(|_| lines.counts()) {
                spent.value.add(who.0, lines, bytes, Some(piece.repo), &mut warned);
                spent.changed = true;
            }
        }
        for addition in additions {
            self.add(charge, addition, &mut warned);
        }
        Ok(Ok(warned))
    }

    /// Locks the rows of shares that are not of one principal alone, in one order.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn lock_common(
        &mut self,
        tx: &mut AnyConnection,
        charges: &[(usize, &Charge)],
    ) -> Result<(), sqlx::Error> {
        let common = charges.iter().filter_map(|(_, charge)| charge.share.filter(|share| share.common));
        let common: BTreeSet<u64> = common.map(|share| share.share).collect();
        for share in common {
            self.lock(tx, (Actor::Share, share)).await?;
        }
        Ok(())
    }

    async fn lock(&mut self, tx: &mut AnyConnection, who: Who) -> Result<&mut Spent, sqlx::Error> {
        let held = match self.spent.entry(who) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(free) => {
                let row = sqlx::query(
                    "INSERT INTO budget (actor, id, turns, body) VALUES ($1, $2, 1, $3) \
                 ON CONFLICT (actor, id) DO UPDATE SET turns = budget.turns + 1 RETURNING body",
                )
                .bind(who.0.word())
                .bind(number(who.1))
                .bind(Vec::new())
                .fetch_one(tx)
                .await?;
                let value = opened(&row.try_get::<Vec<u8>, _>("body")?)?;
                free.insert(Held { value, changed: false })
            }
        };
        Ok(&mut held.value)
    }

    /// What the piece adds to what an actor took of its compartment, if anything; or the line that this would cross.
    async fn cover(
        &mut self,
        tx: &mut AnyConnection,
        known: &Known,
        charge: &Charge,
        who: Who,
        lines: &Lines,
    ) -> Result<Result<Option<Addition>, Crossed>, sqlx::Error> {
        let (piece, now_ms) = (&charge.piece, charge.time_ms);
        let object = (who, piece.object);
        let is_known = known.0.get(&object).is_some_and(|taken| taken.holds(now_ms, &piece.range));
        if lines.coverage_of(piece.compartment).next().is_none() || is_known {
            return Ok(Ok(None));
        }
        let class = (who, piece.repo, piece.compartment);
        let whole = self.whole(tx, piece.repo, piece.compartment).await?;
        let mut taken = self.taken(tx, object, piece.size).await?.clone().of_size(piece.size);
        let covered = self.covered(tx, class).await?;
        let grown = taken.take(covered.roll(now_ms), &piece.range);
        for line in lines.coverage_of(piece.compartment) {
            let Some(after) = covered.with(line.within, &grown) else { continue };
            // The whole is at least what was taken of it, whatever was said when it was committed.
            if let Some(hard) = line.of(whole.max(after)).hard.filter(|hard| after > *hard) {
                let asked = taken.rounded(&piece.range);
                let retry_s = covered.retry_s(line.within, &grown, asked, hard, now_ms);
                let what = Counted::Coverage(piece.compartment);
                return Ok(Err(Crossed { budget: Budget { of: who.0, what, within: line.within }, retry_s }));
            }
        }
        Ok(Ok(Some(Addition { class, object, taken, grown })))
    }

    fn add(&mut self, charge: &Charge, addition: Addition, warned: &mut Vec<Budget>) {
        let Addition { class, object, taken, grown } = addition;
        let (who, repo, compartment) = class;
        self.objects.insert(object, Held { value: taken, changed: true });
        let whole = self.wholes.get(&(repo, compartment)).copied().unwrap_or(0);
        let Some(covered) = self.classes.get_mut(&class) else { return };
        covered.changed = true;
        for line in charge.budgets.of(who.0).coverage_of(compartment) {
            let Some(after) = covered.value.with(line.within, &grown) else { continue };
            let soft = line.of(whole.max(after)).soft;
            if soft.is_some_and(|soft| after > soft) && covered.value.warn(line.within) {
                warned.push(Budget { of: who.0, what: Counted::Coverage(compartment), within: line.within });
            }
        }
        covered.value.grow(&grown);
    }

    async fn whole(&mut self, tx: &mut AnyConnection, repo: u64, part: Compartment) -> Result<u64, sqlx::Error> {
        if let Some(whole) = self.wholes.get(&(repo, part)) {
            return Ok(*whole);
        }
        let row = sqlx::query("SELECT bytes FROM repo_bytes WHERE repo = $1 AND compartment = $2")
            .bind(number(repo))
            .bind(part.word())
            .fetch_optional(tx)
            .await?;
        let whole = row.map(|row| row.try_get::<i64, _>("bytes")).transpose()?;
        let whole = u64::try_from(whole.unwrap_or(0)).unwrap_or(0);
        self.wholes.insert((repo, part), whole);
        Ok(whole)
    }

    async fn covered(&mut self, tx: &mut AnyConnection, class: Class) -> Result<&mut Covered, sqlx::Error> {
        let held = match self.classes.entry(class) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(free) => {
                let ((actor, id), repo, part) = class;
                let row = sqlx::query(
                    "SELECT body FROM coverage WHERE actor = $1 AND id = $2 AND repo = $3 AND compartment = $4",
                )
                .bind(actor.word())
                .bind(number(id))
                .bind(number(repo))
                .bind(part.word())
                .fetch_optional(tx)
                .await?;
                let body = row.map(|row| row.try_get::<Vec<u8>, _>("body")).transpose()?;
                let value = opened(&body.unwrap_or_default())?;
                free.insert(Held { value, changed: false })
            }
        };
        Ok(&mut held.value)
    }

    async fn taken(&mut self, tx: &mut AnyConnection, object: Object, size: u64) -> Result<&Taken, sqlx::Error> {
        let held = match self.objects.entry(object) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(free) => {
                let ((actor, id), name) = object;
                let row = sqlx::query("SELECT body FROM coverage_object WHERE actor = $1 AND id = $2 AND object = $3")
                    .bind(actor.word())
                    .bind(number(id))
                    .bind(name.to_vec())
                    .fetch_optional(tx)
                    .await?;
                let body = row.map(|row| row.try_get::<Vec<u8>, _>("body")).transpose()?;
                let value: Option<Taken> = opened(&body.unwrap_or_default())?;
                let value = value.unwrap_or_else(|| Taken::new(size));
                free.insert(Held { value, changed: false })
            }
        };
        Ok(&held.value)
    }

    /// Writes what changed.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn write(&self, tx: &mut AnyConnection) -> Result<(), sqlx::Error> {
        for ((actor, id), row) in self.spent.iter().filter(|(_, row)| row.changed) {
            sqlx::query("UPDATE budget SET body = $1 WHERE actor = $2 AND id = $3")
                .bind(closed(&row.value))
                .bind(actor.word())
                .bind(number(*id))
                .execute(&mut *tx)
                .await?;
        }
        for (((actor, id), repo, part), row) in self.classes.iter().filter(|(_, row)| row.changed) {
            sqlx::query(
                "INSERT INTO coverage (actor, id, repo, compartment, body) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (actor, id, repo, compartment) DO UPDATE SET body = excluded.body",
            )
            .bind(actor.word())
            .bind(number(*id))
            .bind(number(*repo))
            .bind(part.word())
            .bind(closed(&row.value))
            .execute(&mut *tx)
            .await?;
        }
        for (((actor, id), name), row) in self.objects.iter().filter(|(_, row)| row.changed) {
            sqlx::query(
                "INSERT INTO coverage_object (actor, id, object, body) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (actor, id, object) DO UPDATE SET body = excluded.body",
            )
            .bind(actor.word())
            .bind(number(*id))
            .bind(name.to_vec())
            .bind(closed(&Some(&row.value)))
            .execute(&mut *tx)
            .await?;
        }
        Ok(())
    }
}

/// Bytes of one commit, at most, that count: 1 PiB.
const COMMIT_MAX: i64 = 1 << 50;

/// Adds to how much was ever committed to compartments of repositories. The number is the gate's, and stands in the record.
///
/// # Errors
/// Whatever the database says.
pub async fn committed(tx: &mut AnyConnection, added: &BTreeMap<(u64, Compartment), u64>) -> Result<(), sqlx::Error> {
    for ((repo, part), bytes) in added {
        // What is near the end of the numbers stays: no sum of ours overflows.
        sqlx::query(
            "INSERT INTO repo_bytes (repo, compartment, bytes) VALUES ($1, $2, $3) ON CONFLICT (repo, compartment) \
             DO UPDATE SET bytes = repo_bytes.bytes + excluded.bytes WHERE repo_bytes.bytes < $4",
        )
        .bind(number(*repo))
        .bind(part.word())
        .bind(number(*bytes).min(COMMIT_MAX))
        .bind(1_i64 << 60)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
