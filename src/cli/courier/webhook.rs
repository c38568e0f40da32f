//! A webhook, as Standard Webhooks has it (<https://www.standardwebhooks.com>): `webhook-id`, `webhook-timestamp`, and in
//! `webhook-signature` the HMAC-SHA-256 of both and the body.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use strongroom_domain::Network;
use strongroom_gate::Outgoing;
use strongroom_protocol::Dispatch;
use ureq::Agent;

use super::https::{agent, outgoing, place};
use crate::{Failed, words};

/// All of one delivery.
const DEADLINE: Duration = Duration::from_secs(20);
/// Bytes of a signing secret, as Standard Webhooks has them.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A webhook.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Webhook {
    /// `https://…`.
    pub url: String,
    /// The signing secret: `whsec_` and base64.
    pub secret_file: PathBuf,
    /// Whom its certificate is of; by default whoever the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Networks of the inside that it may be in.
    pub allow: Vec<Network>,
}

/// A signing secret from its file.
///
/// # Errors
/// What is wrong with it; never what it is.
pub fn secret(file: &Path) -> Result<hmac::Key, Failed> {
    let about = |what: &dyn std::fmt::Display| Failed(format!("{}: {what}", file.display()));
    let text = zeroize::Zeroizing::new(fs::read_to_string(file).map_err(|error| about(&error))?);
    let bytes = text.trim().strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    let bytes = bytes.filter(|bytes| SECRET_BYTES.contains(&bytes.len()));
    let bytes = zeroize::Zeroizing::new(bytes.ok_or_else(|| {
        about(&"a signing secret is whsec_ and 24 to 64 bytes in base64: echo whsec_$(openssl rand -base64 32)")
    })?);
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// What sends.
pub struct Sender {
    agent: Agent,
    url: String,
    key: hmac::Key,
}

impl Webhook {
    /// Reads what it needs.
    ///
    /// # Errors
    /// What can't be read.
    pub fn sender(&self) -> Result<Sender, Failed> {
        let agent = agent(self.ca_file.as_deref(), &self.allow, DEADLINE)?;
        Ok(Sender { agent, url: self.url.clone(), key: secret(&self.secret_file)? })
    }

    /// What its courier still reaches.
    ///
    /// # Errors
    /// A URL without a host.
    pub fn outgoing(&self) -> Result<Outgoing, Failed> {
        outgoing(&self.url)
    }

    /// Its host and port.
    ///
    /// # Errors
    /// A URL without a host.
    pub fn place(&self) -> Result<(String, u16), Failed> {
        place(&self.url)
    }
}

impl Sender {
    /// Sends one.
    ///
    /// # Errors
    /// Why the receiver does not have it.
    pub fn send(&self, alert: &Dispatch) -> Result<(), Failed> {
        let id = format!("alert_{}", alert.id);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let body = format!(r#"{{"type":"strongroom.alert","timestamp":{now},"data":{}}}"#, alert.body);
        let signature = STANDARD.encode(hmac::sign(&self.key, format!("{id}.{now}.{body}").as_bytes()));
        let request = self.agent.post(&self.url).header("content-type", "application/json");
        let request = request.header("webhook-id", id).header("webhook-timestamp", now.to_string());
        let answer = request.header("webhook-signature", format!("v1,{signature}")).send(body);
        let status = answer.map_err(words)?.status();
        match status.as_u16() {
            200..=299 => Ok(()),
            300..=399 => Err(Failed(format!("{status}: a redirect is not followed"))),
            _ => Err(Failed(status.to_string())),
        }
    }
}
