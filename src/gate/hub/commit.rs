//! `POST …/commit/{rev}`: NDJSON lines, taken one at a time, then one move of the branch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json as value;
use strongroom_domain::{Compartment, RepoPath, Sha256};
use strongroom_protocol::{Grant, ObjectRef, RepoParts};
use strongroom_storage::{
    CatalogError, CommitInfo, FileEntry, ObjectId, Operation, Placed, RefKind, blob_id, lfs_pointer,
};

use super::{facts, keys, view};
use crate::call::Call;
use crate::gate::Gate;
use crate::intake::{check_room, quota, receive};
use crate::refused::Refused;
use crate::routes::{Answer, json};

/// Bytes of one line: a small file in base64, with room for what older clients send.
const LINE_MAX: usize = 24 * 1024 * 1024;
/// Lines of a commit.
const LINES_MAX: usize = 25_000;
/// Bytes of title and description.
const TITLE_MAX: usize = 1024;
const MESSAGE_MAX: usize = 64 * 1024;
/// Times a commit without a parent is made again on a branch that moved.
const ATTEMPTS: usize = 20;

#[derive(Deserialize)]
#[serde(tag = "key", content = "value", rename_all = "camelCase")]
enum Line {
    Header(Header),
    File(File),
    LfsFile(LfsFile),
    DeletedFile(Deleted),
    DeletedFolder(Deleted),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    summary: String,
    #[serde(default)]
    description: String,
    parent_commit: Option<String>,
}

#[derive(Deserialize)]
struct File {
    path: String,
    content: String,
    #[serde(default)]
    encoding: Option<String>,
}

#[derive(Deserialize)]
struct LfsFile {
    path: String,
    oid: String,
    algo: Option<String>,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Deleted {
    path: String,
}

/// A line that needs nothing more of the client.
enum Wanted {
    Small(RepoPath, Box<Placed>),
    Large(RepoPath, Sha256, Option<u64>),
    Delete(RepoPath),
}

impl Wanted {
    fn path(&self) -> &RepoPath {
        match self {
            Self::Small(path, _) | Self::Large(path, ..) | Self::Delete(path) => path,
        }
    }
}

/// The body, line by line.
struct Lines {
    pending: Vec<u8>,
    searched: usize,
    ended: bool,
}

impl Lines {
    async fn next(&mut self, call: &mut Call) -> Result<Option<Vec<u8>>, Refused> {
        loop {
            if let Some(end) = self.pending[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.pending.split_off(self.searched + end + 1);
                let mut line = std::mem::replace(&mut self.pending, rest);
                self.searched = 0;
                line.pop();
                return Ok(Some(line));
            }
            self.searched = self.pending.len();
            if self.searched > LINE_MAX {
                return Err(Refused::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "a line is too long: send this file as a large one",
                ));
            }
            match call.piece().await? {
                Some(piece) => self.pending.extend_from_slice(&piece),
                None if self.ended || self.pending.is_empty() => return Ok(None),
                None => {
                    self.ended = true;
                    self.searched = 0;
                    return Ok(Some(std::mem::take(&mut self.pending)));
                }
            }
        }
    }
}

