//! Quotas: how many bytes a namespace may store. What it stores, the catalogue counts.

use serde_json::{Value, json};
use strongroom_protocol::Refusal;

use super::admin::Outcome;
use crate::change::Change;
use crate::log::Record;
use crate::server::Core;
use crate::state::State;

impl Core {
    pub(super) fn quota_set(&self, state: &State, namespace: &str, bytes: Option<u64>, record: &mut Record) -> Outcome {
        let place = state.namespace_names.get(&namespace.to_ascii_lowercase()).copied();
        let place = place.ok_or_else(|| Refusal::Invalid("no such namespace".to_owned()))?;
        if bytes.is_some_and(|bytes| i64::try_from(bytes).is_err()) {
            return Err(Refusal::Invalid("a quota has at most 2^63 - 1 bytes".to_owned()));
        }
        record.subject = Some(format!("namespace {namespace}"));
        record.bytes = bytes;
        let shown = json!({"namespace": state.namespaces.get(&place), "bytes": bytes});
        let changes =
            if state.quotas.get(&place).copied() == bytes { Vec::new() } else { vec![Change::Quota(place, bytes)] };
        Ok((shown, changes))
    }

    /// With the number of each namespace, by which the gate finds what it stores.
    pub(super) fn quota_list(&self, state: &State) -> Outcome {
        let rows = state
            .namespaces
            .iter()
            .map(|(place, name)| json!({"namespace": name, "place": place, "bytes": state.quotas.get(place)}));
        Ok((json!({"quotas": rows.collect::<Vec<Value>>()}), Vec::new()))
    }
}
