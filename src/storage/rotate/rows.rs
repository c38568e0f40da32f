//! Rows of the copy, written many at a time.

use std::collections::HashMap;

use sqlx::AnyConnection;
use strongroom_database::Lock;
use strongroom_domain::Compartment;

use super::objects::Moved;
use super::{RotateError, Rotation};
use crate::catalog::{CatalogError, RepoId, now_ms};
use crate::close::{WRITES, is_closed};
use crate::commit::{CommitInfo, write_commit, write_tree};
use crate::objects::ObjectId;
use crate::tree::NewTree;

/// Rows, and bytes in them, of one transaction: writers of the server wait for it.
const ROWS_MAX: usize = 128;
const BYTES_MAX: usize = 2 * 1024 * 1024;

/// What waits to be written, in its order: what a row names comes before it.
#[derive(Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    bytes: usize,
    /// Objects among them, by place.
    moved: HashMap<(&'static str, ObjectId), Moved>,
}

/// A row.
pub(super) enum Row {
    /// A node of a directory.
    Node(NewTree),
    /// A commit.
    Commit(Box<CommitInfo>),
    /// An envelope.
    Envelope(Box<Envelope>),
    /// An upload or a xorb.
    Inbox(Box<Inbox>),
}

/// An envelope in its compartment.
pub(super) struct Envelope {
    pub compartment: Compartment,
    pub old: ObjectId,
    pub moved: Moved,
    pub header: Vec<u8>,
    pub size: i64,
    /// By which the content is found, where a directory says what it is.
    pub content: Option<Vec<u8>>,
}

/// An upload or a xorb: the statements of its table, and its columns.
pub(super) struct Inbox {
    pub table: &'static super::inbox::Table,
    pub old_index: Vec<u8>,
    pub old: ObjectId,
    pub index: Vec<u8>,
    pub moved: Moved,
    pub header: Vec<u8>,
    pub claim: Vec<u8>,
    pub size: i64,
    pub created_ms: i64,
}

impl Row {
    fn bytes(&self) -> usize {
        match self {
            Self::Node(node) => node.sealed.len(),
            Self::Commit(commit) => commit.body.message.len(),
            Self::Envelope(envelope) => envelope.header.len(),
            Self::Inbox(inbox) => inbox.claim.len() + inbox.header.len(),
        }
    }

    /// Where its object lies, which object it was, and what became of it.
    fn moved(&self) -> Option<(&'static str, ObjectId, &Moved, i64)> {
        match self {
            Self::Envelope(row) => Some((row.compartment.word(), row.old, &row.moved, row.size)),
            Self::Inbox(row) => Some((row.table.place, row.old, &row.moved, row.size)),
            Self::Node(_) | Self::Commit(_) => None,
        }
    }
}

impl Rotation<'_> {
    pub(super) fn waiting(&self, place: &'static str, object: ObjectId) -> Option<&Moved> {
        self.rows.moved.get(&(place, object))
    }

    /// Adds a row.
    pub(super) async fn put(&mut self, row: Row) -> Result<(), RotateError> {
        self.rows.bytes += row.bytes();
        if let Some((place, object, moved, _)) = row.moved() {
            self.rows.moved.insert((place, object), moved.clone());
            self.copied.headers += 1;
        }
        self.rows.rows.push(row);
        if self.rows.rows.len() >= ROWS_MAX || self.rows.bytes >= BYTES_MAX { self.flush().await } else { Ok(()) }
    }

    /// Writes what waits, in one transaction. Nothing is written to a copy that was dropped.
    pub(super) async fn flush(&mut self) -> Result<(), RotateError> {
        let rows = std::mem::take(&mut self.rows).rows;
        if rows.is_empty() {
            return Ok(());
        }
        // Beside the sweep no upload is copied: it would come back.
        let lock = if rows.iter().any(|row| matches!(row, Row::Inbox(_))) { Lock::Exclusive } else { Lock::Shared };
        let mut tx = self.catalog.database.begin().await.map_err(CatalogError::from)?;
        self.catalog.database.lock_at(&mut tx, WRITES, lock).await.map_err(CatalogError::from)?;
        if is_closed(&mut tx, &self.new.repo).await? {
            return Err(CatalogError::Closed.into());
        }
        for row in &rows {
            self.write(&mut tx, row).await?;
        }
        tx.commit().await.map_err(CatalogError::from)?;
        self.step();
        Ok(())
    }

    async fn write(&self, tx: &mut AnyConnection, row: &Row) -> Result<(), CatalogError> {
        let repo = self.new.repo;
        match row {
            Row::Node(node) => return write_tree(tx, repo, node).await,
            Row::Commit(commit) => return write_commit(tx, repo, self.new.keys.shared, commit).await,
            Row::Envelope(envelope) => write_envelope(&mut *tx, repo, envelope).await?,
            Row::Inbox(inbox) if !self.write_inbox(&mut *tx, inbox).await? => return Ok(()),
            Row::Inbox(_) => {}
        }
        let Some((place, object, moved, size)) = row.moved() else { return Ok(()) };
        sqlx::query(
            "INSERT INTO rotated (repo, place, object, anew, size, mac, proof) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (repo, place, object) DO UPDATE SET anew = excluded.anew, mac = excluded.mac, proof = excluded.proof",
        )
        .bind(repo.to_vec())
        .bind(place)
        .bind(object.0.to_vec())
        .bind(moved.anew.0.to_vec())
        .bind(size)
        .bind(moved.mac.to_vec())
        .bind(moved.proof.to_vec())
        .execute(tx)
        .await?;
        Ok(())
    }

    /// Writes an upload, unless the sweep took it meanwhile: then a payload that was written for it is an orphan.
    async fn write_inbox(&self, tx: &mut AnyConnection, row: &Inbox) -> Result<bool, CatalogError> {
        let there = sqlx::query(row.table.look).bind(self.old.repo.to_vec()).bind(row.old_index.clone());
        if there.fetch_optional(&mut *tx).await?.is_none() {
            if row.moved.anew != row.old {
                sqlx::query("INSERT INTO orphan (object, since_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                    .bind(row.moved.anew.0.to_vec())
                    .bind(now_ms())
                    .execute(tx)
                    .await?;
            }
            return Ok(false);
        }
        sqlx::query(row.table.insert)
            .bind(self.new.repo.to_vec())
            .bind(row.index.clone())
            .bind(row.moved.anew.0.to_vec())
            .bind(row.header.clone())
            .bind(row.claim.clone())
            .bind(row.size)
            .bind(row.created_ms)
            .execute(tx)
            .await?;
        Ok(true)
    }
}

async fn write_envelope(tx: &mut AnyConnection, repo: RepoId, row: &Envelope) -> Result<(), CatalogError> {
    let (part, object) = (row.compartment.word(), row.moved.anew.0.to_vec());
    sqlx::query(
        "INSERT INTO envelope (repo, compartment, object, header, size) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (repo, compartment, object) DO UPDATE SET header = excluded.header",
    )
    .bind(repo.to_vec())
    .bind(part)
    .bind(object.clone())
    .bind(row.header.clone())
    .bind(row.size)
    .execute(&mut *tx)
    .await?;
    let Some(content) = &row.content else { return Ok(()) };
    sqlx::query(
        "INSERT INTO content (repo, compartment, digest_index, object) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(repo.to_vec())
    .bind(part)
    .bind(content.clone())
    .bind(object)
    .execute(tx)
    .await?;
    Ok(())
}