/// Makes the commit.
///
/// # Errors
/// 400, 403, 404, 412.
pub async fn post(gate: Arc<Gate>, mut call: Call) -> Answer {
    let revision = call.revision()?;
    if call.flag("create_pr") {
        return Err(Refused::new(StatusCode::NOT_FOUND, "this server has no pull requests: commit to a branch"));
    }
    let grant = call.authorize_repo(&gate, Some(&revision), None).await?;
    let repo = grant.repo()?;
    let parts = repo.parts();
    let branch = revision.short().to_owned();
    let found = gate.catalog.find_ref(parts.id, &parts.shared, &branch).await?;
    let branch_head = found.filter(|held| held.kind == RefKind::Branch).ok_or_else(Refused::revision)?;
    let (header, wanted) = read(&gate, &mut call, &grant).await?;
    gate.keeper.named(&grant, wanted.iter().map(|wanted| wanted.path().to_string())).await?;
    let operations = place(&gate, &grant, wanted).await?;
    let keys = keys(&grant)?;
    let about = (header.summary.as_str(), header.description.as_str(), grant.parts().principal.as_str());
    let mut head = branch_head.target;
    // Said once, however often the branch moves meanwhile: coverage is a part of what was ever committed.
    let adds = Mutex::new(added(&operations));
    for _ in 0..ATTEMPTS {
        if let Some(parent) = &header.parent_commit
            && !head.to_string().starts_with(parent.as_str())
        {
            return Err(Refused::moved());
        }
        let parent = gate.catalog.commit(parts.id, &parts.shared, head).await?;
        check_deletions(&gate, &grant, &parent, &operations).await?;
        let record = async |id: strongroom_domain::Commit, changed: Vec<Compartment>, time_ms: i64| {
            let moved_ms = (branch == "main").then_some(time_ms);
            let mut adds = std::mem::take(&mut *adds.lock().unwrap_or_else(PoisonError::into_inner));
            adds.retain(|part, _| changed.contains(part));
            let about = (branch.clone(), id.to_string());
            let recorded = gate.keeper.committed(&grant, about, changed, adds, moved_ms).await;
            recorded.map_err(Made::Refused)
        };
        let made = gate
            .catalog
            .make_commit(
                parts.id,
                &parts.shared,
                &keys,
                Some(&parent),
                &branch,
                &operations,
                quota(parts),
                about,
                record,
            )
            .await;
        match made {
            Ok(id) => {
                let url = format!("{}/{}{}/commit/{id}", call.base, parts.kind.url_prefix(), parts.name);
                return Ok(json(&value!({
                    "success": true, "commitOid": id.to_string(), "commitUrl": url, "hookOutput": "",
                })));
            }
            Err(Made::Catalog(CatalogError::Moved | CatalogError::Taken)) => {
                let now = gate.catalog.find_ref(parts.id, &parts.shared, &branch).await?;
                head = now.ok_or_else(Refused::revision)?.target;
            }
            Err(Made::Catalog(error)) => return Err(error.into()),
            Err(Made::Refused(refusal)) => return Err(refusal.into()),
        }
    }
    Err(Refused::moved())
}

/// Bytes that are new in each compartment: those that come with an envelope of their own.
pub fn added(operations: &[Operation]) -> BTreeMap<Compartment, u64> {
    let mut added = BTreeMap::new();
    for operation in operations {
        if let Operation::Put(_, placed) = operation
            && placed.header.is_some()
        {
            *added.entry(placed.compartment).or_default() += placed.file.size;
        }
    }
    added
}

/// Why a commit was not made.
enum Made {
    Catalog(CatalogError),
    Refused(strongroom_protocol::Refusal),
}

