//! Where alerts go: a secret that others read signs nothing, and a webhook that leads inside gets nothing.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

use crate::config::Config;
use crate::courier::{Sink, resolved, webhook_secret};

/// What is dangerous about them: whether it stops the start, what, the mend.
pub fn examine(config: &Config) -> Vec<(bool, String, String)> {
    let mut found = Vec::new();
    let sinks = match config.alerts.sinks() {
        Ok(sinks) => sinks,
        Err(error) => return vec![(true, error.to_string(), "see [alerts] in deploy/strongroom.toml".to_owned())],
    };
    for webhook in sinks.iter().filter_map(|sink| match sink {
        Sink::Webhook(webhook) => Some(webhook),
        Sink::Syslog(_) => None,
    }) {
        let file = &webhook.secret_file;
        if fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
            let mend = format!("chmod 0400 {}", file.display());
            found.push((true, format!("{} can be read by others", file.display()), mend));
        }
        if let Err(error) = webhook_secret(file) {
            found.push((
                true,
                format!("alerts.webhook_secret_file: {error}"),
                "make one for the server's user".to_owned(),
            ));
        }
        let Ok((host, port)) = webhook.place() else { continue };
        if let Err(why) = resolved(&host, port, &webhook.allow) {
            // What a name service says now it may not say later: each delivery looks again.
            let certain = host == "localhost" || host.parse::<IpAddr>().is_ok();
            let mend = "name its network in alerts.allow, if it may be there".to_owned();
            found.push((certain, format!("alerts.webhook gets nothing: {why}"), mend));
        }
    }
    found
}
