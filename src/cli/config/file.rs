//! The configuration file: what may stand in it, and what holds where it does not.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_database::Remote;
use strongroom_gate::{S3, S3Error};

use super::Mode;
use super::alerts::AlertsFile;
use super::witness::{AuditFile, WitnessFile};
use crate::Failed;

/// The file, as `deploy/strongroom.toml` shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub data_dir: Option<PathBuf>,
    pub server: ServerFile,
    pub database: DatabaseFile,
    pub objects: ObjectsFile,
    pub root_key: RootKeyFile,
    pub tokens: TokensFile,
    pub shares: SharesFile,
    pub partners: PartnersFile,
    pub policies: PoliciesFile,
    pub alerts: AlertsFile,
    pub audit: AuditFile,
    pub witness: Vec<WitnessFile>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerFile {
    pub listen: SocketAddr,
    pub hosts: Vec<String>,
    pub connections_max: u32,
    #[serde(deserialize_with = "deadline")]
    pub handshake_timeout: Duration,
    #[serde(deserialize_with = "deadline")]
    pub header_timeout: Duration,
    #[serde(deserialize_with = "deadline")]
    pub body_timeout: Duration,
    #[serde(deserialize_with = "deadline")]
    pub stall_timeout: Duration,
    pub tls12: bool,
    pub mode: Option<Mode>,
    pub keeper_socket: Option<PathBuf>,
    pub courier_socket: Option<PathBuf>,
}

impl Default for ServerFile {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8443));
        Self {
            listen,
            hosts: Vec::new(),
            connections_max: 1024,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(120),
            tls12: false,
            mode: None,
            keeper_socket: None,
            courier_socket: None,
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseFile {
    #[serde(deserialize_with = "remote")]
    pub keeper: Option<String>,
    pub keeper_password_file: Option<PathBuf>,
    #[serde(deserialize_with = "remote")]
    pub catalog: Option<String>,
    pub catalog_password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectsFile {
    #[serde(deserialize_with = "bucket")]
    pub url: Option<String>,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub key_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
}

impl ObjectsFile {
    /// The bucket with its key, where payloads are in one.
    ///
    /// # Errors
    /// One of them is not what it has to be, or a file can't be read.
    pub fn open(&self) -> Result<Option<S3>, Failed> {
        let failed = |error: S3Error| Failed(format!("objects: {error}"));
        let Some(url) = &self.url else { return Ok(None) };
        let mut bucket: S3 = url.parse().map_err(failed)?;
        if let Some(endpoint) = &self.endpoint {
            bucket = bucket.with_endpoint(endpoint).map_err(failed)?;
        }
        if let Some(region) = &self.region {
            bucket = bucket.with_region(region.clone());
        }
        if let Some(file) = &self.key_file {
            bucket = bucket.with_key_in(file).map_err(failed)?;
        }
        if let Some(file) = &self.ca_file {
            bucket = bucket.with_certificates_in(file).map_err(failed)?;
        }
        Ok(Some(bucket))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RootKeyFile {
    pub file: Option<PathBuf>,
    pub credential: Option<String>,
    pub shares: bool,
    #[serde(deserialize_with = "recipients")]
    pub recovery: Vec<String>,
    #[serde(deserialize_with = "recipient")]
    pub next: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokensFile {
    #[serde(deserialize_with = "duration")]
    pub life_max: u64,
}

impl Default for TokensFile {
    fn default() -> Self {
        Self { life_max: 90 * 24 * 3600 }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SharesFile {
    /// Neither none nor for ever.
    pub max_life_days: std::num::NonZeroU16,
}

impl Default for SharesFile {
    fn default() -> Self {
        Self { max_life_days: const { std::num::NonZeroU16::new(90).unwrap() } }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartnersFile {
    /// Neither none nor for ever.
    pub max_recertify_days: std::num::NonZeroU16,
}

impl Default for PartnersFile {
    fn default() -> Self {
        Self { max_recertify_days: const { std::num::NonZeroU16::new(180).unwrap() } }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoliciesFile {
    pub folder: Option<PathBuf>,
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map(|duration| duration.as_secs()).map_err(serde::de::Error::custom)
}

fn remote<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<Remote>().map(|_| Some(text)).map_err(serde::de::Error::custom)
}

/// Also as the processes get it, where there may be none.
fn bucket<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.as_deref().map(str::parse::<S3>).transpose().map_err(serde::de::Error::custom)?;
    Ok(text)
}

/// Native recipients only: a plug-in recipient names a program to run.
fn recipients<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts: Vec<String> = Vec::deserialize(deserializer)?;
    texts.iter().try_for_each(|text| native(text))?;
    Ok(texts)
}

fn recipient<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.as_deref().map(native).transpose()?;
    Ok(text)
}

fn native<E: serde::de::Error>(text: &str) -> Result<(), E> {
    let wrong = |error| E::custom(format!("'{text}' is no native age recipient (age1…): {error}"));
    text.parse::<strongroom_envelope::Recipient>().map(drop).map_err(wrong)
}

/// None of them is "never", nor so short that nobody passes.
pub fn deadline<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = duration(deserializer)?;
    if (1..=3600).contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    Err(serde::de::Error::custom("a deadline is between 1s and 1h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commented_configuration_shows_the_defaults() {
        let shown: File = toml::from_str(include_str!("../../../deploy/strongroom.toml")).unwrap();
        assert_eq!(format!("{shown:?}"), format!("{:?}", File::default()));
    }
}
