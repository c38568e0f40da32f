//! The log's own reading: search, leaves, checkpoint, proofs.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_protocol::Refusal;
use strongroom_protocol::admin::AuditQuery;

use super::admin::Outcome;
use super::people::time;
use super::unavailable;
use crate::log::{Filter, Page, Proofs, Record, ShareFilter, leaves, origin, search};
use crate::server::{Core, now_ms};
use crate::state::State;
use crate::witness::cosigned;

/// Records of one page, at most.
const PAGE_MAX: u32 = 500;
/// Leaves of one page, at most: a leaf has some 600 bytes, and its JSON twice that.
const LEAVES_MAX: u32 = 1000;

/// An address as records have it, however it was typed: one of IPv4 is never written as one of IPv6.
pub(super) fn address(typed: &str) -> Result<String, Refusal> {
    let address: IpAddr =
        typed.parse().map_err(|_| Refusal::Invalid("an address is one of IPv4 or IPv6".to_owned()))?;
    Ok(address.to_canonical().to_string())
}

impl Core {
    fn filter(&self, state: &State, query: &AuditQuery) -> Filter {
        // A name that is unknown finds nothing: number 0 is nobody's.
        let principal = query
            .principal
            .as_ref()
            .map(|name| state.principal_names.get(&name.to_ascii_lowercase()).copied().unwrap_or(0));
        let repo =
            query.repo.as_ref().map(|(kind, name)| state.repo_names.get(&(*kind, name.folded())).copied().unwrap_or(0));
        // Whoever was one of its people at any time, and all that they did.
        let people = query.partner.as_ref().map(|name| {
            let named = state.partners.named(name);
            named.into_iter().flat_map(|(_, partner)| partner.people()).collect()
        });
        Filter {
            principal,
            people,
            repo,
            token: query.token,
            share: query.share.map(|id| {
                let tokens = state.tokens.iter().filter(|(_, token)| token.body.share == Some(id));
                let repo = state.shares.get(&id).map(|share| share.repo);
                ShareFilter { id, tokens: tokens.map(|(id, _)| *id).collect(), repo }
            }),
            compartment: query.compartment.map(|part| part.word().to_owned()),
            path: query.path.clone(),
            request_id: query.request_id.clone(),
            // One that is none was refused before.
            address: query.address.as_deref().and_then(|typed| address(typed).ok()),
            action: query.action.clone(),
            outcome: query.outcome.clone(),
            since_ms: query.since_ms,
            until_ms: query.until_ms,
            before: query.before,
            down_to: None,
            limit: query.limit.clamp(1, PAGE_MAX),
        }
    }

    pub(super) fn describe_search(&self, _: &State, query: &AuditQuery, record: &mut Record) -> Outcome {
        record.subject = Some(super::cut(&format!("{query:?}"), 1024));
        query.address.as_deref().map(address).transpose()?;
        Ok((Value::Null, Vec::new()))
    }

    pub(super) async fn search(&self, query: &AuditQuery) -> Result<Value, Refusal> {
        let filter = self.filter(&self.state.read(), query);
        let Page { found, next } = search(&self.database.reader, &self.keys, &filter).await.map_err(unavailable)?;
        let records = found.into_iter().map(|(place, _, record)| {
            let mut shown = serde_json::to_value(&record).unwrap_or_default();
            shown["log"] = place.log.into();
            shown["record"] = place.seq.into();
            shown["time"] = time(record.time_ms).into();
            shown
        });
        Ok(json!({"records": records.collect::<Vec<_>>(), "next": next.map(|next| next.to_string())}))
    }

    pub(super) async fn leaves(&self, log: u64, from: u64, limit: u32) -> Result<Value, Refusal> {
        let found = leaves(&self.database.reader, log, from, limit.clamp(1, LEAVES_MAX)).await.map_err(unavailable)?;
        let leaves = found.iter().map(|leaf| STANDARD.encode(leaf.to_bytes()));
        Ok(json!({"log": log, "from": from, "leaves": leaves.collect::<Vec<_>>()}))
    }

    /// Of all logs: the notes one below the other, and each by itself.
    pub(super) async fn checkpoint(&self) -> Result<Value, Refusal> {
        let key = self.log.key();
        // First, so that none of a longer log than is shown beside it comes.
        let cosigned = cosigned(&self.database.reader).await.map_err(unavailable)?;
        let logs = self.log.checkpoints().await.map_err(unavailable)?;
        let notes: Vec<&str> = logs.iter().map(|(_, position)| position.checkpoint.as_str()).collect();
        let size: u64 = logs.iter().map(|(_, position)| position.size).sum();
        let each = logs.iter().map(|(log, position)| {
            let origin = origin(key.name(), *log);
            let own = key.named(&origin).map_err(unavailable)?.to_string();
            let mut shown = json!({
                "log": log, "origin": origin, "key": own, "size": position.size, "checkpoint": position.checkpoint,
            });
            if let Some(cosigned) = cosigned.get(log) {
                shown["cosigned"] = json!({"size": cosigned.size, "checkpoint": cosigned.note});
            }
            Ok(shown)
        });
        let each = each.collect::<Result<Vec<_>, Refusal>>()?;
        let mut shown = json!({"checkpoint": notes.join("\n"), "size": size, "key": key.to_string(), "logs": each});
        let witnesses = self.witnesses.standing(now_ms());
        if !witnesses.is_empty() {
            let each = witnesses.into_iter().map(|(key, age_s, conflict)| {
                json!({"witness": key, "of_log": self.log.number(), "age_s": age_s, "conflict": conflict})
            });
            shown["witnesses"] = each.collect();
        }
        Ok(shown)
    }

    pub(super) async fn prove(&self, log: u64, record: Option<u64>, from_size: Option<u64>) -> Result<Value, Refusal> {
        let logs = self.log.checkpoints().await.map_err(unavailable)?;
        let position = logs.into_iter().find(|(number, _)| *number == log).map(|(_, position)| position);
        let position = position.ok_or_else(|| Refusal::Invalid(format!("there is no log {log}")))?;
        let size = position.size;
        let key = self.log.key().named(&origin(self.log.key().name(), log)).map_err(unavailable)?;
        let mut proofs = Proofs::new(&self.database.reader, log, size);
        let proof = match (record, from_size) {
            (Some(seq), _) => proofs.inclusion(seq).await,
            (None, Some(old)) => proofs.consistency(old).await,
            (None, None) => return Err(Refusal::Invalid("name a record or an older size".to_owned())),
        };
        let proof = proof.map_err(unavailable)?;
        let proof = proof.ok_or_else(|| Refusal::Invalid(format!("the log has {size} records")))?;
        let leaf = match record {
            Some(seq) => leaves(&self.database.reader, log, seq, 1).await.map_err(unavailable)?.pop(),
            None => None,
        };
        Ok(json!({
            "checkpoint": position.checkpoint,
            "key": key.to_string(),
            "log": log,
            "size": size,
            "record": record,
            "from_size": from_size,
            "leaf": leaf.map(|leaf| STANDARD.encode(leaf.to_bytes())),
            "proof": proof.iter().map(|hash| STANDARD.encode(hash.0)).collect::<Vec<_>>(),
        }))
    }
}
