//! Where a PostgreSQL server is, and by which password it knows us.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::{Host, Url};
use zeroize::Zeroizing;

/// Why a server can't be named so.
#[derive(Debug)]
pub enum RemoteError {
    /// Not `postgres://USER@HOST[:PORT]/DATABASE`.
    Form,
    /// A password in the URL: it would stand in files and in lists of processes.
    Password,
    /// The password's file.
    File(PathBuf, std::io::Error),
}

impl std::fmt::Display for RemoteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Form => f.write_str("a database is postgres://USER@HOST[:PORT]/DATABASE"),
            Self::Password => f.write_str("a password does not belong into a URL: name a file with the password"),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for RemoteError {}

/// A PostgreSQL server, database and role.
#[derive(Clone)]
pub struct Remote {
    url: Url,
    password: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Remote {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, RemoteError> {
        let url: Url = text.parse().map_err(|_| RemoteError::Form)?;
        if url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password") {
            return Err(RemoteError::Password);
        }
        let whole = url.host().is_some() && !url.username().is_empty() && url.path().len() > 1;
        if !matches!(url.scheme(), "postgres" | "postgresql") || !whole {
            return Err(RemoteError::Form);
        }
        Ok(Self { url, password: None })
    }
}

impl Remote {
    /// With the password that is a file's first line.
    ///
    /// # Errors
    /// [`RemoteError::File`].
    pub fn with_password_in(self, file: &Path) -> Result<Self, RemoteError> {
        let failed = |error| RemoteError::File(file.to_owned(), error);
        let text = Zeroizing::new(std::fs::read_to_string(file).map_err(failed)?);
        let password = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
        Ok(Self { password: Some(password), ..self })
    }

    /// The URL as it was given, without a password.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.url.port().unwrap_or(5432)
    }

    /// Whether the host is a name that must be looked up.
    pub fn is_named(&self) -> bool {
        matches!(self.url.host(), Some(Host::Domain(name)) if name.parse::<IpAddr>().is_err())
    }

    /// The file with the certificates that sign the server's, where one is named.
    pub fn root_certificates(&self) -> Option<PathBuf> {
        self.query("sslrootcert").map(PathBuf::from)
    }

    /// Whether what is said crosses no network, or is encrypted for a server that proved its name (sslmode=verify-full).
    pub fn is_safe(&self) -> bool {
        let here = match self.url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        };
        here || self.query("sslmode").as_deref() == Some("verify-full")
    }

    fn query(&self, name: &str) -> Option<String> {
        self.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The URL with the password.
    pub(crate) fn url(&self) -> Result<Zeroizing<String>, RemoteError> {
        let mut url = self.url.clone();
        if let Some(password) = &self.password {
            // Only a URL without a host has no place for one.
            url.set_password(Some(password)).map_err(|()| RemoteError::Form)?;
        }
        Ok(Zeroizing::new(url.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_without_a_password_and_is_safe_only_here_or_behind_verified_tls() {
        for (text, safe, named) in [
            ("postgres://app@127.0.0.1/rooms", true, false),
            ("postgres://app@localhost:6000/rooms", true, true),
            ("postgres://app@[::1]/rooms", true, false),
            ("postgres://app@db.example.org/rooms", false, true),
            ("postgres://app@db.example.org/rooms?sslmode=require", false, true),
            ("postgres://app@10.0.0.7/rooms?sslmode=verify-full", true, false),
        ] {
            let remote: Remote = text.parse().unwrap();
            assert_eq!((remote.is_safe(), remote.is_named()), (safe, named), "{text}");
        }
        for wrong in [
            "postgres://app:secret@h/d",
            "postgres://h/d",
            "postgres://app@h",
            "mysql://app@h/d",
            "rooms",
            "postgres://app@h/d?password=x",
        ] {
            assert!(wrong.parse::<Remote>().is_err(), "{wrong}");
        }
    }
}
