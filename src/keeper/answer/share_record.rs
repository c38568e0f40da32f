//! A partner's own part of the log, with proofs. Of what others did about the share, its number and its place in the log are all that
//! is said: neither who, nor what, nor when.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_audit::note::Signer;
use strongroom_protocol::Refusal;
use strongroom_protocol::admin::Cursor;

use super::admin::Outcome;
use super::evidence::Proved;
use super::unavailable;
use crate::credential::Subject;
use crate::log::{Filter, Record, ShareFilter, search};
use crate::server::Core;
use crate::share_record::{Entry, Page, statement};
use crate::state::State;

/// Records that are read at once.
const PAGE: u32 = 200;
/// Bytes after which a page ends.
const PAGE_BYTES: usize = 1024 * 1024;

impl Core {
    /// Whose it is, and of which share: that of the asker's token, or one that is theirs.
    pub(super) fn share_record_begin(
        &self,
        state: &State,
        subject: &Subject,
        id: Option<u64>,
        record: &mut Record,
    ) -> Outcome {
        let asked = match (subject.share, id) {
            (Some(own), Some(id)) if own != id => None,
            (Some(own), _) => Some(own),
            (None, id) => id,
        };
        let share = asked.and_then(|id| Some((id, state.shares.get(&id)?)));
        let (id, share) =
            share.filter(|(_, share)| share.is_with(subject.principal, state)).ok_or(Refusal::NotFound)?;
        super::share::about(state, id, record);
        let tokens = state.tokens.iter().filter(|(_, token)| token.body.share == Some(id));
        let tokens: Vec<u64> = tokens.map(|(id, _)| *id).collect();
        Ok((json!({"share": id, "repo": share.repo, "principal": subject.principal.0, "tokens": tokens}), Vec::new()))
    }

    /// The page, signed.
    pub(super) async fn share_record(
        &self,
        begun: &Value,
        sizes: &[(u64, u64)],
        before: Option<Cursor>,
    ) -> Result<Value, Refusal> {
        let number = |key: &str| begun[key].as_u64().unwrap_or_default();
        let (id, principal) = (number("share"), number("principal"));
        let tokens = begun["tokens"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        // What the first page saw is what all of them show; a log only grows.
        let now = self.log.checkpoints().await.map_err(unavailable)?;
        let sizes: BTreeMap<u64, u64> = match sizes {
            [] => now.iter().map(|(log, position)| (*log, position.size)).collect(),
            asked => asked.iter().copied().collect(),
        };
        let share = Some(ShareFilter { id, tokens, repo: Some(number("repo")) });
        let filter = Filter { share, before, limit: PAGE, ..Filter::default() };
        let found = search(&self.database.reader, &self.keys, &filter).await.map_err(unavailable)?;
        let mut proved = Proved::new(self);
        let (mut entries, mut bytes, mut next) = (Vec::new(), 0, found.next.map(|place| place.to_string()));
        let counted = found.found.iter().filter_map(|(place, leaf, record)| {
            let size = sizes.get(&leaf.log).copied().unwrap_or(0);
            let event = record.share_event.filter(|_| record.share == Some(id) && leaf.seq < size)?;
            Some((event, place, leaf, record))
        });
        let counted: Vec<_> = counted.collect();
        let leaves: Vec<_> = counted.iter().map(|(_, _, leaf, _)| *leaf).collect();
        let proofs = proved.proofs(&leaves, |log| now_size(&now, log)).await?;
        for ((event, place, leaf, record), proof) in counted.into_iter().zip(proofs) {
            let proof = proof.ok_or_else(|| unavailable("a record beyond the checkpoint"))?;
            let own = (record.principal_id == Some(principal)).then(|| proved.opened(leaf));
            bytes += own.as_ref().map_or(0, |(_, leaf)| leaf.len()) + 64 * proof.len() + 200;
            let (log, seq, leaf_hash) = (leaf.log, leaf.seq, STANDARD.encode(leaf.hash().0));
            let proof = proof.iter().map(|hash| STANDARD.encode(hash.0)).collect();
            entries.push(Entry { event, log, seq, leaf_hash, proof, own });
            if bytes > PAGE_BYTES {
                next = Some(place.to_string());
                break;
            }
        }
        let known: Vec<_> = now.into_iter().filter(|(log, _)| sizes.contains_key(log)).collect();
        let page = Page {
            share: id,
            principal,
            sizes: known.iter().map(|(log, position)| (*log, position.size)).collect(),
            checkpoints: known.into_iter().map(|(_, position)| position.checkpoint).collect(),
            entries,
            next,
        };
        let page = serde_json::to_string(&page).map_err(unavailable)?;
        let signer = Signer::from_seed(self.log.key().name(), &self.keys.log_seed).map_err(unavailable)?;
        let note = signer.sign(&statement(&page)).map_err(unavailable)?;
        let scope: Vec<(u64, u64)> = sizes.into_iter().collect();
        Ok(json!({"page": page, "note": note, "sizes": scope, "key": self.log.key().to_string()}))
    }
}

/// The size that the page's checkpoint has, to which its proofs lead.
fn now_size(now: &[(u64, crate::log::Position)], log: u64) -> u64 {
    now.iter().find(|(number, _)| *number == log).map_or(0, |(_, position)| position.size)
}
