//! `key.rotate root`: a new root identity, for which every wrapped secret is wrapped anew. Payloads and envelopes stay.
//!
//! | step | if we die after it |
//! | --- | --- |
//! | the new key is durable in `FILE.new` | the old key opens everything; the next rotation writes over `FILE.new` |
//! | every secret is wrapped for both, in one transaction | `FILE` holds the old key, which opens everything |
//! | `FILE.new` becomes `FILE` | the new key opens everything, and the old one still does: `--finish` goes on |
//! | every secret is wrapped for the new one alone | done |
//!
//! Where several servers share the database, the last step waits for `--finish`: each machine needs the new file first. So it does
//! where the key lies in no file of this server's: in shares, under a passphrase, in a credential. Then people make the new one, the
//! configuration names its recipient, and the old one opens everything until every server was started with the new.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use strongroom_envelope::{Identity, Recipient};
use strongroom_protocol::{Call, Credential, Refusal};

use super::about;
use super::authorize::may;
use super::unavailable;
use crate::change::{Change, Wrapped};
use crate::credential::authenticate;
use crate::log::Record;
use crate::rewrap::rewrap_one;
use crate::root::{Root, RootSource};
use crate::server::{Core, now_ms};
use crate::setup::value;
use crate::state::State;

/// Its place among the locks of the database; logs are from 1 on.
const HOLD: i64 = -1;

/// Secrets as they are stored, and wrapped anew.
type Anew = HashMap<u64, (Vec<u8>, Vec<u8>)>;

impl Core {
    pub(super) async fn rotate_root(
        &self,
        call: &Call,
        credential: Option<&Credential>,
        finish: bool,
    ) -> Result<Value, Refusal> {
        let busy = || Refusal::Conflict("a rotation is under way".to_owned());
        let _alone = self.rotating.try_lock().map_err(|_| busy())?;
        let _alone_of_all = self.database.hold(HOLD).await.map_err(unavailable)?.ok_or_else(busy)?;
        let file = match (self.held.source(), self.held.source().read()) {
            (RootSource::File(file), Ok(Root::Identity(_))) => Some(file.clone()),
            (RootSource::File(_) | RootSource::Credential(_), Err(error)) => return Err(unavailable(error)),
            _ => None,
        };
        let mut rewrapped = 0;
        match &file {
            _ if finish => {}
            Some(file) => rewrapped = self.replace_file(call, credential, file).await?,
            None => return self.wrap_for_next(call, credential).await,
        }
        let new = match (self.held.read(), &file) {
            (Some(new), _) => Arc::new(new),
            (None, Some(_)) => return Err(unavailable("the root key's file can't be read")),
            // What the people brought when the server started.
            (None, None) => self.held.root(),
        };
        let recipient = new.to_recipient();
        let shown = |rewrapped: u64, finished: bool| {
            let next = "copy the root key's file to the machine of every server, then run `strongroom key rotate root --finish`";
            json!({
                "rewrapped": rewrapped,
                "root_key_file": file,
                "recipient": recipient.to_string(),
                "finished": finished,
                "next": if finished { "keep a copy of the root key offline; the old one opens nothing any more" } else { next },
            })
        };
        if self.database.is_shared() && !finish {
            return Ok(shown(rewrapped, false));
        }
        let expected = self.state.read().root_recipients.first().map(ToString::to_string);
        if expected.is_some_and(|expected| expected != recipient.to_string()) {
            let text = match file {
                Some(_) => "the root key's file on this machine is not the new one: copy that here first",
                None => "this server was started with a root key that is not the new one: start it with that first",
            };
            return Err(Refusal::Conflict(text.to_owned()));
        }
        self.held.replace(new);
        let root = self.held.root();
        let rewrapped = self.wrap_all(call, credential, &root, std::slice::from_ref(&recipient)).await?;
        Ok(shown(rewrapped, true))
    }

    /// Makes a new identity, wraps every secret for both, and gives the new one's file the key's name; how many secrets.
    async fn replace_file(&self, call: &Call, credential: Option<&Credential>, file: &Path) -> Result<u64, Refusal> {
        let (old, new) = (self.held.root(), Identity::generate());
        let both = [new.to_recipient(), old.to_recipient()];
        let staged = RootSource::File(staged(file));
        // What a rotation that died has left: nothing is wrapped for it alone.
        let _ = fs::remove_file(staged.path().map_err(unavailable)?);
        staged.create(&new, None).map_err(|error| {
            let mend = "this server must be able to write beside the root key's file";
            Refusal::Unavailable(format!("{error}; {mend}"))
        })?;
        let rewrapped = self.wrap_all(call, credential, &old, &both).await?;
        publish(file).map_err(|error| Refusal::Unavailable(format!("root key {}: {error}", file.display())))?;
        self.held.replace(new);
        Ok(rewrapped)
    }

