//! `backup verify`: restores into a scratch place, and believes nothing else.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use strongroom_database::Source;
use strongroom_envelope::Identity;
use strongroom_storage::ObjectId;

use super::Target;
use super::folder::{Folder, path_of};
use super::snapshot::Reader;
use crate::Failed;
use crate::check::{self, Places, Report};
use crate::config::Config;
use crate::progress::Progress;

/// A folder that goes when this does. What was in it is ciphertext.
struct Scratch(PathBuf);

impl Scratch {
    fn make(above: Option<&Path>) -> Result<Self, Failed> {
        let random = ObjectId::generate().map_err(|error| Failed(error.to_string()))?;
        let above = above.map_or_else(std::env::temp_dir, Path::to_owned);
        let folder = above.join(format!("strongroom-verify-{random}"));
        for part in [&folder, &folder.join("keeper"), &folder.join("catalog")] {
            let made = fs::DirBuilder::new().mode(0o700).create(part);
            made.map_err(|error| Failed(format!("{}: {error}", part.display())))?;
        }
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // In the folder for temporary files, and of no use to anybody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Verifies one backup: the snapshot opens to its end, every payload has its digest, and what both give together passes
/// `check` with the whole of the log's verification.
///
/// # Errors
/// A snapshot that does not open, or identities that open no secret.
pub async fn verify(
    from: &Path,
    name: Option<&str>,
    (identity, root_key): (Identity, Option<Identity>),
    scratch: Option<&Path>,
    progress: &mut Progress,
) -> Result<Report, Failed> {
    let folder = Folder::new(from);
    let (name, snapshot) = folder.snapshot(name)?;
    let listed = folder.listed(&snapshot, &identity)?;
    let scratch = Scratch::make(scratch)?;
    let keeper = Config::scratch(&scratch.0)?.keeper()?;
    let catalog = Source::File(scratch.0.join("catalog").join("catalog.db"));
    let target = Target::open(&keeper.source(), &catalog).await?;
    let (keeper_tx, catalog_tx) = target.write(Reader::open(&snapshot, &identity)?).await?;
    for tx in [keeper_tx, catalog_tx] {
        tx.commit().await.map_err(|error| Failed(error.to_string()))?;
    }
    let (payloads, mut damaged, mut bytes) = (folder.payloads()?, Vec::new(), 0);
    for (number, payload) in listed.iter().enumerate() {
        let what = match payloads.digest(payload.object, payload.length).await {
            Ok(digest) if digest == payload.digest => None,
            Ok(_) => Some("it was changed: its SHA-256 is another".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        damaged.extend(what.map(|what| json!({"payload": path_of(payload.object), "what": what})));
        bytes += payload.length;
        progress.tell(|| format!("{} of {} payloads, {bytes} bytes", number + 1, listed.len()));
    }
    let places = Places { keeper, catalog, objects: payloads };
    let checked = check::run(&places, root_key.unwrap_or(identity), progress).await;
    let checked = checked.map_err(|error| {
        Failed(format!(
            "{error}; name the root key with --root-key where secrets are not wrapped for the recovery identity"
        ))
    })?;
    let count = damaged.len() + checked.damaged;
    let shown = json!({
        "backup": name,
        "verified": count == 0,
        "payloads": listed.len(),
        "payload_bytes": bytes,
        "damaged": damaged,
        "check": checked.shown,
    });
    Ok(Report { shown, damaged: count })
}
