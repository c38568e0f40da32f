//! OCSF 1.3.0, class API Activity (6003): <https://schema.ocsf.io/1.3.0/classes/api_activity>. All that a record says is in
//! `unmapped`; the rest is what the class requires or recommends.

use serde_json::{Value, json};

const CLASS: u64 = 6003;
const CATEGORY: u64 = 6;

/// Create, Read, Update, Delete or Other, of the class's own list.
fn activity(action: &str) -> (u64, &'static str) {
    let verb = action.rsplit('.').next().unwrap_or_default();
    match verb {
        "create" | "grant" | "allow" | "add" | "upload" | "init" | "plant" => (1, "Create"),
        "read" | "open" | "deliver" | "rewrap" | "recover" | "list" | "show" | "search" | "what" | "who" | "export"
        | "checkpoint" | "prove" | "tile" | "records" | "evidence" | "whoami" | "terms" => (2, "Read"),
        "write" | "manage" | "set" | "extend" | "accept" | "rotate" | "recipient" | "commit" | "approve" | "reject"
        | "claim" | "unclaim" | "expire" => (3, "Update"),
        "delete" | "remove" | "revoke" | "deny" => (4, "Delete"),
        _ => (99, "Other"),
    }
}

/// An attribute that has no value is not there.
fn fill(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(fill);
        }
        Value::Array(items) => items.iter_mut().for_each(fill),
        _ => {}
    }
}

/// One event.
pub fn event(record: &Value, origin: &str) -> Value {
    let action = record["action"].as_str().unwrap_or_default();
    let (activity_id, activity_name) = activity(action);
    let refused = matches!(record["outcome"].as_str(), Some("denied" | "malformed" | "pending"));
    // Clients ask for files that may not be there: a failure, and nothing to look at.
    let failed = refused || record["outcome"] == "absent";
    let text = |key: &str| record[key].as_str();
    let actor = match text("principal") {
        Some(name) => {
            let credential = record["token"].as_u64().map(|token| token.to_string());
            json!({"user": {"name": name, "uid": record["principal_id"].to_string(), "credential_uid": credential}})
        }
        // The keeper itself, or somebody without a credential that holds.
        None => json!({"invoked_by": if text("address").is_some() { "unknown" } else { "strongroom" }}),
    };
    let source = match text("address") {
        Some(address) => json!({"ip": address}),
        None => json!({"name": "strongroom-keeper"}),
    };
    let seq = record["record"].as_u64().unwrap_or_default();
    let mut event = json!({
        "activity_id": activity_id, "activity_name": activity_name,
        "category_uid": CATEGORY, "category_name": "Application Activity",
        "class_uid": CLASS, "class_name": "API Activity",
        "type_uid": CLASS * 100 + activity_id, "type_name": format!("API Activity: {activity_name}"),
        "time": record["time_ms"],
        "severity_id": if refused { 3 } else { 1 }, "severity": if refused { "Medium" } else { "Informational" },
        "status_id": if failed { 2 } else { 1 }, "status": if failed { "Failure" } else { "Success" },
        "actor": actor, "src_endpoint": source,
        "api": {"operation": action, "request": {"uid": text("request_id").unwrap_or_default()}},
        "metadata": {
            "version": "1.3.0", "product": {"name": "Strongroom", "vendor_name": "Strongroom"},
            "log_name": origin, "sequence": seq, "uid": format!("{origin}#{seq}"),
        },
    });
    if let Some(reason) = text("reason") {
        event["status_detail"] = reason.into();
    }
    if let Some(repo) = text("repo") {
        let path = text("path").map(|path| format!(" {path}")).unwrap_or_default();
        let uid = record["repo_id"].as_u64().map(|id| id.to_string());
        event["resources"] = json!([{"name": format!("{repo}{path}"), "type": text("kind"), "uid": uid}]);
    }
    fill(&mut event);
    event["unmapped"] = record.clone();
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_what_the_class_requires() {
        for record in [
            json!({"action": "keeper.start", "outcome": "done", "time_ms": 1}),
            json!({"action": "repo.read", "time_ms": 2}),
        ] {
            let event = event(&record, "strongroom");
            for key in [
                "activity_id",
                "category_uid",
                "class_uid",
                "type_uid",
                "time",
                "severity_id",
                "metadata",
                "actor",
                "api",
                "src_endpoint",
            ] {
                assert!(event.get(key).is_some(), "{key}");
            }
            let id = event["activity_id"].as_u64().unwrap();
            assert_eq!(event["type_uid"], CLASS * 100 + id);
        }
    }
}
