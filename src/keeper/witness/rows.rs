//! What witnesses last cosigned, as it is stored: to be shown.

use std::collections::BTreeMap;

use sqlx::{AnyPool, Row};
use strongroom_audit::cosignature::CosignerKey;
use strongroom_audit::note::parts;

/// A log's newest checkpoint that was cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Records.
    pub size: u64,
    /// The signed note, with the cosignatures of all whose newest is of it.
    pub note: String,
}

/// How many records of a log a witness cosigned.
///
/// # Errors
/// Whatever the database says.
pub async fn size(pool: &AnyPool, log: u64, key: &CosignerKey) -> Result<Option<u64>, sqlx::Error> {
    let row = sqlx::query("SELECT size FROM witnessed WHERE log = $1 AND witness = $2");
    let row = row.bind(log as i64).bind(key.to_string()).fetch_optional(pool).await?;
    row.map(|row| Ok(row.try_get::<i64, _>("size")? as u64)).transpose()
}

/// Keeps what a witness cosigned.
///
/// # Errors
/// Whatever the database says.
pub async fn keep(
    pool: &AnyPool,
    (log, key): (u64, &CosignerKey),
    size: u64,
    time_s: u64,
    note: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO witnessed (log, witness, size, time_s, note) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (log, witness) DO UPDATE SET size = excluded.size, time_s = excluded.time_s, note = excluded.note",
    )
    .bind(log as i64)
    .bind(key.to_string())
    .bind(size as i64)
    .bind(i64::try_from(time_s).unwrap_or(i64::MAX))
    .bind(note.to_owned())
    .execute(pool)
    .await?;
    Ok(())
}

/// The newest cosigned checkpoint of each log that has one, by number.
///
/// # Errors
/// Whatever the database says.
pub async fn cosigned(pool: &AnyPool) -> Result<BTreeMap<u64, Cosigned>, sqlx::Error> {
    let mut found: BTreeMap<u64, Cosigned> = BTreeMap::new();
    let rows =
        sqlx::query("SELECT log, size, note FROM witnessed ORDER BY log, size DESC, witness").fetch_all(pool).await?;
    for row in rows {
        let (log, size) = (row.try_get::<i64, _>("log")? as u64, row.try_get::<i64, _>("size")? as u64);
        let note: String = row.try_get("note")?;
        match found.get_mut(&log) {
            None => drop(found.insert(log, Cosigned { size, note })),
            // The same text: what follows our own signature is another's word on it.
            Some(newest) if newest.size == size => {
                let (Ok((ours, _)), Ok((theirs, lines))) = (parts(&newest.note), parts(&note)) else { continue };
                if ours == theirs {
                    let more: String = lines.split_inclusive('\n').filter(|line| !newest.note.contains(line)).collect();
                    newest.note += &more;
                }
            }
            Some(_) => {}
        }
    }
    Ok(found)
}
