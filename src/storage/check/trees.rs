//! Commits, the directories below them, and the files in those.

use std::collections::HashSet;

use sqlx::Row;
use strongroom_domain::{Commit, Compartment};
use strongroom_envelope::{Identity, open_meta};
use strongroom_protocol::MetaKeys;

use super::{Check, CheckKeys, PAGE, SeenObjects};
use crate::catalog::{Catalog, CatalogError, RepoId, bytes20};
use crate::commit::CommitBody;
use crate::git::{commit_id, tree_id};
use crate::objects::ObjectId;
use crate::tree::{Entry, FileEntry, Node, NodeId, PartTree};

/// What was looked at already: a node or an object that many commits share is looked at once.
#[derive(Default)]
struct Seen {
    nodes: HashSet<(u8, NodeId)>,
    objects: SeenObjects,
}

/// A node that is to be looked at: where it is, and git's id for it.
struct Next {
    id: NodeId,
    git: [u8; 20],
    path: String,
}

impl Check<'_> {
    /// All commits and what hangs below them; the objects that were looked at.
    pub(super) async fn trees(&mut self, repo: RepoId, keys: &CheckKeys<'_>) -> Result<SeenObjects, CatalogError> {
        let (mut seen, mut after) = (Seen::default(), Vec::new());
        loop {
            let rows = sqlx::query(
                "SELECT id, parent, time_ms, body_sealed FROM commit_object WHERE repo = $1 AND id > $2 ORDER BY id LIMIT $3",
            )
            .bind(repo.to_vec())
            .bind(after.clone())
            .bind(PAGE)
            .fetch_all(&self.catalog.database.reader)
            .await?;
            let Some(last) = rows.last() else { break };
            after = last.try_get("id")?;
            for row in &rows {
                self.tally.commits += 1;
                let id = bytes20(row.try_get("id")?)?;
                let parent = row.try_get::<Option<Vec<u8>>, _>("parent")?.map(bytes20).transpose();
                let sealed: Vec<u8> = row.try_get("body_sealed")?;
                match verified_commit(repo, keys.shared, id, parent.ok(), row.try_get("time_ms")?, &sealed) {
                    None => self.found(repo, None, None, format!("commit {id} does not open, or is not what it says")),
                    Some(body) => {
                        for root in body.roots {
                            let top = Next { id: root.id, git: root.git, path: String::new() };
                            self.below(repo, keys, (root.compartment, id), top, &mut seen).await?;
                        }
                    }
                }
            }
        }
        self.loose_nodes(repo, keys, &seen).await?;
        Ok(seen.objects)
    }

    /// Everything below a directory's node.
    async fn below(
        &mut self,
        repo: RepoId,
        keys: &CheckKeys<'_>,
        (compartment, commit): (Compartment, Commit),
        top: Next,
        seen: &mut Seen,
    ) -> Result<(), CatalogError> {
        let Some((meta, identity)) = keys.of(compartment) else { return Ok(()) };
        let mut open = vec![top];
        while let Some(Next { id, git, path }) = open.pop() {
            if !seen.nodes.insert((compartment as u8, id)) {
                continue;
            }
            self.tally.nodes += 1;
            let tree = PartTree { catalog: self.catalog, repo, compartment, keys: meta };
            let node = match tree.node(&id).await {
                Ok(node) => node,
                Err(CatalogError::Database(error)) => return Err(CatalogError::Database(error)),
                Err(error) => {
                    if self.has_commit(repo, commit).await? {
                        let shown = if path.is_empty() { "/" } else { &path };
                        let what = format!("a directory of {compartment}, at commit {commit}: {error}");
                        self.found(repo, Some(shown), None, what);
                    }
                    continue;
                }
            };
            if node.git_id() != git {
                self.found(
                    repo,
                    Some(&path),
                    None,
                    format!("a directory of {compartment} is not what its commit says"),
                );
            }
            match node {
                Node::Inner(_, children) => open.extend(children.into_iter().map(|child| Next {
                    id: child.id,
                    git: child.git,
                    path: path.clone(),
                })),
                Node::Leaf(entries) => {
                    for (name, entry) in entries {
                        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                        match entry {
                            Entry::Directory(id, git) => open.push(Next { id, git, path }),
                            Entry::File(file) if seen.objects.insert((compartment as u8, file.object)) => {
                                self.file(repo, (compartment, meta, identity), &path, &file).await?;
                            }
                            Entry::File(_) => {}
                        }
                    }
                }
            }
            self.step();
        }
        Ok(())
    }

    /// A file's envelope and payload, against its entry.
    async fn file(
        &mut self,
        repo: RepoId,
        (compartment, meta, identity): (Compartment, &MetaKeys, &Identity),
        path: &str,
        file: &FileEntry,
    ) -> Result<(), CatalogError> {
        let object = ObjectId(file.object);
        let row = sqlx::query("SELECT header, size FROM envelope WHERE repo = $1 AND compartment = $2 AND object = $3")
            .bind(repo.to_vec())
            .bind(compartment.word())
            .bind(file.object.to_vec())
            .fetch_optional(&self.catalog.database.reader)
            .await?;
        let Some(row) = row else {
            self.found(repo, Some(path), Some(object), "its envelope is missing");
            return Ok(());
        };
        let (header, size): (Vec<u8>, i64) = (row.try_get("header")?, row.try_get("size")?);
        let mut wrong = Vec::new();
        if !file.has_envelope(meta, &header) {
            wrong.push("its envelope is not the one that was committed".to_owned());
        }
        if u64::try_from(size) != Ok(file.size) {
            wrong.push("its envelope's size is not the one that was committed".to_owned());
        }
        match self.object(object, &header, identity, file.size).await {
            Err(what) => wrong.push(what),
            Ok(digest) if digest != file.sha256 => {
                wrong.push("its content is not the one that was committed".to_owned())
            }
            Ok(_) => {}
        }
        if !wrong.is_empty() && self.catalog.names_object(object).await? {
            self.found(repo, Some(path), Some(object), wrong.join("; "));
        }
        Ok(())
    }

    /// Nodes that no commit leads to: they open too.
    async fn loose_nodes(&mut self, repo: RepoId, keys: &CheckKeys<'_>, seen: &Seen) -> Result<(), CatalogError> {
        for (compartment, meta, _) in &keys.compartments {
            let mut after = Vec::new();
            loop {
                let rows = sqlx::query(
                    "SELECT id, body_sealed FROM tree WHERE repo = $1 AND compartment = $2 AND id > $3 ORDER BY id LIMIT $4",
                )
                .bind(repo.to_vec())
                .bind(compartment.word())
                .bind(after.clone())
                .bind(PAGE)
                .fetch_all(&self.catalog.database.reader)
                .await?;
                let Some(last) = rows.last() else { break };
                after = last.try_get("id")?;
                for row in &rows {
                    let id: Vec<u8> = row.try_get("id")?;
                    let id: NodeId = id.try_into().map_err(|_| CatalogError::Value("directory id"))?;
                    if seen.nodes.contains(&(*compartment as u8, id)) {
                        continue;
                    }
                    self.tally.nodes += 1;
                    let tree = PartTree { catalog: self.catalog, repo, compartment: *compartment, keys: meta };
                    if tree.open(&id, &row.try_get::<Vec<u8>, _>("body_sealed")?).is_err() {
                        self.found(
                            repo,
                            None,
                            None,
                            format!("a directory of {compartment} that no commit names does not open"),
                        );
                    }
                }
            }
        }
        Ok(())
    }

    async fn has_commit(&self, repo: RepoId, id: Commit) -> Result<bool, CatalogError> {
        let row = sqlx::query("SELECT id FROM commit_object WHERE repo = $1 AND id = $2")
            .bind(repo.to_vec())
            .bind(id.as_bytes().to_vec())
            .fetch_optional(&self.catalog.database.reader)
            .await?;
        Ok(row.is_some())
    }
}

/// The body of a commit, where all of it is what its id was made of: parent and time are in the clear, and in the id.
pub(crate) fn verified_commit(
    repo: RepoId,
    shared: &MetaKeys,
    id: Commit,
    parent: Option<Option<Commit>>,
    time_ms: i64,
    sealed: &[u8],
) -> Option<CommitBody> {
    let body = open_meta(shared.seal.expose(), &Catalog::place(&repo, &id), sealed).ok()?;
    let body: CommitBody = postcard::from_bytes(&body).ok()?;
    let git = tree_id(body.roots.iter().map(|root| (root.compartment.word(), true, root.git)));
    let made = commit_id(git, parent?, &body.author, time_ms / 1000, &body.text());
    (made == id).then_some(body)
}
