//! A webhook, as Standard Webhooks has it (<https://www.standardwebhooks.com>): `webhook-id`, `webhook-timestamp`, and in
//! `webhook-signature` the HMAC-SHA-256 of both and the body.
//!
//! Who could set the URL, or the name service that it is looked up in, shall not make this server ask its own network: the address
//! is looked up here, once, looked at, and connected to.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use strongroom_domain::{Network, is_inside};
use strongroom_gate::Outgoing;
use strongroom_protocol::Dispatch;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::{Failed, words};

/// All of one delivery.
const DEADLINE: Duration = Duration::from_secs(20);
/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;
/// Bytes of a signing secret, as Standard Webhooks has them.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Where systems keep the certificates that they trust.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

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

/// The addresses of a host, each of which may be connected to.
///
/// # Errors
/// Which one may not, or that there is none. One of several is enough: a name that leads inside now and then is no other.
pub fn resolved(host: &str, port: u16, allow: &[Network]) -> Result<Vec<SocketAddr>, String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = (host, port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    let found: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    let refused =
        |address: &&SocketAddr| is_inside(address.ip()) && !allow.iter().any(|net| net.contains(address.ip()));
    match found.iter().find(refused) {
        Some(address) => {
            Err(format!("{host} is at {}, which lies inside; alerts.allow does not name it", address.ip()))
        }
        None if found.is_empty() => Err(format!("{host} has no address")),
        None => Ok(found),
    }
}

/// Looks the host up, and gives no address that may not be connected to.
#[derive(Debug)]
struct Checked(Vec<Network>);

impl Resolver for Checked {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let found = resolved(host, uri.port_u16().unwrap_or(443), &self.0);
        let mut addresses = self.empty();
        found.map_err(|why| ureq::Error::Io(std::io::Error::other(why)))?.into_iter().for_each(|a| addresses.push(a));
        Ok(addresses)
    }
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

/// The file with the certificates that this system trusts.
pub fn bundle() -> Option<PathBuf> {
    BUNDLES.iter().map(PathBuf::from).find(|file| file.exists())
}

fn roots(file: Option<&Path>) -> Result<RootCerts, Failed> {
    let file = file
        .map(PathBuf::from)
        .or_else(bundle)
        .ok_or_else(|| Failed("this system has no certificates: set alerts.webhook_ca_file".to_owned()))?;
    let about = |what: &dyn std::fmt::Display| Failed(format!("{}: {what}", file.display()));
    let pem = fs::read(&file).map_err(|error| about(&error))?;
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| about(&error))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() { Err(about(&"no certificate")) } else { Ok(RootCerts::new_with_certs(&certificates)) }
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
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(roots(self.ca_file.as_deref())?)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            // Where a redirect leads nobody has looked at; nor where a proxy of the environment goes.
            .max_redirects(0)
            .proxy(None)
            .max_idle_connections(0)
            .timeout_global(Some(DEADLINE))
            .user_agent("strongroom")
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), Checked(self.allow.clone()));
        Ok(Sender { agent, url: self.url.clone(), key: secret(&self.secret_file)? })
    }

    /// What its courier still reaches.
    ///
    /// # Errors
    /// A URL without a host.
    pub fn outgoing(&self) -> Result<Outgoing, Failed> {
        let (host, port) = self.place()?;
        let names = host.parse::<std::net::IpAddr>().is_err();
        Ok(Outgoing { ports: vec![port], names, certificates: Vec::new() })
    }

    /// Its host and port.
    ///
    /// # Errors
    /// A URL without a host.
    pub fn place(&self) -> Result<(String, u16), Failed> {
        let uri: Uri = self.url.parse().map_err(words)?;
        let host = uri.host().ok_or_else(|| Failed("alerts.webhook names no host".to_owned()))?;
        Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), uri.port_u16().unwrap_or(443)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_inside_is_given_only_where_it_is_named() {
        let allow = |text: &str| vec![text.parse().unwrap()];
        assert!(resolved("127.0.0.1", 443, &[]).unwrap_err().contains("inside"));
        assert!(resolved("localhost", 443, &[]).unwrap_err().contains("inside"));
        assert!(resolved("[::1]", 443, &allow("127.0.0.0/8")).is_err());
        assert!(resolved("169.254.169.254", 80, &allow("10.0.0.0/8")).is_err());
        assert_eq!(resolved("127.0.0.1", 443, &allow("127.0.0.0/8")).unwrap().len(), 1);
        assert_eq!(resolved("1.1.1.1", 443, &[]).unwrap().len(), 1);
    }
}
