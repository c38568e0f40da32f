//! `GET …/user-access-request/{pending|accepted|rejected}`.

use std::sync::Arc;

use serde_json::{Value, json as value};
use strongroom_protocol::AccessCommand;

use super::send;
use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::{Answer, json, link_next};

/// The repository's requests of one status, a page of them.
///
/// # Errors
/// 400, 403, 404.
pub async fn get(gate: Arc<Gate>, call: Call) -> Answer {
    let (kind, repo) = call.repo()?;
    let status = call.parse("status")?;
    let after = call.query("cursor").map(str::parse).transpose();
    let after = after.map_err(|_| Refused::bad("this cursor is none of this list: begin without one"))?;
    let told = send(&gate, &call, AccessCommand::List { of: Some((kind, repo)), status: Some(status), after }).await?;
    let row = |row: &Value| {
        value!({
            "user": {"user": row["user"], "fullname": row["user"], "email": null},
            "requestId": row["id"].to_string(), "status": row["status"], "timestamp": row["asked"],
            "fields": row["fields"],
        })
    };
    let rows: Vec<Value> = told["requests"].as_array().into_iter().flatten().map(row).collect();
    let mut response = json(&rows.into());
    if let Some(next) = told["next"].as_u64() {
        let (kind, repo) = call.repo()?;
        let url = format!("{}/api/{kind}s/{repo}/user-access-request/{status}?cursor={next}", call.base);
        link_next(&mut response, &url);
    }
    Ok(response)
}
