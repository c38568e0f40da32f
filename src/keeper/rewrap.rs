//! Every secret that is wrapped for the root identity: the keeper's own, the CA's key, each repository's.

use sqlx::{AnyConnection, Row};
use strongroom_envelope::{Header, Identity, Recipient};

use crate::keys::{KeyError, unwrap, unwrap_repo};

/// Why secrets can't be wrapped anew.
#[derive(Debug, thiserror::Error)]
pub enum RewrapError {
    /// One that does not open.
    #[error("{0}: {1}")]
    Key(String, KeyError),
    /// The database.
    #[error("keeper database: {0}")]
    Database(#[from] sqlx::Error),
}

/// A wrapped secret for other recipients. Its payload stays as it is.
///
/// # Errors
/// [`KeyError::Header`] where it is not for this identity.
pub fn rewrap_one(file: &[u8], old: &Identity, recipients: &[Recipient]) -> Result<Vec<u8>, KeyError> {
    let (header, payload) = Header::split_from(file)?;
    let header = header.rewrap(old, recipients)?;
    Ok([header.as_bytes(), payload].concat())
}

/// Opens every wrapped secret, and wraps it for these recipients, where any are given; how many there are. In the caller's
/// transaction: all of them or none.
///
/// # Errors
/// [`RewrapError`], with the name of what does not open.
pub async fn rewrap(
    tx: &mut AnyConnection,
    old: &Identity,
    recipients: Option<&[Recipient]>,
) -> Result<u64, RewrapError> {
    let mut count = 0;
    for row in
        sqlx::query("SELECT name, value FROM instance WHERE name IN ('secret', 'ca_key')").fetch_all(&mut *tx).await?
    {
        let (name, wrapped): (String, Vec<u8>) = (row.try_get("name")?, row.try_get("value")?);
        let failed = |error| RewrapError::Key(format!("the keeper's {name}"), error);
        open(&name, &wrapped, old).map_err(failed)?;
        if let Some(recipients) = recipients {
            let failed = |error| RewrapError::Key(format!("the keeper's {name}"), error);
            let wrapped = rewrap_one(&wrapped, old, recipients).map_err(failed)?;
            sqlx::query("UPDATE instance SET value = $1 WHERE name = $2")
                .bind(wrapped)
                .bind(name)
                .execute(&mut *tx)
                .await?;
        }
        count += 1;
    }
    for (read, write) in [
        (
            "SELECT id, secret FROM repo WHERE secret IS NOT NULL ORDER BY id",
            "UPDATE repo SET secret = $1 WHERE id = $2",
        ),
        (
            "SELECT repo AS id, secret FROM rotation WHERE secret IS NOT NULL ORDER BY repo",
            "UPDATE rotation SET secret = $1 WHERE repo = $2",
        ),
    ] {
        for row in sqlx::query(read).fetch_all(&mut *tx).await? {
            let (id, wrapped): (i64, Vec<u8>) = (row.try_get("id")?, row.try_get("secret")?);
            let failed = |error| RewrapError::Key(format!("the secret of repository {id}"), error);
            unwrap_repo(&wrapped, old).map_err(failed)?;
            if let Some(recipients) = recipients {
                let failed = |error| RewrapError::Key(format!("the secret of repository {id}"), error);
                let wrapped = rewrap_one(&wrapped, old, recipients).map_err(failed)?;
                sqlx::query(write).bind(wrapped).bind(id).execute(&mut *tx).await?;
            }
            count += 1;
        }
    }
    Ok(count)
}

/// The CA's key is longer than a secret.
fn open(name: &str, wrapped: &[u8], old: &Identity) -> Result<(), KeyError> {
    match name {
        "secret" => unwrap(wrapped, old).map(drop),
        _ => strongroom_envelope::open_whole(wrapped, old).map(drop).map_err(|error| match error {
            strongroom_envelope::OpenError::Header(error) => KeyError::Header(error),
            strongroom_envelope::OpenError::Payload(_) => KeyError::Damaged,
        }),
    }
}
