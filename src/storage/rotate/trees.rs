//! Commits, and the nodes below them: the same shape and the same git ids, for directories are cut by a key that stays.

use strongroom_domain::Compartment;

use super::rows::Row;
use super::{RotateError, Rotation, damaged, get};
use crate::catalog::{CatalogError, bytes20};
use crate::check::trees::verified_commit;
use crate::commit::CommitInfo;
use crate::tree::{Entry, FileEntry, Node, NodeId, PartTree};

impl Rotation<'_> {
    /// Commits that are not copied yet, each after everything that it names.
    pub(super) async fn commits(&mut self) -> Result<(), RotateError> {
        let mut after = Vec::new();
        loop {
            let text = "SELECT o.id, o.parent, o.time_ms, o.body_sealed FROM commit_object o WHERE o.repo = $1 AND o.id > $2 \
                        AND NOT EXISTS (SELECT 1 FROM commit_object n WHERE n.repo = $3 AND n.id = o.id) ORDER BY o.id LIMIT 100";
            let rows = sqlx::query(text)
                .bind(self.old.repo.to_vec())
                .bind(after.clone())
                .bind(self.new.repo.to_vec())
                .fetch_all(&self.catalog.database.reader)
                .await
                .map_err(CatalogError::from)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = get(last, "id")?;
            for row in &rows {
                let (id, time_ms): (_, i64) = (bytes20(get(row, "id")?)?, get(row, "time_ms")?);
                let parent = get::<Option<Vec<u8>>>(row, "parent")?.map(bytes20).transpose()?;
                let sealed: Vec<u8> = get(row, "body_sealed")?;
                let body = verified_commit(self.old.repo, self.old.keys.shared, id, Some(parent), time_ms, &sealed);
                let Some(mut body) = body else {
                    return damaged(format!("commit {id} does not open, or is not what it says"));
                };
                for root in &mut body.roots {
                    root.id = self.tree(root.compartment, root.id).await?;
                }
                self.put(Row::Commit(Box::new(CommitInfo { id, parent, time_ms, body }))).await?;
                self.copied.commits += 1;
            }
        }
    }

    /// A node and everything below it; what it is stored under in the copy. Nodes below come first: if we die between, nothing
    /// names what is missing.
    async fn tree(&mut self, compartment: Compartment, top: NodeId) -> Result<NodeId, RotateError> {
        let part = compartment as u8;
        let mut open = vec![top];
        while let Some(id) = open.last().copied() {
            if self.nodes.contains_key(&(part, id)) {
                open.pop();
                continue;
            }
            let (keys, _) = self.old.part(compartment)?;
            let tree = PartTree { catalog: self.catalog, repo: self.old.repo, compartment, keys };
            let node = tree.node(&id).await.map_err(|error| match error {
                CatalogError::Sealed(error) => RotateError::Damaged(format!("a directory of {compartment}: {error}")),
                error => error.into(),
            })?;
            let below = |below: &NodeId| !self.nodes.contains_key(&(part, *below));
            let before = open.len();
            match &node {
                Node::Inner(_, children) => open.extend(children.iter().map(|child| child.id).filter(below)),
                Node::Leaf(entries) => open.extend(entries.iter().filter_map(|(_, entry)| match entry {
                    Entry::Directory(id, _) => Some(*id).filter(below),
                    Entry::File(_) => None,
                })),
            }
            if open.len() == before {
                let anew = self.node(compartment, node).await?;
                self.nodes.insert((part, id), anew);
                open.pop();
            }
        }
        // The loop ends when it is there.
        self.nodes.get(&(part, top)).copied().ok_or_else(|| CatalogError::Value("directory").into())
    }

    /// A node whose nodes below are copied.
    async fn node(&mut self, compartment: Compartment, mut node: Node) -> Result<NodeId, RotateError> {
        let part = compartment as u8;
        let nodes = &self.nodes;
        let anew = |id: &mut NodeId| -> Result<(), CatalogError> {
            *id = *nodes.get(&(part, *id)).ok_or(CatalogError::Value("directory"))?;
            Ok(())
        };
        let mut files: Vec<&mut FileEntry> = Vec::new();
        match &mut node {
            Node::Inner(_, children) => children.iter_mut().try_for_each(|child| anew(&mut child.id))?,
            Node::Leaf(entries) => {
                for (_, entry) in entries {
                    match entry {
                        Entry::Directory(id, _) => anew(id)?,
                        Entry::File(file) => files.push(file),
                    }
                }
            }
        }
        self.files(compartment, files).await?;
        let (keys, _) = self.new.part(compartment)?;
        let tree = PartTree { catalog: self.catalog, repo: self.new.repo, compartment, keys };
        let mut written = Vec::new();
        let child = tree.seal(&node, &mut written)?.ok_or(CatalogError::Value("directory"))?;
        for node in written {
            self.put(Row::Node(node)).await?;
            self.copied.nodes += 1;
        }
        Ok(child.id)
    }
}
