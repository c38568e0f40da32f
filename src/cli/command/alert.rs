//! `alert`: what was raised.

use serde_json::json;
use strongroom_protocol::AlertCommand;
use strongroom_protocol::admin::AdminCommand;

use super::audit::moment;
use crate::Failed;
use crate::arguments::Alert;
use crate::client::Client;
use crate::show::show;

/// `strongroom alert …`: page after page.
///
/// # Errors
/// The server's reason.
pub fn run(alert: Alert) -> Result<(), Failed> {
    let Alert::List { kind, since, limit, remote } = alert;
    let since_ms = since.as_deref().map(moment).transpose()?;
    let (client, mut alerts, mut before) = (Client::new(&remote)?, Vec::new(), None);
    loop {
        let command = AlertCommand::List { kind, since_ms, before };
        let page = client.admin("alert", &AdminCommand::Alert(command))?;
        alerts.extend(page["alerts"].as_array().into_iter().flatten().cloned());
        before = page["next"].as_str().and_then(|next| next.parse().ok());
        if before.is_none() || alerts.len() >= limit {
            alerts.truncate(limit);
            show(&json!({"alerts": alerts}), remote.json);
            return Ok(());
        }
    }
}
