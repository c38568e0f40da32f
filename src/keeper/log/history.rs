//! Which records changed policy, in the order in which it changed: found without reading the log through.

use sqlx::{Any, AnyConnection, Executor, Row};

use super::record::Record;

/// Notes a record that has effects, in its own transaction.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn note(
    tx: &mut AnyConnection,
    record: &Record,
    changes: bool,
    (log, seq): (u64, u64),
) -> Result<(), sqlx::Error> {
    // What says by which rules a keeper judges stands behind the change of its generation.
    let (generation, rules) = (record.generation + u64::from(changes), i64::from(!changes));
    sqlx::query("INSERT INTO policy_record (generation, rules, log, seq) VALUES ($1, $2, $3, $4)")
        .bind(generation as i64)
        .bind(rules)
        .bind(log as i64)
        .bind(seq as i64)
        .execute(tx)
        .await?;
    Ok(())
}

/// A record that changed policy: the generation that it made or found, whether it says the rules, and its place.
pub type Step = (u64, bool, (u64, u64));

/// Those behind one of them, in order, at most `limit`.
///
/// # Errors
/// Whatever the database says.
pub async fn history<'a>(
    executor: impl Executor<'a, Database = Any>,
    after: Step,
    limit: u32,
) -> Result<Vec<Step>, sqlx::Error> {
    let (generation, rules, (log, seq)) = after;
    let rows = sqlx::query(
        "SELECT generation, rules, log, seq FROM policy_record WHERE (generation, rules, log, seq) > ($1, $2, $3, $4) \
         ORDER BY generation, rules, log, seq LIMIT $5",
    )
    .bind(generation as i64)
    .bind(i64::from(rules))
    .bind(log as i64)
    .bind(seq as i64)
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await?;
    let step = |row: &sqlx::any::AnyRow| -> Result<Step, sqlx::Error> {
        let number = |column| row.try_get::<i64, _>(column).map(|number| number as u64);
        Ok((number("generation")?, number("rules")? == 1, (number("log")?, number("seq")?)))
    };
    rows.iter().map(step).collect()
}
