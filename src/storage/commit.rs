//! Commits: an id as git makes it over one root for each compartment, a sealed message, and the moves of a branch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row};
use strongroom_domain::{Commit, Compartment, RepoPath, Sha256};
use strongroom_envelope::{keyed_hash, open_meta, seal_meta};
use strongroom_protocol::MetaKeys;

use crate::cache::{Place as CachePlace, Sealed};
use crate::catalog::{Catalog, CatalogError, RepoId, bytes20, now_ms};
use crate::git::{commit_id, tree_id};
use crate::objects::ObjectId;
use crate::quota::{Quota, count_object};
use crate::tree::{Changes, FileEntry, NewTree, PartTree};

/// The top directory of a compartment: the id it is stored under, and git's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Of which compartment.
    pub compartment: Compartment,
    /// Its top node is stored under.
    pub id: [u8; 32],
    /// Git's id.
    pub git: [u8; 20],
}

/// What of a commit is sealed with the keys that a whole repository shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitBody {
    /// First line.
    pub title: String,
    /// The rest.
    pub message: String,
    /// The principal.
    pub author: String,
    /// One for each compartment that holds anything.
    pub roots: Vec<Root>,
}

impl CommitBody {
    /// The root of a compartment.
    pub fn root(&self, compartment: Compartment) -> Option<&[u8; 32]> {
        self.roots.iter().find(|root| root.compartment == compartment).map(|root| &root.id)
    }

    /// Title and message as git keeps them.
    pub(crate) fn text(&self) -> String {
        if self.message.is_empty() { self.title.clone() } else { format!("{}\n\n{}", self.title, self.message) }
    }
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// 40 hex digits.
    pub id: Commit,
    /// The one before.
    pub parent: Option<Commit>,
    /// Unix milliseconds.
    pub time_ms: i64,
    /// The rest.
    pub body: CommitBody,
}

/// Where a file's content is to be found once the commit stands.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The compartment that its path selects.
    pub compartment: Compartment,
    /// The tree entry.
    pub file: FileEntry,
    /// The envelope for that compartment, where it has none yet.
    pub header: Option<Vec<u8>>,
}

/// One line of a commit.
#[derive(Debug, Clone)]
pub enum Operation {
    /// This file, here.
    Put(RepoPath, Box<Placed>),
    /// No file here, nor a directory.
    Delete(RepoPath),
}