    /// Wraps every secret for the identity that the configuration names beside the one that opens them now. Only it names one: over
    /// the API somebody could name their own, and open everything.
    async fn wrap_for_next(&self, call: &Call, credential: Option<&Credential>) -> Result<Value, Refusal> {
        let old = self.held.root();
        let next = self.held.next().filter(|next| next.to_string() != old.to_recipient().to_string());
        let next = next.cloned().ok_or_else(|| {
            let mend = "make its successor by `strongroom key new-root`, name that recipient as next under [root_key] in the \
                        configuration, start the server again, and ask again";
            Refusal::Invalid(format!("the root key is in shares, a credential or under a passphrase: {mend}"))
        })?;
        let rewrapped = self.wrap_all(call, credential, &old, &[next.clone(), old.to_recipient()]).await?;
        Ok(json!({
            "rewrapped": rewrapped, "root_key_file": null, "recipient": next.to_string(), "finished": false,
            "next": "start every server with the new root key, then run `strongroom key rotate root --finish`",
        }))
    }

    /// Wraps every secret for these root identities, in one transaction with its record; how many.
    async fn wrap_all(
        &self,
        call: &Call,
        credential: Option<&Credential>,
        root: &Arc<Identity>,
        roots: &[Recipient],
    ) -> Result<u64, Refusal> {
        let recipients = self.held.wrap_with(roots);
        let mut instance = Vec::new();
        for name in ["secret", "ca_key"] {
            if let Some(wrapped) = value(&self.database, name).await.map_err(unavailable)? {
                let wrapped = rewrap_one(&wrapped, root, &recipients).map_err(unavailable)?;
                instance.push((name.to_owned(), wrapped));
            }
        }
        let anew = self.wrap_repos(root, &recipients).await?;
        self.changed(|state, record| {
            self.may_rotate(state, call, credential, record)?;
            record.subject = Some(format!("the root key, {} secrets", instance.len() + anew.len()));
            record.digest = Some(roots.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            let mut repos = Vec::new();
            for (id, repo) in &state.repos {
                let Some(wrapped) = &repo.wrapped else { continue };
                match anew.get(id).filter(|(before, _)| before == wrapped) {
                    Some((_, anew)) => repos.push((*id, anew.clone())),
                    // Made meanwhile.
                    None => repos.push((*id, rewrap_one(wrapped, root, &recipients).map_err(unavailable)?)),
                }
            }
            // Few, and made or switched meanwhile.
            let mut rotations = Vec::new();
            for (id, repo) in &state.repos {
                let Some(wrapped) = repo.rotation.as_ref().and_then(|rotation| rotation.wrapped.as_ref()) else {
                    continue;
                };
                rotations.push((*id, rewrap_one(wrapped, root, &recipients).map_err(unavailable)?));
            }
            let count = (instance.len() + repos.len() + rotations.len()) as u64;
            let roots = roots.iter().map(ToString::to_string).collect();
            Ok((count, vec![Change::Wrapped(Wrapped { roots, instance: instance.clone(), repos, rotations })]))
        })
        .await
    }

    /// Without the state's lock, for there may be many.
    async fn wrap_repos(&self, root: &Arc<Identity>, recipients: &[Recipient]) -> Result<Anew, Refusal> {
        let stored: Vec<(u64, Vec<u8>)> = {
            let state = self.state.read();
            state.repos.iter().filter_map(|(id, repo)| Some((*id, repo.wrapped.clone()?))).collect()
        };
        let (root, recipients) = (root.clone(), recipients.to_vec());
        let wrap = move || {
            let wrap = |(id, stored): (u64, Vec<u8>)| {
                let anew = rewrap_one(&stored, &root, &recipients)?;
                Ok((id, (stored, anew)))
            };
            stored.into_iter().map(wrap).collect::<Result<Anew, crate::keys::KeyError>>()
        };
        tokio::task::spawn_blocking(wrap).await.map_err(unavailable)?.map_err(unavailable)
    }

    fn may_rotate(
        &self,
        state: &State,
        call: &Call,
        credential: Option<&Credential>,
        record: &mut Record,
    ) -> Result<(), Refusal> {
        about(record, call, "key.rotate");
        let subject = authenticate(state, &self.keys, credential, now_ms(), record)?;
        let allowed = may(state, &subject, strongroom_domain::Action::KeyRotate, None, None);
        allowed.then_some(()).ok_or_else(|| Refusal::Forbidden("this needs the right to key.rotate".to_owned()))
    }
}

fn staged(file: &Path) -> std::path::PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// The new file gets the key's name, durably.
fn publish(file: &Path) -> std::io::Result<()> {
    fs::rename(staged(file), file)?;
    match file.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
