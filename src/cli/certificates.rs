//! The instance's own CA, and the certificates that it issues to its servers.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use strongroom_envelope::{Identity, Recipient, open_whole, seal_whole};
use strongroom_keeper::Authority;
use zeroize::Zeroizing;

use crate::Failed;
use crate::config::Config;

/// Years that the CA and a server's certificate are good for.
const CA_YEARS: i32 = 10;
const SERVER_YEARS: i32 = 2;

fn failed(error: impl std::fmt::Display) -> Failed {
    Failed(format!("certificate: {error}"))
}

fn this_year() -> i32 {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    // The mean Gregorian year; a day more or less does not matter here.
    1970 + i32::try_from(seconds / 31_556_952).unwrap_or(0)
}

/// What names the CA as an issuer must be the same each time.
fn authority_params() -> Result<CertificateParams, Failed> {
    let mut ca = CertificateParams::new(Vec::new()).map_err(failed)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    ca.distinguished_name.push(DnType::CommonName, "Strongroom local CA");
    let year = this_year();
    (ca.not_before, ca.not_after) = (rcgen::date_time_ymd(year, 1, 1), rcgen::date_time_ymd(year + CA_YEARS, 12, 28));
    Ok(ca)
}

/// Founds a CA. Its key is needed once in years: it is kept for the root identity only.
///
/// # Errors
/// What the system says.
pub fn found(root: &Recipient) -> Result<Authority, Failed> {
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = authority_params()?.self_signed(&key).map_err(failed)?.pem();
    let secret = Zeroizing::new(key.serialize_pem());
    let (header, payload) = seal_whole(secret.as_bytes(), std::slice::from_ref(root)).map_err(failed)?;
    Ok(Authority { certificate, key_sealed: [header.as_bytes(), &payload].concat() })
}

/// Issues a certificate to this server, and writes it to the data directory beside the CA's.
///
/// # Errors
/// What the system says, or that the CA's key does not open with this root identity.
pub fn issue(config: &Config, authority: &Authority, root: &Identity) -> Result<(), Failed> {
    let secret = open_whole(&authority.key_sealed, root)
        .map_err(|error| Failed(format!("the CA's key: {error}: is this the root key of this database?")))?;
    let secret = std::str::from_utf8(&secret).map_err(failed)?;
    let ca_key = KeyPair::from_pem(secret).map_err(failed)?;
    let server_key = KeyPair::generate().map_err(failed)?;
    let mut server = CertificateParams::new(config.names()).map_err(failed)?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.distinguished_name.push(DnType::CommonName, "Strongroom");
    server.use_authority_key_identifier_extension = true;
    let year = this_year();
    server.not_before = rcgen::date_time_ymd(year, 1, 1);
    server.not_after = rcgen::date_time_ymd(year + SERVER_YEARS, 12, 28);
    let ca = authority_params()?;
    let certificate = server.signed_by(&server_key, &Issuer::from_params(&ca, &ca_key)).map_err(failed)?;
    let folder = config.data_dir.join("tls");
    write(&folder.join("ca.pem"), 0o644, authority.certificate.as_bytes())?;
    write(&folder.join("ca.key.age"), 0o600, &authority.key_sealed)?;
    write(&folder.join("server.key"), 0o600, Zeroizing::new(server_key.serialize_pem()).as_bytes())?;
    // Last of all: with it the data directory is whole.
    write(&folder.join("server.pem"), 0o644, certificate.pem().as_bytes())
}

/// Writes a file that is not there yet, durably.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), Failed> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    written.map_err(|error| Failed(format!("{}: {error}", path.display())))
}
