//! Git's object ids (git-scm.com/book/en/v2/Git-Internals-Git-Objects): SHA-1 over `KIND LENGTH\0` and the content.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use strongroom_domain::{Commit, GitBlob, Sha256};

fn id(kind: &str, content: &[u8]) -> [u8; 20] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(format!("{kind} {}\0", content.len()).as_bytes());
    context.update(content);
    let mut id = [0; 20];
    id.copy_from_slice(context.finish().as_ref()); // SHA-1 has 20 bytes
    id
}

/// The id of a blob.
pub fn blob_id(content: &[u8]) -> GitBlob {
    GitBlob::from_bytes(id("blob", content))
}

/// What git itself would store for an LFS object (git-lfs spec, "The Pointer").
pub fn lfs_pointer(oid: &Sha256, size: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
}

/// The id of a tree: entries with their names, whether they are directories, and their ids.
pub(crate) fn tree_id<'a>(entries: impl Iterator<Item = (&'a str, bool, [u8; 20])>) -> [u8; 20] {
    let mut entries: Vec<(Vec<u8>, &str, bool, [u8; 20])> = entries
        .map(|(name, directory, id)| {
            let mut key = name.as_bytes().to_vec();
            if directory {
                // Git sorts a directory as if its name ended in a slash.
                key.push(b'/');
            }
            (key, name, directory, id)
        })
        .collect();
    entries.sort();
    let mut content = Vec::new();
    for (_, name, directory, id) in entries {
        content.extend_from_slice(if directory { b"40000 " } else { b"100644 " });
        content.extend_from_slice(name.as_bytes());
        content.push(0);
        content.extend_from_slice(&id);
    }
    id("tree", &content)
}

/// The id of a commit.
pub(crate) fn commit_id(tree: [u8; 20], parent: Option<Commit>, author: &str, seconds: i64, message: &str) -> Commit {
    let parent = parent.map(|parent| format!("parent {parent}\n")).unwrap_or_default();
    let tree = Commit::from_bytes(tree);
    let who = format!("{author} <{author}@strongroom.invalid> {seconds} +0000");
    let content = format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n\n{message}\n");
    Commit::from_bytes(id("commit", content.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each made with git 2.47: `git hash-object`, `git mktree`, `git commit-tree`.
    #[test]
    fn object_ids_are_those_of_git() {
        assert_eq!(blob_id(b"hello\n").to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(Commit::from_bytes(tree_id([].into_iter())).to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        let blob = *blob_id(b"hello\n").as_bytes();
        let one = tree_id([("a", false, blob)].into_iter());
        // A directory `a` sorts after the file `a.txt`, and before `a0`.
        let sorted = tree_id([("a0", false, blob), ("a", true, one), ("a.txt", false, blob)].into_iter());
        assert_eq!(Commit::from_bytes(sorted).to_string(), include_str!("fixtures/tree-id.txt").trim());
        let commit = commit_id(one, None, "anna", 1_700_000_000, "first");
        assert_eq!(commit.to_string(), include_str!("fixtures/commit-id.txt").trim());
    }
}