impl Catalog {
    pub(crate) fn place<'a>(repo: &'a RepoId, id: &'a Commit) -> [&'a [u8]; 3] {
        [b"commit", repo, id.as_bytes()]
    }

    /// Reads a commit.
    ///
    /// # Errors
    /// [`CatalogError`]; also where it is missing.
    pub async fn commit(&self, repo: RepoId, shared: &MetaKeys, id: Commit) -> Result<CommitInfo, CatalogError> {
        let place = CachePlace::commit(repo, id);
        let sealed = match self.cache.get(&place) {
            Some(sealed) => sealed,
            None => {
                let text = "SELECT parent, time_ms, body_sealed FROM commit_object WHERE repo = $1 AND id = $2";
                let query = || sqlx::query(text).bind(repo.to_vec()).bind(id.as_bytes().to_vec());
                let row = self.database.read_one(query).await?;
                let row = row.ok_or(CatalogError::Value("commit"))?;
                let parent = row.try_get::<Option<Vec<u8>>, _>("parent")?.map(bytes20).transpose()?;
                let commit = Some((parent, row.try_get("time_ms")?));
                self.cache.put(place, Sealed { body: row.try_get("body_sealed")?, commit })
            }
        };
        let body = open_meta(shared.seal.expose(), &Self::place(&repo, &id), &sealed.body)?;
        let (parent, time_ms) = sealed.commit.ok_or(CatalogError::Value("commit"))?;
        let body = postcard::from_bytes(&body).map_err(|_| CatalogError::Value("commit"))?;
        Ok(CommitInfo { id, parent, time_ms, body })
    }

    /// Makes a commit over a parent and, where `branch` is named, moves that branch from the parent to it. One
    /// transaction: if we die inside, nothing is there but payloads, which the sweep finds.
    ///
    /// `record` is called with the id, the compartments that change and the time of the commit (Unix milliseconds), before
    /// anything becomes visible.
    ///
    /// # Errors
    /// [`CatalogError::Moved`] where the branch is not at the parent any more; [`CatalogError::OverQuota`].
    #[expect(clippy::too_many_arguments, reason = "each is a part of one commit")]
    pub async fn make_commit<E: From<CatalogError>>(
        &self,
        repo: RepoId,
        shared: &MetaKeys,
        keys: &BTreeMap<Compartment, MetaKeys>,
        parent: Option<&CommitInfo>,
        branch: &str,
        operations: &[Operation],
        quota: Quota,
        about: (&str, &str, &str),
        record: impl AsyncFnOnce(Commit, Vec<Compartment>, i64) -> Result<(), E>,
    ) -> Result<Commit, E> {
        let mut written = Vec::new();
        let mut roots = Vec::new();
        let mut changed = Vec::new();
        for compartment in Compartment::ALL {
            let old = parent.and_then(|parent| parent.body.roots.iter().find(|root| root.compartment == compartment));
            // A compartment that the committer may not see stays as it is, by its id alone.
            let Some(part) = keys.get(&compartment) else {
                roots.extend(old.cloned());
                continue;
            };
            let tree = PartTree { catalog: self, repo, compartment, keys: part };
            let changes = changes(compartment, operations);
            let new = tree.apply(old.map(|root| (root.id, root.git)), &changes, &mut written).await?;
            let new = new.map(|(id, git)| Root { compartment, id, git });
            if new.as_ref() != old {
                changed.push(compartment);
            }
            roots.extend(new);
        }
        if changed.is_empty()
            && let Some(parent) = parent
        {
            return Ok(parent.id);
        }
        let (title, message, author) = about;
        let time_ms = now_ms();
        let git = tree_id(roots.iter().map(|root| (root.compartment.word(), true, root.git)));
        let body =
            CommitBody { title: title.to_owned(), message: message.to_owned(), author: author.to_owned(), roots };
        let id = commit_id(git, parent.map(|parent| parent.id), author, time_ms / 1000, &body.text());
        record(id, changed, time_ms).await?;
        let commit = CommitInfo { id, parent: parent.map(|parent| parent.id), time_ms, body };
        self.land(repo, shared, keys, &commit, branch, operations, quota, &written).await?;
        Ok(id)
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of one commit")]
    async fn land(
        &self,
        repo: RepoId,
        shared: &MetaKeys,
        keys: &BTreeMap<Compartment, MetaKeys>,
        commit: &CommitInfo,
        branch: &str,
        operations: &[Operation],
        quota: Quota,
        trees: &[NewTree],
    ) -> Result<(), CatalogError> {
        let mut tx = self.begin_write(repo).await?;
        for tree in trees {
            write_tree(&mut tx, repo, tree).await?;
        }
        for operation in operations {
            if let Operation::Put(_, placed) = operation
                && let Some(part) = keys.get(&placed.compartment)
            {
                write_envelope(&mut tx, repo, part, placed, quota).await?;
            }
        }
        write_commit(&mut tx, repo, shared, commit).await?;
        let index = Self::ref_index(shared, branch);
        match commit.parent {
            Some(parent) => {
                let moved =
                    sqlx::query("UPDATE ref SET target = $1 WHERE repo = $2 AND name_index = $3 AND target = $4")
                        .bind(commit.id.as_bytes().to_vec())
                        .bind(repo.to_vec())
                        .bind(index)
                        .bind(parent.as_bytes().to_vec())
                        .execute(&mut *tx)
                        .await?;
                if moved.rows_affected() != 1 {
                    return Err(CatalogError::Moved);
                }
            }
            None => {
                let sealed = seal_meta(shared.seal.expose(), &[b"ref", &repo, &index], branch.as_bytes());
                sqlx::query(
                    "INSERT INTO ref (repo, name_index, kind, name_sealed, target) VALUES ($1, $2, 'branch', $3, $4)",
                )
                .bind(repo.to_vec())
                .bind(index)
                .bind(sealed.map_err(|_| CatalogError::Randomness)?)
                .bind(commit.id.as_bytes().to_vec())
                .execute(&mut *tx)
                .await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// A commit, made at `time_ms`, with the tree of another and no history, and the branch moved to it.
    ///
    /// # Errors
    /// [`CatalogError::Moved`].
    pub async fn squash(
        &self,
        repo: RepoId,
        shared: &MetaKeys,
        branch: &str,
        head: &CommitInfo,
        about: (&str, &str),
        time_ms: i64,
    ) -> Result<Commit, CatalogError> {
        let (title, author) = about;
        let git = tree_id(head.body.roots.iter().map(|root| (root.compartment.word(), true, root.git)));
        let id = commit_id(git, None, author, time_ms / 1000, title);
        let body = CommitBody {
            title: title.to_owned(),
            message: String::new(),
            author: author.to_owned(),
            roots: head.body.roots.clone(),
        };
        let commit = CommitInfo { id, parent: None, time_ms, body };
        let mut tx = self.begin_write(repo).await?;
        write_commit(&mut tx, repo, shared, &commit).await?;
        tx.commit().await?;
        self.move_ref(repo, shared, branch, head.id, id).await?;
        Ok(id)
    }

    /// The object in a compartment with this content.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn content(
        &self,
        repo: RepoId,
        compartment: Compartment,
        keys: &MetaKeys,
        digest: &Sha256,
    ) -> Result<Option<(ObjectId, Vec<u8>, u64)>, CatalogError> {
        let index = content_index(keys, digest);
        let query = || {
            sqlx::query(
                "SELECT e.object, e.header, e.size FROM content c JOIN envelope e \
                 ON e.repo = c.repo AND e.compartment = c.compartment AND e.object = c.object \
                 WHERE c.repo = $1 AND c.compartment = $2 AND c.digest_index = $3",
            )
            .bind(repo.to_vec())
            .bind(compartment.word())
            .bind(index.clone())
        };
        let row = self.database.read_one(query).await?;
        let Some(row) = row else { return Ok(None) };
        let object: Vec<u8> = row.try_get("object")?;
        let object = object.try_into().map(ObjectId).map_err(|_| CatalogError::Value("object id"))?;
        Ok(Some((object, row.try_get("header")?, row.try_get::<i64, _>("size")? as u64)))
    }

    /// The envelope of an object in a compartment.
    ///
    /// # Errors
    /// [`CatalogError`]; also where it is missing: it was shredded.
    pub async fn envelope(
        &self,
        repo: RepoId,
        compartment: Compartment,
        object: ObjectId,
    ) -> Result<Vec<u8>, CatalogError> {
        let query = || {
            sqlx::query("SELECT header FROM envelope WHERE repo = $1 AND compartment = $2 AND object = $3")
                .bind(repo.to_vec())
                .bind(compartment.word())
                .bind(object.0.to_vec())
        };
        let row = self.database.read_one(query).await?;
        Ok(row.ok_or(CatalogError::Value("envelope"))?.try_get("header")?)
    }
}

pub(crate) fn content_index(keys: &MetaKeys, digest: &Sha256) -> Vec<u8> {
    keyed_hash(keys.index.expose(), &[b"content", digest.as_bytes()])[..16].to_vec()
}

/// What the operations mean in one compartment, in their order: a path put into another leaves this one.
fn changes(compartment: Compartment, operations: &[Operation]) -> Changes {
    let mut changes = Changes::default();
    for operation in operations {
        match operation {
            Operation::Put(path, placed) if placed.compartment == compartment => changes.put(path, placed.file.clone()),
            Operation::Put(path, _) => changes.remove_file(path),
            Operation::Delete(path) => changes.remove(path),
        }
    }
    changes
}

pub(crate) async fn write_tree(tx: &mut AnyConnection, repo: RepoId, tree: &NewTree) -> Result<(), CatalogError> {
    sqlx::query("INSERT INTO tree (repo, compartment, id, body_sealed) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
        .bind(repo.to_vec())
        .bind(tree.compartment.word())
        .bind(tree.id.to_vec())
        .bind(tree.sealed.clone())
        .execute(tx)
        .await?;
    Ok(())
}

async fn write_envelope(
    tx: &mut AnyConnection,
    repo: RepoId,
    keys: &MetaKeys,
    placed: &Placed,
    quota: Quota,
) -> Result<(), CatalogError> {
    let Some(header) = &placed.header else { return Ok(()) };
    count_object(&mut *tx, repo, quota, ObjectId(placed.file.object), placed.file.size).await?;
    let (part, object) = (placed.compartment.word(), placed.file.object.to_vec());
    sqlx::query(
        "INSERT INTO envelope (repo, compartment, object, header, size) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (repo, compartment, object) DO UPDATE SET header = excluded.header",
    )
    .bind(repo.to_vec())
    .bind(part)
    .bind(object.clone())
    .bind(header.clone())
    .bind(placed.file.size as i64)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO content (repo, compartment, digest_index, object) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(repo.to_vec())
    .bind(part)
    .bind(content_index(keys, &placed.file.sha256))
    .bind(object)
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn write_commit(
    tx: &mut AnyConnection,
    repo: RepoId,
    shared: &MetaKeys,
    commit: &CommitInfo,
) -> Result<(), CatalogError> {
    // Postcard into a growing vector fails for no value of these types.
    let body = postcard::to_stdvec(&commit.body).expect("plain values");
    let sealed = seal_meta(shared.seal.expose(), &Catalog::place(&repo, &commit.id), &body);
    sqlx::query(
        "INSERT INTO commit_object (repo, id, parent, time_ms, body_sealed) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT DO NOTHING",
    )
    .bind(repo.to_vec())
    .bind(commit.id.as_bytes().to_vec())
    .bind(commit.parent.map(|parent| parent.as_bytes().to_vec()))
    .bind(commit.time_ms)
    .bind(sealed.map_err(|_| CatalogError::Randomness)?)
    .execute(tx)
    .await?;
    Ok(())
}
