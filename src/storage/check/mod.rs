//! Everything that the catalogue names, held against what is stored: every reference, commit, node, envelope and payload.
//! Nothing is repaired, and nothing written.
//!
//! A server may be at work beside it: rows and payloads never change, they only come and go. So nothing needs to stand still;
//! what seems damaged is looked for once more, and is none where it is no longer named. Memory holds one node, one run of
//! chunks, and of one repository 33 bytes for each node and 17 for each object.

mod inbox;
pub(crate) mod payload;
pub(crate) mod trees;

use std::collections::HashSet;

use sqlx::Row;
use strongroom_domain::Compartment;
use strongroom_envelope::{Identity, open_meta};
use strongroom_protocol::MetaKeys;

use crate::catalog::{BATCH, Catalog, CatalogError, RepoId};
use crate::objects::{ObjectId, Objects};

/// The keys of one repository.
pub struct CheckKeys<'a> {
    /// Of branch names and commits.
    pub shared: &'a MetaKeys,
    /// Of uploads.
    pub inbox: (&'a MetaKeys, &'a Identity),
    /// Of each compartment.
    pub compartments: Vec<(Compartment, &'a MetaKeys, &'a Identity)>,
}

impl CheckKeys<'_> {
    pub(crate) fn of(&self, compartment: Compartment) -> Option<(&MetaKeys, &Identity)> {
        let found = self.compartments.iter().find(|(other, ..)| *other == compartment);
        found.map(|(_, meta, identity)| (*meta, *identity))
    }
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// In which repository.
    pub repo: RepoId,
    /// The file or directory, where it can be told.
    pub path: Option<String>,
    /// The payload's name, where it is about one.
    pub object: Option<ObjectId>,
    /// What is wrong.
    pub what: String,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Branches and tags.
    pub refs: u64,
    /// Commits.
    pub commits: u64,
    /// Nodes of directories.
    pub nodes: u64,
    /// Payloads, each with its envelope; those of uploads too.
    pub objects: u64,
    /// Bytes of plaintext in them.
    pub bytes: u64,
    /// Things that are damaged.
    pub damaged: u64,
}

/// A check under way.
pub struct Check<'a> {
    catalog: &'a Catalog,
    objects: &'a Objects,
    /// What was looked at until now.
    pub tally: Tally,
    /// What is damaged.
    pub damage: Vec<Damage>,
    progress: &'a mut dyn FnMut(&Tally),
}

/// Objects that were looked at, by compartment.
type SeenObjects = HashSet<(u8, [u8; 16])>;

/// Rows that are read at once.
const PAGE: i64 = 500;

fn object_id(bytes: Vec<u8>) -> Result<ObjectId, CatalogError> {
    bytes.try_into().map(ObjectId).map_err(|_| CatalogError::Value("object id"))
}

impl<'a> Check<'a> {
    /// Begins; `progress` is called after each object and node.
    pub fn new(catalog: &'a Catalog, objects: &'a Objects, progress: &'a mut dyn FnMut(&Tally)) -> Self {
        Self { catalog, objects, tally: Tally::default(), damage: Vec::new(), progress }
    }

    /// Everything of one repository.
    ///
    /// # Errors
    /// [`CatalogError`] where the database does not answer; whatever is damaged is in [`Check::damage`].
    pub async fn repo(&mut self, repo: RepoId, keys: &CheckKeys<'_>) -> Result<(), CatalogError> {
        self.refs(repo, keys).await?;
        let objects = self.trees(repo, keys).await?;
        self.unnamed_envelopes(repo, keys, &objects).await?;
        self.inbox(repo, keys.inbox, &objects).await
    }

    fn step(&mut self) {
        (self.progress)(&self.tally);
    }

    fn found(&mut self, repo: RepoId, path: Option<&str>, object: Option<ObjectId>, what: impl Into<String>) {
        self.tally.damaged += 1;
        self.damage.push(Damage { repo, path: path.map(str::to_owned), object, what: what.into() });
    }

    async fn refs(&mut self, repo: RepoId, keys: &CheckKeys<'_>) -> Result<(), CatalogError> {
        let rows = sqlx::query(
            "SELECT r.name_index, r.name_sealed, c.id FROM ref r LEFT JOIN commit_object c ON c.repo = r.repo \
             AND c.id = r.target WHERE r.repo = $1",
        )
        .bind(repo.to_vec())
        .fetch_all(&self.catalog.database.reader)
        .await?;
        for row in rows {
            self.tally.refs += 1;
            let (index, sealed): (Vec<u8>, Vec<u8>) = (row.try_get("name_index")?, row.try_get("name_sealed")?);
            let name = open_meta(keys.shared.seal.expose(), &[b"ref", &repo, &index], &sealed);
            let name = name.ok().and_then(|name| String::from_utf8(name.to_vec()).ok());
            let name = name.filter(|name| Catalog::ref_index(keys.shared, name) == index);
            match (name, row.try_get::<Option<Vec<u8>>, _>("id")?) {
                (None, _) => self.found(repo, None, None, "a branch or tag does not open"),
                (Some(name), None) => {
                    self.found(repo, None, None, format!("the branch or tag {name} names no commit"));
                }
                (Some(_), Some(_)) => {}
            }
        }
        Ok(())
    }
}

impl Catalog {
    /// The repositories that anything is stored of.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn repos(&self) -> Result<HashSet<RepoId>, CatalogError> {
        let rows = sqlx::query(
            "SELECT repo FROM ref UNION SELECT repo FROM commit_object UNION SELECT repo FROM tree \
             UNION SELECT repo FROM envelope UNION SELECT repo FROM upload UNION SELECT repo FROM xorb",
        )
        .fetch_all(&self.database.reader)
        .await?;
        let id = |bytes: Vec<u8>| bytes.try_into().map_err(|_| CatalogError::Value("repository id"));
        rows.iter().map(|row| id(row.try_get("repo")?)).collect()
    }

    /// Whether anything names a payload: a repository may be deleted while it is looked at.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn names_object(&self, object: ObjectId) -> Result<bool, CatalogError> {
        Ok(self.unnamed_of(&[object]).await?.is_empty())
    }

    /// Payloads that nothing names: how many. Uploads under way are among them.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn count_orphans(&self, objects: &Objects) -> Result<u64, CatalogError> {
        let stored: Vec<ObjectId> = objects.list().await?.into_iter().map(|(object, _)| object).collect();
        let mut orphans = 0;
        for batch in stored.chunks(BATCH) {
            orphans += self.unnamed_of(batch).await?.len() as u64;
        }
        Ok(orphans)
    }
}
