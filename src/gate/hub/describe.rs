//! A repository and its files as clients read them.

use serde_json::{Value, json};
use strongroom_protocol::RepoGrant;
use strongroom_storage::{CommitInfo, FileEntry, Item, lfs_pointer};

use super::date;

/// What an LFS file says beside its size.
fn lfs(file: &FileEntry, digest: &str) -> Value {
    json!({digest: file.sha256.to_string(), "size": file.size, "pointerSize": lfs_pointer(&file.sha256, file.size).len()})
}

/// A line of `tree` and of `paths-info`.
pub fn item(item: &Item) -> Value {
    match item {
        Item::Directory(path, git) => {
            let oid = strongroom_domain::GitBlob::from_bytes(*git);
            json!({"type": "directory", "oid": oid.to_string(), "size": 0, "path": path})
        }
        Item::File(path, _, file) => {
            let mut shown = json!({"type": "file", "oid": file.blob.to_string(), "size": file.size, "path": path});
            if file.lfs {
                shown["lfs"] = lfs(file, "oid");
            }
            shown
        }
    }
}

/// A line of `siblings`.
fn sibling(item: &Item, blobs: bool) -> Option<Value> {
    let Item::File(path, _, file) = item else { return None };
    let mut shown = json!({"rfilename": path});
    if blobs {
        shown["size"] = file.size.into();
        shown["blobId"] = file.blob.to_string().into();
        if file.lfs {
            shown["lfs"] = lfs(file, "sha256");
        }
    }
    Some(shown)
}

/// A repository at a commit.
pub fn repo(
    repo: RepoGrant<'_>,
    commit: &CommitInfo,
    files: Option<&[Item]>,
    card: Option<Value>,
    blobs: bool,
) -> Value {
    let parts = repo.parts();
    let used: u64 = files
        .into_iter()
        .flatten()
        .map(|item| match item {
            Item::File(_, _, file) => file.size,
            Item::Directory(..) => 0,
        })
        .sum();
    let mut shown = json!({
        "_id": commit.id.to_string()[..24],
        "id": parts.name.as_str(),
        "author": parts.name.namespace(),
        "sha": commit.id.to_string(),
        "private": true,
        "gated": false,
        "disabled": false,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "createdAt": date(parts.created_ms),
        "lastModified": date(commit.time_ms),
    });
    if parts.kind == strongroom_domain::RepoKind::Model {
        shown["modelId"] = parts.name.as_str().into();
    }
    if let Some(card) = card {
        super::card::describe(card, &mut shown);
    }
    if let Some(files) = files {
        shown["siblings"] = files.iter().filter_map(|file| sibling(file, blobs)).collect();
        shown["usedStorage"] = used.into();
    }
    shown
}
