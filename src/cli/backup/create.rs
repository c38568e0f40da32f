//! `backup create`: while the server serves.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};
use strongroom_database::{Cell, Database, read_rows};
use strongroom_domain::Sha256;
use strongroom_envelope::Recipient;
use strongroom_storage::{Catalog, ObjectError, ObjectId};

use super::folder::{Folder, Sums};
use super::snapshot::{Base, Frame, Writer};
use crate::check::Places;
use crate::progress::Progress;
use crate::{Failed, words};

/// Times that a backup begins anew because a repository was deleted or rotated under it.
const ATTEMPTS: usize = 5;

/// Makes one backup. If we die inside, payloads are left that the next one finds and uses, and no snapshot: a snapshot gets
/// its name last of all, when everything that it lists is durable.
///
/// # Errors
/// What was in the way.
pub async fn create(
    places: &Places,
    to: &Path,
    recipients: &[Recipient],
    progress: &mut Progress,
) -> Result<Value, Failed> {
    let folder = Folder::new(to);
    folder.make()?;
    let _alone = folder.lock()?;
    folder.tidy()?;
    for _ in 0..ATTEMPTS {
        if let Some(made) = attempt(places, &folder, recipients, progress).await? {
            return Ok(made);
        }
    }
    Err(Failed("repositories are deleted or rotated faster than they can be copied; try again".to_owned()))
}

/// All rows of a table; what they name in a column is added to `named`. A view of the database for each table would not do:
/// the caller brings one for all.
async fn rows(
    tx: &mut strongroom_database::Tx,
    writer: &mut Writer,
    base: Base,
    table: &'static str,
    named: &mut BTreeSet<[u8; 16]>,
) -> Result<(), Failed> {
    let names_payloads = base == Base::Catalog && matches!(table, "envelope" | "upload" | "xorb");
    let mut first = true;
    let read = read_rows(tx, table, |columns, row| {
        if std::mem::take(&mut first) {
            writer.put(&Frame::Table(base, table.to_owned(), columns.to_vec())).map_err(Stopped::Failed)?;
        }
        let object = columns.iter().position(|column| names_payloads && column == "object").map(|at| &row[at]);
        if let Some(Cell::Bytes(object)) = object {
            named.extend(<[u8; 16]>::try_from(object.as_slice()));
        }
        writer.put(&Frame::Row(row)).map_err(Stopped::Failed)
    });
    read.await.map_err(|stopped| match stopped {
        Stopped::Failed(failed) => failed,
        Stopped::Database(error) => words(error),
    })
}

/// Why rows are read no further.
enum Stopped {
    Failed(Failed),
    Database(strongroom_database::Error),
}

impl From<strongroom_database::Error> for Stopped {
    fn from(error: strongroom_database::Error) -> Self {
        Self::Database(error)
    }
}

/// `None` where a payload was deleted with its repository before it was copied, or a repository was rotated.
async fn attempt(
    places: &Places,
    folder: &Folder,
    recipients: &[Recipient],
    progress: &mut Progress,
) -> Result<Option<Value>, Failed> {
    let now = SystemTime::now();
    let name = folder.next(now)?;
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let unfinished = folder.snapshots().join(format!("{name}.new"));
    let time_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let mut writer = Writer::create(&unfinished, recipients, time_ms)?;
    // The catalogue first: the keeper's record of a commit precedes the branch's move, so a later view of the keeper's
    // database knows whatever the earlier one of the catalogue holds.
    let mut named = BTreeSet::new();
    let keeper = Database::open_to_read(&places.keeper.source()).await.map_err(words)?;
    let before = strongroom_keeper::copies(&mut keeper.snapshot().await.map_err(words)?).await.map_err(words)?;
    for (base, source, tables) in [
        (Base::Catalog, &places.catalog, strongroom_storage::TABLES),
        (Base::Keeper, &places.keeper.source(), strongroom_keeper::TABLES),
    ] {
        let mut view = Database::open_to_read(source).await.map_err(words)?.snapshot().await.map_err(words)?;
        for table in tables {
            rows(&mut view, &mut writer, base, table, &mut named).await?;
        }
        if base == Base::Keeper {
            // One that was rotated between the two views has its copy in neither: both are taken anew.
            let after = strongroom_keeper::copies(&mut view).await.map_err(words)?;
            if before.iter().any(|(id, copies)| after.get(id) != Some(copies)) {
                drop(writer);
                fs::remove_file(&unfinished).map_err(words)?;
                return Ok(None);
            }
        }
    }
    // Payloads never change, and are deleted only when no row names them: those that the view names are there, unless their
    // repository was deleted, or their upload forgotten, after it. Then the view is of no use, and a new one is taken.
    let catalog = Catalog::open_to_read(&places.catalog).await.map_err(words)?;
    let stored: HashMap<ObjectId, u64> = places.objects.list().await.map_err(words)?.into_iter().collect();
    let payloads = folder.payloads()?;
    let held: HashMap<ObjectId, u64> = payloads.list().await.map_err(words)?.into_iter().collect();
    let mut sums = Sums::open(folder)?;
    let (mut copied, mut bytes) = (0, 0);
    let all = named.len();
    for (number, object) in named.into_iter().enumerate() {
        let object = ObjectId(object);
        let length = stored.get(&object).copied();
        let known = sums.get(object).filter(|_| length.is_some() && held.get(&object).copied() == length);
        let digest: Result<Sha256, ObjectError> = match (known, length) {
            (Some(digest), _) => Ok(digest),
            (None, None) => Err(ObjectError::Missing),
            (None, Some(length)) => {
                (copied, bytes) = (copied + 1, bytes + length);
                places.objects.copy(&payloads, object, length).await
            }
        };
        let digest = match digest {
            Ok(digest) => digest,
            Err(ObjectError::Missing) if !catalog.names_object(object).await.map_err(words)? => {
                drop(writer);
                fs::remove_file(&unfinished).map_err(words)?;
                return Ok(None);
            }
            Err(error) => return Err(Failed(format!("payload {object}: {error}; run `strongroom check`"))),
        };
        if known.is_none() {
            sums.add(object, digest)?;
        }
        writer.put(&Frame::Payload(object.0, length.unwrap_or_default(), *digest.as_bytes()))?;
        progress.tell(|| format!("{} of {all} payloads, {copied} copied, {bytes} bytes", number + 1));
    }
    progress.end(|| format!("{all} of {all} payloads, {copied} copied, {bytes} bytes"));
    sums.sync()?;
    let shown = json!({
        "backup": name,
        "rows": writer.rows,
        "payloads": writer.payloads,
        "copied": copied,
        "copied_bytes": bytes,
        "recipients": recipients.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    writer.finish()?;
    let finished = folder.snapshots().join(format!("{name}.age"));
    fs::rename(&unfinished, &finished).map_err(words)?;
    File::open(folder.snapshots()).and_then(|folder| folder.sync_all()).map_err(words)?;
    Ok(Some(shown))
}
