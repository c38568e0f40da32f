//! `key rotate repository`: a new secret for a repository, made on the server's machine while the server serves. The exposed
//! process never gets all keys of a repository; so this one, which has the root key, makes the copy. (docs/decisions/0012)
//!
//! | step | if we die after it |
//! | --- | --- |
//! | a first pass: most of the copy | nothing reads it; asked again, this goes on where it was |
//! | writes are stopped, and the copy made whole | they go on after some minutes, or when this is asked again |
//! | the switch | everything is read and written under the new secret; the old one waits for this to be asked again |
//! | the old rows are dropped | the old secret opens no row; it is deleted when this is asked again |
//! | the old secret is deleted | done |

use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};
use strongroom_database::{Database, Hold, Source};
use strongroom_domain::Compartment;
use strongroom_keeper::{InspectedKeys, InspectedRotation, Inspection};
use strongroom_protocol::admin::{AdminCommand, RotateStep};
use strongroom_storage::{Catalog, CatalogError, CheckKeys, Copied, RotateError, Rotated, Rotation, Side};

use crate::arguments::Repository;
use crate::check::Places;
use crate::client::Client;
use crate::command::runtime;
use crate::config::Config;
use crate::progress::Progress;
use crate::show::show;
use crate::{Failed, root, words};

/// Times that writes are stopped, where a pass does not end before they go on.
const CLOSES: usize = 3;
/// Its place among the locks of the catalogue's database.
const HOLD: i64 = -3;

/// `strongroom key rotate repository`.
///
/// # Errors
/// What was in the way; asked again, it goes on.
pub fn run(asked: &Repository) -> Result<(), Failed> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let config = Config::load(&asked.server)?;
    let (places, client) = (config.places()?, Client::new(&asked.remote)?);
    let root = root::read(&config)?;
    let shown = runtime()?.block_on(async {
        let catalog = Catalog::open(&places.catalog).await.map_err(words)?;
        let inspection = Inspection::open(places.keeper.clone(), root).await.map_err(words)?;
        let _alone = alone(&places.catalog).await?;
        let mut work = Work { asked, client, places: &places, catalog, inspection };
        work.rotate(&mut Progress::new(asked.progress)).await
    })?;
    show(&shown, asked.remote.json);
    Ok(())
}

/// Held while this works: two would copy everything twice. Whoever loses it is fenced off by the number of its close.
type Alone = (Option<Hold>, Option<File>);

async fn alone(catalog: &Source) -> Result<Alone, Failed> {
    let busy = || Failed("another rotation of a repository is under way".to_owned());
    match catalog {
        Source::File(file) => {
            let folder = File::open(file.parent().unwrap_or(Path::new("."))).map_err(words)?;
            let locked = rustix::fs::flock(&folder, rustix::fs::FlockOperation::NonBlockingLockExclusive);
            locked.map(|()| (None, Some(folder))).map_err(|_| busy())
        }
        remote => {
            let database = Database::open_to_read(remote).await.map_err(words)?;
            let held = database.hold(HOLD).await.map_err(words)?.ok_or_else(busy)?;
            Ok((Some(held), None))
        }
    }
}

struct Work<'a> {
    asked: &'a Repository,
    client: Client,
    places: &'a Places,
    catalog: Catalog,
    inspection: Inspection,
}

fn side<'a>((repo, keys): &'a ([u8; 16], InspectedKeys)) -> Side<'a> {
    let compartments = Compartment::ALL.into_iter().map(|compartment| {
        let (meta, identity) = keys.compartment(compartment);
        (compartment, meta, identity)
    });
    let keys = CheckKeys { shared: keys.shared(), inbox: keys.inbox(), compartments: compartments.collect() };
    Side { repo: *repo, keys }
}

