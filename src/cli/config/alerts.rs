//! Where alerts go: in the configuration file alone, never over the API.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use strongroom_domain::Network;
use ureq::http::Uri;

use crate::Failed;
use crate::courier::{Collector, Sink, Syslog, Webhook};

/// `[alerts]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsFile {
    pub webhook: Option<String>,
    pub webhook_secret_file: Option<PathBuf>,
    pub webhook_ca_file: Option<PathBuf>,
    pub allow: Vec<Network>,
    pub syslog: Option<String>,
    pub syslog_ca_file: Option<PathBuf>,
}

impl AlertsFile {
    /// The sinks.
    ///
    /// # Errors
    /// What is no URL of its kind, or is missing.
    pub fn sinks(&self) -> Result<Vec<Sink>, Failed> {
        let mut sinks = Vec::new();
        if let Some(url) = &self.webhook {
            let wrong = || Failed("alerts.webhook: an address begins with https:// and has no user in it".to_owned());
            let parsed: Uri = url.parse().map_err(|_| wrong())?;
            let plain = parsed.authority().is_some_and(|authority| !authority.as_str().contains('@'));
            if parsed.scheme_str() != Some("https") || !plain {
                return Err(wrong());
            }
            let secret_file = self.webhook_secret_file.clone();
            let secret_file =
                secret_file.ok_or_else(|| Failed("alerts.webhook needs alerts.webhook_secret_file".to_owned()))?;
            let (ca_file, allow) = (self.webhook_ca_file.clone(), self.allow.clone());
            sinks.push(Sink::Webhook(Webhook { url: url.clone(), secret_file, ca_file, allow }));
        }
        if let Some(url) = &self.syslog {
            let (ca_file, allow) = (self.syslog_ca_file.clone(), self.allow.clone());
            sinks.push(Sink::Syslog(match url.parse()? {
                Syslog::Tls(collector) => Syslog::Tls(Collector { ca_file, allow, ..collector }),
                _ if ca_file.is_some() => {
                    return Err(Failed("alerts.syslog_ca_file is for alerts.syslog = \"tls://HOST:PORT\"".to_owned()));
                }
                plain => plain,
            }));
        }
        Ok(sinks)
    }
}
