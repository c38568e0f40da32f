//! The local CA and the server's certificate: made at the first run, renewed by whoever has the root key.
//!
//! `tls/server.key` holds the server's key and its chain, one file, so that a renewal is one rename and no crash leaves a
//! key with another key's certificate. `tls/server.pem` is a public copy of the chain; it is served only where an operator
//! has laid the two apart, as other programs want them.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use strongroom_envelope::{Identity, Recipient, open_whole, seal_whole};
use strongroom_keeper::Authority;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use crate::Failed;
use crate::config::Config;

/// Years that the CA and the server's certificate are good for.
const CA_YEARS: i32 = 10;
const SERVER_YEARS: i32 = 2;
/// So long before its end a certificate is worth a warning.
const WARNING: Duration = Duration::from_secs(30 * 24 * 3600);

fn failed(error: rcgen::Error) -> Failed {
    Failed(format!("certificate: {error}"))
}

fn year(now: SystemTime) -> i32 {
    // The mean Gregorian year; a day more or less does not matter here.
    1970 + i32::try_from(seconds(now) / 31_556_952).unwrap_or(0)
}

/// Unix seconds.
fn seconds(now: SystemTime) -> i64 {
    i64::try_from(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// Founds a CA. Its key is needed once in years: it is kept for the root identity and the recovery recipients only.
///
/// # Errors
/// What the system says.
pub fn found(recipients: &[Recipient], now: SystemTime) -> Result<Authority, Failed> {
    let key = KeyPair::generate().map_err(failed)?;
    let mut ca = CertificateParams::new(Vec::new()).map_err(failed)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    ca.distinguished_name.push(DnType::CommonName, "Strongroom local CA");
    let year = year(now);
    (ca.not_before, ca.not_after) = (rcgen::date_time_ymd(year, 1, 1), rcgen::date_time_ymd(year + CA_YEARS, 12, 28));
    let certificate = ca.self_signed(&key).map_err(failed)?.pem();
    let secret = Zeroizing::new(key.serialize_pem());
    let sealed = seal_whole(secret.as_bytes(), recipients);
    let (header, payload) = sealed.map_err(|error| Failed(format!("sealing the CA's key: {error}")))?;
    Ok(Authority { certificate, key_sealed: [header.as_bytes(), &payload].concat() })
}

/// Issues a first certificate to this server, and writes it to the data directory beside the CA's.
///
/// # Errors
/// A file that is there already, a CA's key that does not open with this root identity, or what the system says.
pub fn issue(config: &Config, authority: &Authority, root: &Identity, now: SystemTime) -> Result<(), Failed> {
    let folder = config.data_dir.join("tls");
    let (pair, chain) = signed(config, authority, root, now)?;
    write(&folder.join("ca.pem"), 0o644, authority.certificate.as_bytes())?;
    write(&folder.join("server.key"), 0o600, pair.as_bytes())?;
    // Last of all: with it the folder is whole.
    write(&folder.join("server.pem"), 0o644, chain.as_bytes())
}

/// A fresh key with its chain, and the chain alone, of a CA that goes on as long as they do.
fn signed(
    config: &Config,
    authority: &Authority,
    root: &Identity,
    now: SystemTime,
) -> Result<(Zeroizing<String>, String), Failed> {
    let secret = open_whole(&authority.key_sealed, root)
        .map_err(|error| Failed(format!("the CA's key: {error}: is this the root key of this server?")))?;
    let key = KeyPair::from_pem(std::str::from_utf8(&secret).unwrap_or_default()).map_err(failed)?;
    let wrong = |error: &dyn std::fmt::Display| Failed(format!("the CA's certificate: {error}"));
    let certificate =
        CertificateDer::from_pem_slice(authority.certificate.as_bytes()).map_err(|error| wrong(&error))?;
    let end = Facts::of(&certificate).map_err(|error| wrong(&error))?.end;
    if end < seconds(now + Duration::from_secs(SERVER_YEARS as u64 * 366 * 24 * 3600)) {
        return Err(wrong(&"it ends too soon to sign another certificate; every client needs a new CA"));
    }
    let issuer = Issuer::from_ca_cert_der(&certificate, &key).map_err(failed)?;
    server(config, &issuer, year(now))
}

/// A fresh key with its chain, and the chain alone.
fn server(config: &Config, issuer: &Issuer<'_, &KeyPair>, year: i32) -> Result<(Zeroizing<String>, String), Failed> {
    let key = KeyPair::generate().map_err(failed)?;
    let mut server = CertificateParams::new(config.names()).map_err(failed)?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.distinguished_name.push(DnType::CommonName, "Strongroom");
    server.use_authority_key_identifier_extension = true;
    server.not_before = rcgen::date_time_ymd(year, 1, 1);
    server.not_after = rcgen::date_time_ymd(year + SERVER_YEARS, 12, 28);
    let chain = server.signed_by(&key, issuer).map_err(failed)?.pem();
    let secret = Zeroizing::new(key.serialize_pem());
    Ok((Zeroizing::new([secret.as_str(), &chain].concat()), chain))
}

/// A fresh key and certificate for the names that are configured now, of the same CA; a running server goes on with its
/// old ones until it starts again.
///
/// # Errors
/// No CA key for this root identity, a CA that ends before the certificate would, or what the system says.
pub fn renew(config: &Config, authority: &Authority, root: &Identity, now: SystemTime) -> Result<Value, Failed> {
    let folder = config.data_dir.join("tls");
    let (pair, chain) = signed(config, authority, root, now)?;
    // If we die before this, the old pair is whole; if we die after it, the new one is, and only the public copy is old.
    replace(&folder, "server.key", 0o600, pair.as_bytes())?;
    replace(&folder, "server.pem", 0o644, chain.as_bytes())?;
    Ok(json!({"names": config.names(), "served_from": "the next start", "file": folder.join("server.key")}))
}

/// Writes a file that is not there yet; durable when this returns.
///
/// # Errors
/// What the system says, with the path.
pub fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), Failed> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    written.map_err(|error| Failed(format!("{}: {error}", path.display())))
}

