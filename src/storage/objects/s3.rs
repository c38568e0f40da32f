//! Where a bucket is, and by which key it knows us.

use std::path::{Path as FsPath, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::ObjectError;

/// Why a bucket can't be used so.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// Not `s3://BUCKET[/PREFIX]`.
    #[error("objects are in s3://BUCKET[/PREFIX]")]
    Form,
    /// Not a URL of HTTPS; HTTP goes over loopback alone.
    #[error("an endpoint is https://HOST[:PORT]; http:// is for this machine's own addresses alone")]
    Endpoint,
    /// A file that can't be read, or does not hold what it should.
    #[error("{0}: {1}")]
    File(PathBuf, String),
    /// Anyone may list it.
    #[error("anyone may list the bucket: take that right away from the public")]
    Public,
}

/// A bucket of an S3-compatible store.
#[derive(Clone)]
pub struct S3 {
    bucket: String,
    prefix: String,
    endpoint: Option<Url>,
    region: String,
    key: Option<(String, Zeroizing<String>)>,
    certificates: Option<Vec<u8>>,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

impl FromStr for S3 {
    type Err = S3Error;

    fn from_str(text: &str) -> Result<Self, S3Error> {
        let url: Url = text.parse().map_err(|_| S3Error::Form)?;
        let bucket =
            url.host_str().filter(|_| url.scheme() == "s3" && url.username().is_empty() && url.port().is_none());
        let bucket = bucket.ok_or(S3Error::Form)?.to_owned();
        let prefix = url.path().trim_matches('/').to_owned();
        Ok(Self { bucket, prefix, endpoint: None, region: "us-east-1".to_owned(), key: None, certificates: None })
    }
}

fn read(file: &FsPath) -> Result<Zeroizing<String>, S3Error> {
    let failed = |error: std::io::Error| S3Error::File(file.to_owned(), error.to_string());
    std::fs::read_to_string(file).map(Zeroizing::new).map_err(failed)
}

impl S3 {
    /// Another store than Amazon's.
    ///
    /// # Errors
    /// [`S3Error::Endpoint`].
    pub fn with_endpoint(self, endpoint: &str) -> Result<Self, S3Error> {
        let url: Url = endpoint.parse().map_err(|_| S3Error::Endpoint)?;
        let here = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && here) || !url.username().is_empty() {
            return Err(S3Error::Endpoint);
        }
        Ok(Self { endpoint: Some(url), ..self })
    }

    /// Another region than us-east-1.
    #[must_use]
    pub fn with_region(self, region: String) -> Self {
        Self { region, ..self }
    }

    /// With the access key in a file: its id in the first line, its secret in the second.
    ///
    /// # Errors
    /// [`S3Error::File`].
    pub fn with_key_in(self, file: &FsPath) -> Result<Self, S3Error> {
        let text = read(file)?;
        let mut lines = text.lines();
        let (Some(id), Some(secret)) = (lines.next(), lines.next()) else {
            let what = "the id of the access key in the first line, its secret in the second";
            return Err(S3Error::File(file.to_owned(), what.to_owned()));
        };
        Ok(Self { key: Some((id.to_owned(), Zeroizing::new(secret.to_owned()))), ..self })
    }

    /// With the certificates (PEM) that sign the store's, in place of the system's.
    ///
    /// # Errors
    /// [`S3Error::File`].
    pub fn with_certificates_in(self, file: &FsPath) -> Result<Self, S3Error> {
        Ok(Self { certificates: Some(read(file)?.as_bytes().to_vec()), ..self })
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.endpoint.as_ref().and_then(Url::port_or_known_default).unwrap_or(443)
    }

    /// Whether the host is a name that must be looked up.
    pub fn is_named(&self) -> bool {
        self.endpoint.as_ref().is_none_or(|url| matches!(url.host(), Some(Host::Domain(_))))
    }

    pub(super) fn connect(&self, signed: bool) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        // A store that hangs is as bad as one that is gone.
        let mut client = ClientOptions::new()
            .with_connect_timeout(Duration::from_secs(5))
            .with_read_timeout(Duration::from_secs(30))
            .with_timeout_disabled();
        for certificate in self.certificates.iter().flat_map(|pem| Certificate::from_pem_bundle(pem)).flatten() {
            client = client.with_root_certificate(certificate);
        }
        // A store whose nodes choose a new leader refuses for some seconds: time ends the tries before their number does.
        let backoff = BackoffConfig { max_backoff: Duration::from_secs(3), ..BackoffConfig::default() };
        let retry = RetryConfig { backoff, max_retries: 30, retry_timeout: Duration::from_secs(30) };
        let mut builder = AmazonS3Builder::new().with_bucket_name(&self.bucket).with_region(&self.region);
        if let Some(endpoint) = &self.endpoint {
            let plain = endpoint.scheme() == "http";
            builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/')).with_allow_http(plain);
            client = client.with_allow_http(plain);
        }
        builder = match &self.key {
            Some((id, secret)) if signed => builder.with_access_key_id(id).with_secret_access_key(secret.as_str()),
            _ => builder.with_skip_signature(true),
        };
        let store = builder.with_client_options(client).with_retry(retry).build()?;
        Ok(Arc::new(PrefixStore::new(store, Path::from(self.prefix.as_str()))))
    }

    /// Asks the store without a key.
    ///
    /// # Errors
    /// [`S3Error::Public`] where it answers all the same.
    pub async fn check_is_private(&self) -> Result<(), S3Error> {
        let Ok(store) = self.connect(false) else { return Ok(()) };
        match store.list(None).next().await {
            Some(Err(_)) => Ok(()),
            // An empty list is an answer too.
            Some(Ok(_)) | None => Err(S3Error::Public),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_reached_over_https_or_on_this_machine() {
        let bucket: S3 = "s3://rooms/some/where".parse().unwrap();
        assert_eq!((bucket.bucket.as_str(), bucket.prefix.as_str(), bucket.port()), ("rooms", "some/where", 443));
        for (endpoint, good) in [
            ("https://s3.example.org", true),
            ("http://127.0.0.1:8333", true),
            ("http://s3.example.org", false),
            ("http://10.0.0.1:9000", false),
            ("https://id:secret@s3.example.org", false),
            ("s3.example.org", false),
        ] {
            assert_eq!(bucket.clone().with_endpoint(endpoint).is_ok(), good, "{endpoint}");
        }
        for wrong in ["rooms", "https://rooms", "s3://id:secret@rooms", "s3:///x"] {
            assert!(wrong.parse::<S3>().is_err(), "{wrong}");
        }
    }
}