impl Work<'_> {
    fn ask(&self, step: RotateStep) -> Result<Value, Failed> {
        let (kind, repo) = (self.asked.kind.kind, self.asked.name.clone());
        self.client.admin("key", &AdminCommand::KeyRotateRepo { kind, repo, step })
    }

    async fn rotate(&mut self, progress: &mut Progress) -> Result<Value, Failed> {
        let mut found = self.begin().await?;
        if found.switched {
            progress.end(|| "a rotation that was cut is finished first".to_owned());
            let rotated = self.finish(&found, progress).await?;
            let written = rotated.re_encrypted > 0 && rotated.rewrapped == 0;
            if written || !self.asked.re_encrypt {
                return Ok(shown(&found, rotated));
            }
            // Payloads are to be written anew, and that one left them.
            found = self.begin().await?;
        }
        self.copy(&found, progress).await?;
        progress.end(|| "switched: everything is under the new secret".to_owned());
        let rotated = self.finish(&found, progress).await?;
        Ok(shown(&found, rotated))
    }

    /// The rotation that is under way: a fresh one, or one that was cut, with its writes let go on.
    async fn begin(&self) -> Result<InspectedRotation, Failed> {
        let began = self.ask(RotateStep::Begin { re_encrypt: self.asked.re_encrypt })?;
        let found = self.inspection.rotation(self.asked.kind.kind, &self.asked.name).await.map_err(words)?;
        let found = found.ok_or_else(|| {
            Failed("this configuration is not that of the server at STRONGROOM_URL: it rotates nothing".to_owned())
        })?;
        if !found.switched {
            let closes = began["closes"].as_u64().unwrap_or_default();
            self.catalog.reopen(found.now.0, closes).await.map_err(words)?;
        }
        Ok(found)
    }

    async fn copy(&self, found: &InspectedRotation, progress: &mut Progress) -> Result<(), Failed> {
        let (old, new) = (found.now.0, found.other.0);
        if self.asked.re_encrypt && self.catalog.is_rewrapped(new).await.map_err(words)? {
            // Begun without --re-encrypt: its headers are for the old payloads.
            self.catalog.drop_copy(new).await.map_err(words)?;
        }
        let line = |copied: &Copied| {
            let Copied { headers, of, nodes, commits, bytes } = copied;
            format!("{headers} of {of} headers, {nodes} directories, {commits} commits, {bytes} bytes written anew")
        };
        let mut last = Copied::default();
        let mut told = |copied: &Copied| {
            last = *copied;
            progress.tell(|| line(copied));
        };
        let sides = (side(&found.now), side(&found.other));
        let mut rotation = Rotation::new(&self.catalog, &self.places.objects, sides, self.asked.re_encrypt, &mut told);
        rotation.pass().await.map_err(words)?;
        for closes in 1..=CLOSES {
            let close = self.ask(RotateStep::Close)?["close"].as_u64().unwrap_or_default();
            self.catalog.close(old, new, close).await.map_err(words)?;
            let whole = rotation.last_pass(close).await;
            let again = matches!(whole, Ok(()) | Err(RotateError::Catalog(CatalogError::Closed)));
            let switched = match whole {
                Ok(()) => self.ask(RotateStep::Switch { close }).map(drop),
                Err(error) => Err(words(error)),
            };
            match switched {
                Ok(()) => break,
                Err(failed) => {
                    self.begin().await?;
                    if !again || closes == CLOSES {
                        return Err(failed);
                    }
                }
            }
        }
        drop(rotation);
        progress.end(|| line(&last));
        Ok(())
    }

    /// After a time in which what began before the switch ends.
    async fn finish(&self, found: &InspectedRotation, progress: &mut Progress) -> Result<Rotated, Failed> {
        let (old, new) = match found.switched {
            true => (found.other.0, found.now.0),
            false => (found.now.0, found.other.0),
        };
        let rotated = self.catalog.rotated(new).await.map_err(words)?;
        progress.end(|| format!("the old secret is deleted in {}", self.asked.grace));
        tokio::time::sleep(*self.asked.grace).await;
        self.catalog.end_rotation(old, new).await.map_err(words)?;
        self.ask(RotateStep::Finish)?;
        progress.end(|| "the old secret is deleted".to_owned());
        Ok(rotated)
    }
}

fn shown(found: &InspectedRotation, rotated: Rotated) -> Value {
    let kept = "whoever kept the old secret and the old headers still opens the payloads of then: --re-encrypt writes them anew";
    json!({
        "repository": found.name.as_str(),
        "rewrapped": rotated.rewrapped,
        "re_encrypted": rotated.re_encrypted,
        "bytes": rotated.bytes,
        "note": if rotated.rewrapped > 0 { kept } else { "the sweep removes the old payloads" },
    })
}