/// Another file, durable, and then its name, durable.
fn replace(folder: &Path, name: &str, mode: u32, content: &[u8]) -> Result<(), Failed> {
    let (path, staged) = (folder.join(name), folder.join(format!("{name}.new")));
    let failed = |error: std::io::Error| Failed(format!("{}: {error}", path.display()));
    // What a renewal that died has left.
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    write(&staged, mode, content)?;
    fs::rename(&staged, &path).map_err(failed)?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// What a certificate says.
struct Facts {
    /// Unix seconds.
    end: i64,
    names: Vec<String>,
}

impl Facts {
    fn of(certificate: &[u8]) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let alternative = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
        let names =
            alternative.into_iter().flat_map(|held| held.value.general_names.iter()).filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                GeneralName::IPAddress(octets) => match octets.len() {
                    4 => <[u8; 4]>::try_from(*octets).ok().map(|octets| IpAddr::from(octets).to_string()),
                    _ => <[u8; 16]>::try_from(*octets).ok().map(|octets| IpAddr::from(octets).to_string()),
                },
                _ => None,
            });
        Ok(Self { end: parsed.validity().not_after.timestamp(), names: names.collect() })
    }

    fn names(&self, host: &str) -> bool {
        let above = host.split_once('.').map(|(_, above)| above);
        let same = |name: &String| {
            name.eq_ignore_ascii_case(host)
                || name.strip_prefix("*.").zip(above).is_some_and(|(held, above)| held.eq_ignore_ascii_case(above))
        };
        self.names.iter().any(same)
    }
}