impl From<CatalogError> for Made {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

/// Reads all lines; small files are sealed as they come, so that one of them is held at a time.
async fn read(gate: &Gate, call: &mut Call, grant: &Grant) -> Result<(Header, Vec<Wanted>), Refused> {
    let mut lines = Lines { pending: Vec::new(), searched: 0, ended: false };
    let mut header = None;
    let mut wanted = Vec::new();
    let mut count = 0;
    while let Some(line) = lines.next(call).await? {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        count += 1;
        let at = |what: &dyn std::fmt::Display| Refused::bad(format!("line {count}: {what}"));
        if count > LINES_MAX {
            return Err(Refused::bad(format!("a commit has at most {LINES_MAX} lines")));
        }
        let line: Line = serde_json::from_slice(&line).map_err(|error| at(&error))?;
        match (line, &header) {
            (Line::Header(value), None) => {
                let long = value.summary.len() > TITLE_MAX || value.description.len() > MESSAGE_MAX;
                let parent = value.parent_commit.as_deref().unwrap_or("00000");
                let hex =
                    (5..=40).contains(&parent.len()) && parent.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if value.summary.trim().is_empty() || long || value.summary.contains('\n') || !hex {
                    return Err(at(
                        &"a header has a one-line summary and, where given, a parentCommit of 5 to 40 hex digits",
                    ));
                }
                header = Some(value);
            }
            (Line::Header(_), Some(_)) | (_, None) => return Err(at(&"the first line, and only it, is the header")),
            (Line::File(file), _) => {
                if file.encoding.as_deref().is_some_and(|encoding| encoding != "base64" && encoding != "utf-8") {
                    return Err(at(&"an encoding is 'base64' or 'utf-8'"));
                }
                let content = match file.encoding.as_deref() {
                    Some("utf-8") => file.content.into_bytes(),
                    _ => STANDARD.decode(&file.content).map_err(|_| at(&"the content is not base64"))?,
                };
                let path: RepoPath = file.path.parse()?;
                wanted.push(Wanted::Small(path.clone(), Box::new(small(gate, grant, &path, &content).await?)));
            }
            (Line::LfsFile(file), _) => {
                if file.algo.as_deref().is_some_and(|algo| algo != "sha256") {
                    return Err(at(&"the algorithm of an LFS file is sha256"));
                }
                let oid = file.oid.parse().map_err(|error| at(&error))?;
                wanted.push(Wanted::Large(file.path.parse()?, oid, file.size));
            }
            (Line::DeletedFile(file) | Line::DeletedFolder(file), _) => {
                wanted.push(Wanted::Delete(file.path.trim_end_matches('/').parse()?));
            }
        }
    }
    let mut paths = std::collections::HashSet::new();
    for path in wanted.iter().filter_map(|wanted| match wanted {
        Wanted::Small(path, _) | Wanted::Large(path, ..) => Some(path),
        Wanted::Delete(_) => None,
    }) {
        if !paths.insert(path.clone()) {
            return Err(Refused::bad("the same path twice in one commit"));
        }
    }
    Ok((header.ok_or_else(|| Refused::bad("a commit begins with a header line"))?, wanted))
}

fn forbidden(compartment: Compartment) -> Refused {
    Refused::new(StatusCode::FORBIDDEN, format!("this needs the right to write {compartment}"))
}

async fn small(gate: &Gate, grant: &Grant, path: &RepoPath, content: &[u8]) -> Result<Placed, Refused> {
    let compartment = gate.compartment(path);
    let part = grant.repo()?.part(compartment).ok_or_else(|| forbidden(compartment))?;
    check_room(gate, grant.repo()?.parts(), content.len() as u64).await?;
    let received = receive(gate, &part.recipient, content).await?;
    let file = FileEntry {
        object: received.object.0,
        size: received.size,
        sha256: received.sha256,
        blob: blob_id(content),
        lfs: false,
        envelope_mac: FileEntry::mac(&part.keys, received.object, &received.header),
        facts: facts::of(path, content),
    };
    Ok(Placed { compartment, file, header: Some(received.header) })
}

/// Headers that the keeper is given at once: with the longest paths they fit a frame.
const REWRAP_AT_ONCE: usize = 2048;

/// Finds the bytes of large files: already in the compartment, in the inbox by this principal, or in a compartment that
/// this principal reads and writes, which the keeper then counts as reading. What is named by hash alone, and was never sent
/// here, is not linked.
async fn place(gate: &Gate, grant: &Grant, wanted: Vec<Wanted>) -> Result<Vec<Operation>, Refused> {
    let repo = grant.repo()?;
    let parts = repo.parts();
    let mut operations = Vec::with_capacity(wanted.len());
    let (mut moved, mut envelopes) = (Vec::new(), Vec::new());
    for wanted in wanted {
        let (path, oid, size) = match wanted {
            Wanted::Small(path, placed) => {
                operations.push(Operation::Put(path, placed));
                continue;
            }
            Wanted::Delete(path) => {
                operations.push(Operation::Delete(path));
                continue;
            }
            Wanted::Large(path, oid, size) => (path, oid, size),
        };
        let compartment = gate.compartment(&path);
        let part = repo.part(compartment).ok_or_else(|| forbidden(compartment))?;
        let here = gate.catalog.content(parts.id, compartment, &part.keys, &oid).await?;
        let (object, header, length, from) = match here {
            Some((object, header, length)) => (object, header, length, Some(compartment)),
            None => find(gate, grant, &oid, &[compartment]).await?.ok_or_else(|| unknown(&oid))?,
        };
        if size.is_some_and(|size| size != length) {
            return Err(Refused::bad(format!("the object {oid} has another size")));
        }
        let pointer = lfs_pointer(&oid, length);
        let file = FileEntry {
            object: object.0,
            size: length,
            sha256: oid,
            blob: blob_id(pointer.as_bytes()),
            lfs: true,
            envelope_mac: FileEntry::mac(&part.keys, object, &header),
            facts: None,
        };
        if from != Some(compartment) {
            moved.push(operations.len());
            let path = from.map(|_| path.to_string());
            let object = ObjectRef { compartment: from, commit: None, path, envelope: header, size: length };
            envelopes.push((object, compartment));
        }
        operations.push(Operation::Put(path, Box::new(Placed { compartment, file, header: None })));
    }
    if envelopes.is_empty() {
        return Ok(operations);
    }
    let mut rewrapped = Vec::with_capacity(envelopes.len());
    for envelopes in envelopes.chunks(REWRAP_AT_ONCE) {
        rewrapped.extend(gate.keeper.rewrap(grant, envelopes.to_vec()).await?);
    }
    for (at, header) in moved.into_iter().zip(rewrapped) {
        let Some(Operation::Put(_, placed)) = operations.get_mut(at) else { continue };
        let part = repo.part(placed.compartment).ok_or_else(|| forbidden(placed.compartment))?;
        placed.file.envelope_mac = FileEntry::mac(&part.keys, ObjectId(placed.file.object), &header);
        placed.header = Some(header);
    }
    Ok(operations)
}

type Found = (ObjectId, Vec<u8>, u64, Option<Compartment>);

/// The object with this digest that a commit under this grant may link without its bytes being sent: payload, header,
/// length, and the compartment it lies in (`None` for the inbox). Where it lies in several, one from which it comes into these
/// compartments, if any.
///
/// # Errors
/// Whatever the catalogue says.
pub async fn find(gate: &Gate, grant: &Grant, oid: &Sha256, into: &[Compartment]) -> Result<Option<Found>, Refused> {
    let parts = grant.repo()?.parts();
    if let Some((inbox, _)) = &parts.inbox
        && let Some(upload) = gate.catalog.upload(parts.id, inbox, oid, &grant.parts().principal).await?
    {
        return Ok(Some((upload.object, upload.header, upload.size, None)));
    }
    let mut found = None;
    for part in &parts.compartments {
        if let Some((object, header, size)) = gate.catalog.content(parts.id, part.compartment, &part.keys, oid).await? {
            let from = Some(part.compartment);
            found = Some((object, header, size, from));
            if into.iter().all(|to| comes(parts, from, *to)) {
                break;
            }
        }
    }
    Ok(found)
}

/// Whether what lies in a compartment comes into another without being sent again. The keeper says so, and judges it itself.
pub fn comes(parts: &RepoParts, from: Option<Compartment>, to: Compartment) -> bool {
    from.is_none_or(|from| from == to || !parts.kept.contains(&from) || parts.kept.contains(&to))
}

fn unknown(oid: &Sha256) -> Refused {
    Refused::bad(format!("the object {oid} was not uploaded to this repository: send its bytes first"))
}

/// What shall be deleted must be there, as clients expect.
async fn check_deletions(
    gate: &Gate,
    grant: &Grant,
    parent: &CommitInfo,
    operations: &[Operation],
) -> Result<(), Refused> {
    let deleted = operations.iter().filter_map(|operation| match operation {
        Operation::Delete(path) => Some(path),
        Operation::Put(..) => None,
    });
    let deleted: BTreeSet<&RepoPath> = deleted.collect();
    let there = view(gate, grant.repo()?, parent).at(deleted.iter().copied()).await?;
    if there.len() < deleted.len() {
        return Err(Refused::entry(Some(parent.id)).with_message("A file with this name doesn't exist"));
    }
    Ok(())
}
