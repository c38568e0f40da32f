//! What TLS is made of.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::{ServerConfig, version};

use super::suites::suites;
use crate::gate::Settings;

/// TLS 1.3, and 1.2 only where the configuration says so; HTTP/1.1 only.
pub fn tls(settings: &Settings) -> Result<TlsAcceptor, String> {
    let folder = settings.data_dir.join("tls");
    let read = |what: &str, error: &dyn std::fmt::Display| format!("{}: {error}", folder.join(what).display());
    let chain = |name: &str| -> Result<Vec<_>, String> {
        let found = CertificateDer::pem_file_iter(folder.join(name)).map_err(|error| read(name, &error))?;
        found.collect::<Result<_, _>>().map_err(|error| read(name, &error))
    };
    // Beside its key where it can be, so that the two can't be of different renewals.
    let beside = chain("server.key")?;
    let chain = if beside.is_empty() { chain("server.pem")? } else { beside };
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).map_err(|error| read("server.key", &error))?;
    acceptor(chain, key, settings.tls12)
}

/// TLS 1.3 with a certificate and its key in PEM files.
///
/// # Errors
/// What can't be read, or does not belong together.
pub fn tls_of(certificate: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let about = |file: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| about(certificate, &error))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| about(certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| about(key, &error))?;
    acceptor(chain, key, false)
}

fn acceptor(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    tls12: bool,
) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(CryptoProvider { cipher_suites: suites(), ..aws_lc_rs::default_provider() });
    let versions: &[&_] = if tls12 { &[&version::TLS13, &version::TLS12] } else { &[&version::TLS13] };
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Nothing is resumed: what a session could be continued by is a secret that would stand here, and another replica would
    // not know it. A ticket nobody uses costs a tenth of a connection.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(TlsAcceptor::from(Arc::new(config)))
}