/// What is wrong with the certificate that the next start serves, if there is one: whether clients refuse it already, what,
/// and the mend.
pub fn examine(config: &Config, now: SystemTime) -> Option<(bool, String, String)> {
    let folder = config.data_dir.join("tls");
    let mend = "strongroom key renew-certificate with the same flags, then start the server again".to_owned();
    let first = |name: &str| CertificateDer::pem_file_iter(folder.join(name)).ok()?.next()?.ok();
    let certificate = first("server.key").or_else(|| first("server.pem"))?;
    let facts = match Facts::of(&certificate) {
        Ok(facts) => facts,
        Err(error) => return Some((true, format!("the server's certificate can't be read: {error}"), mend)),
    };
    let left = facts.end - seconds(now);
    if left <= 0 {
        return Some((true, "the server's certificate has ended: clients refuse it".to_owned(), mend));
    }
    let hosts = config.hosts.iter().map(|host| host.split(':').next().unwrap_or(host));
    let missing: Vec<&str> = hosts.filter(|host| !facts.names(host)).collect();
    if !missing.is_empty() {
        return Some((false, format!("the server's certificate does not name {}", missing.join(", ")), mend));
    }
    let soon = left < i64::try_from(WARNING.as_secs()).unwrap_or(i64::MAX);
    soon.then(|| (false, format!("the server's certificate ends in {} days", left / (24 * 3600)), mend))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Server;

    fn at(year: u64, days: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_556_952 + days * 24 * 3600)
    }

    fn house(name: &str) -> (Config, Authority, Identity) {
        let folder = std::env::temp_dir().join(format!("strongroom-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("tls")).unwrap();
        let server =
            Server { data_dir: Some(folder.clone()), root_key: Some(folder.join("none")), ..Server::default() };
        let (config, root) = (Config::load(&server).unwrap(), Identity::generate());
        let authority = found(&[root.to_recipient()], at(2026, 100)).unwrap();
        issue(&config, &authority, &root, at(2026, 100)).unwrap();
        (config, authority, root)
    }

    #[test]
    fn a_certificate_that_ends_soon_is_told_of_and_renewed() {
        let (config, authority, root) = house("renewal");
        let told = |now| examine(&config, now).map(|(refused, what, _)| (refused, what));
        assert_eq!(told(at(2028, 300)), None);
        let (refused, what) = told(at(2028, 345)).unwrap();
        assert!(!refused && what.contains("ends in"), "{what}");
        assert!(told(at(2029, 10)).unwrap().0, "ended");
        renew(&config, &authority, &root, at(2028, 345)).unwrap();
        assert_eq!(told(at(2029, 10)), None);
        let late = renew(&config, &authority, &root, at(2035, 10)).unwrap_err();
        assert!(late.0.contains("ends too soon"), "the CA's own end: {late}");
    }

    #[test]
    fn a_host_that_the_certificate_does_not_name_is_told_of() {
        let (mut config, authority, root) = house("names");
        config.hosts = vec!["models.example.org:8443".to_owned()];
        let (refused, what, _) = examine(&config, at(2026, 100)).unwrap();
        assert!(!refused && what.contains("models.example.org"), "{what}");
        renew(&config, &authority, &root, at(2026, 100)).unwrap();
        assert!(examine(&config, at(2026, 100)).is_none());
    }

    #[test]
    fn another_root_key_renews_nothing_and_a_renewal_that_died_is_no_obstacle() {
        let (config, authority, root) = house("another");
        let pair = config.data_dir.join("tls").join("server.key");
        let before = fs::read(&pair).unwrap();
        assert!(renew(&config, &authority, &Identity::generate(), at(2026, 100)).is_err());
        assert_eq!(fs::read(&pair).unwrap(), before);
        fs::write(config.data_dir.join("tls").join("server.key.new"), "half").unwrap();
        renew(&config, &authority, &root, at(2026, 100)).unwrap();
        assert_ne!(fs::read(&pair).unwrap(), before);
    }
}
