//! How a courier speaks https to an address that stands in the configuration.
//!
//! Who could set the URL, or the name service that it is looked up in, shall not make this server ask its own network: the address
//! is looked up here, once, looked at, and connected to.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use strongroom_domain::{Network, is_inside};
use strongroom_gate::Outgoing;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::{Failed, words};

/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;
/// Where systems keep the certificates that they trust.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

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
        Some(address) => Err(format!("{host} is at {}, which lies inside; `allow` does not name it", address.ip())),
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

/// The file with the certificates that this system trusts.
pub fn bundle() -> Option<PathBuf> {
    BUNDLES.iter().map(PathBuf::from).find(|file| file.exists())
}

fn roots(file: Option<&Path>) -> Result<RootCerts, Failed> {
    let file = file
        .map(PathBuf::from)
        .or_else(bundle)
        .ok_or_else(|| Failed("this system has no certificates: name a CA's file".to_owned()))?;
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

/// What speaks https, to no address inside but those of `allow`; all of one exchange has this long.
///
/// # Errors
/// Certificates that can't be read.
pub fn agent(ca_file: Option<&Path>, allow: &[Network], deadline: Duration) -> Result<Agent, Failed> {
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(roots(ca_file)?)
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
        .timeout_global(Some(deadline))
        .user_agent("strongroom")
        .build();
    Ok(Agent::with_parts(config, DefaultConnector::default(), Checked(allow.to_vec())))
}

/// The host and the port of a URL.
///
/// # Errors
/// A URL without a host.
pub fn place(url: &str) -> Result<(String, u16), Failed> {
    let uri: Uri = url.parse().map_err(words)?;
    let host = uri.host().ok_or_else(|| Failed(format!("{url} names no host")))?;
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), uri.port_u16().unwrap_or(443)))
}

/// What a process that asks a URL still reaches.
///
/// # Errors
/// A URL without a host.
pub fn outgoing(url: &str) -> Result<Outgoing, Failed> {
    let (host, port) = place(url)?;
    let names = host.parse::<std::net::IpAddr>().is_err();
    Ok(Outgoing { ports: vec![port], names, certificates: Vec::new() })
}

/// Whether a URL is https, and has nobody in it.
pub fn is_plain_https(url: &str) -> bool {
    let parsed = url.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("https"));
    parsed.is_some_and(|uri| uri.authority().is_some_and(|authority| !authority.as_str().contains('@')))
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
