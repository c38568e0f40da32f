//! `backup restore`: onto an empty machine.

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};
use strongroom_envelope::Identity;
use strongroom_keeper::{authority, rewrap};

use super::Target;
use super::folder::{Folder, path_of};
use super::snapshot::Reader;
use crate::command::runtime;
use crate::config::Config;
use crate::progress::Progress;
use crate::{Failed, certificates, init, root, words};

/// Restores one backup. The root key is read where the configuration says; where its file is not there, the recovery identity
/// opens what was wrapped for it, and a fresh root key is made.
///
/// If we die inside, the data directory is not empty and not whole, and no server starts on it: nothing but payloads is there
/// before the two commits at the end, the keeper's last.
///
/// # Errors
/// A place that is not empty, a payload that is damaged, a root key that opens nothing.
pub fn restore(
    config: &Config,
    from: &Path,
    name: Option<&str>,
    identity: Identity,
    progress: &mut Progress,
) -> Result<Value, Failed> {
    let folder = Folder::new(from);
    let (name, snapshot) = folder.snapshot(name)?;
    // All of it is read and authenticated before anything is made.
    let listed = folder.listed(&snapshot, &identity)?;
    let lost = config.root_key.as_ref().is_some_and(|file| !file.exists());
    let held = if lost { None } else { Some(root::read(config)?) };
    init::empty(&config.data_dir)?;
    let runtime = runtime()?;
    init::parts(&config.data_dir)?;
    let (root, rows, rewrapped) = runtime.block_on(async {
        let places = config.places()?;
        let target = Target::open(&places.keeper.source(), &places.catalog).await?;
        let payloads = folder.payloads()?;
        let mut bytes = 0;
        for (number, payload) in listed.iter().enumerate() {
            let what = match payloads.copy(&places.objects, payload.object, payload.length).await {
                Ok(digest) if digest == payload.digest => None,
                Ok(_) => Some("it was changed: its SHA-256 is another".to_owned()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(what) = what {
                return Err(Failed(format!("{}: {what}; nothing was restored", path_of(payload.object))));
            }
            bytes += payload.length;
            progress.tell(|| format!("{} of {} payloads, {bytes} bytes", number + 1, listed.len()));
        }
        let (mut keeper, catalog) = target.write(Reader::open(&snapshot, &identity)?).await?;
        let (root, rewrapped) = match held {
            Some(root) => {
                // Opens all of them, and changes none.
                rewrap(&mut keeper, &root, None).await.map_err(words)?;
                (root, 0)
            }
            None => {
                let root = Identity::generate();
                let recipients = places.keeper.wrap_for(&root).map_err(words)?;
                let rewrapped = rewrap(&mut keeper, &identity, Some(&recipients)).await.map_err(|error| {
                    Failed(format!(
                        "the root key is not there, and the recovery identity opens not all secrets: {error}"
                    ))
                })?;
                // Durable before anything is wrapped for it alone.
                config.root().create(&root, None).map_err(words)?;
                (root, rewrapped)
            }
        };
        catalog.commit().await.map_err(words)?;
        keeper.commit().await.map_err(words)?;
        Ok((root, bytes, rewrapped))
    })?;
    let known = runtime.block_on(authority(&config.keeper()?)).map_err(words)?;
    let known = known.ok_or_else(|| Failed("the backup holds no CA".to_owned()))?;
    certificates::issue(config, &known, &root, SystemTime::now())?;
    progress.end(|| format!("{} payloads, {rows} bytes", listed.len()));
    Ok(json!({
        "backup": name,
        "data_dir": config.data_dir,
        "payloads": listed.len(),
        "payload_bytes": rows,
        "ca_file": config.data_dir.join("tls").join("ca.pem"),
        "root_key_file": config.root_key,
        "root_key_made": lost,
        "rewrapped": rewrapped,
    }))
}
