//! Where alerts go: a secret that others read signs nothing, and a webhook or a collector that leads inside gets nothing.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::Config;
use crate::courier::{Sink, Syslog, resolved, webhook_secret};

/// What is dangerous about them: whether it stops the start, what, the mend.
pub fn examine(config: &Config) -> Vec<(bool, String, String)> {
    let mut found = Vec::new();
    let sinks = match config.alerts.sinks() {
        Ok(sinks) => sinks,
        Err(error) => return vec![(true, error.to_string(), "see [alerts] in deploy/strongroom.toml".to_owned())],
    };
    for sink in &sinks {
        let (what, place, allow) = match sink {
            Sink::Webhook(webhook) => {
                found.extend(secret(&webhook.secret_file));
                let Ok(place) = webhook.place() else { continue };
                ("webhook", place, &webhook.allow)
            }
            Sink::Syslog(Syslog::Tls(collector)) => {
                let place = (collector.place.host.clone(), collector.place.port);
                ("syslog", place, &collector.allow)
            }
            // Plain, and of this machine or of a network whose own it is.
            Sink::Syslog(_) => continue,
        };
        let (host, port) = place;
        if let Err(why) = resolved(&host, port, allow) {
            // What a name service says now it may not say later: each delivery looks again.
            let certain = host == "localhost" || host.parse::<IpAddr>().is_ok();
            let mend = "name its network in alerts.allow, if it may be there".to_owned();
            found.push((certain, format!("alerts.{what} gets nothing: {why}"), mend));
        }
    }
    found
}

fn secret(file: &Path) -> Vec<(bool, String, String)> {
    let mut found = Vec::new();
    if fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
        let mend = format!("chmod 0400 {}", file.display());
        found.push((true, format!("{} can be read by others", file.display()), mend));
    }
    if let Err(error) = webhook_secret(file) {
        found.push((true, format!("alerts.webhook_secret_file: {error}"), "make one for the server's user".to_owned()));
    }
    found
}
