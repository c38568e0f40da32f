//! The configuration: file, flags and environment, with safe defaults. An unknown key or a bad value stops the start and
//! names the line.

mod alerts;
mod file;
mod witness;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_database::{Remote, RemoteError, Source};
use strongroom_keeper::root::RootSource;
use strongroom_storage::Objects;

use crate::Failed;
use crate::arguments::Server;
use crate::check::Places;
use alerts::AlertsFile;
use file::{File, ObjectsFile};
use witness::WitnessFile;

/// In a data directory whose root key is in shares: an empty file, so that no flag needs to be repeated.
pub const SHARES_MARK: &str = "root-key-in-shares";

/// Who can reach the server decides what is refused: see docs/decisions/0004.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Loopback only: some findings are warnings.
    Local,
    /// Anyone may reach it: every finding stops the start.
    Production,
}

/// Everything, resolved. Holds no secret: it is handed to the processes as an argument.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// The data directory, absolute.
    pub data_dir: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Names by which clients know the server.
    pub hosts: Vec<String>,
    /// Connections at once.
    pub connections_max: u32,
    /// For a TLS handshake.
    pub handshake_timeout: Duration,
    /// For a request's headers, and between requests.
    pub header_timeout: Duration,
    /// Between two pieces of a request's body.
    pub body_timeout: Duration,
    /// For a client that takes nothing.
    pub stall_timeout: Duration,
    /// TLS 1.2 beside 1.3.
    pub tls12: bool,
    /// What is refused.
    pub mode: Mode,
    /// Where a keeper that runs by itself is reached.
    pub keeper_socket: Option<PathBuf>,
    /// Where a keeper that runs by itself is given couriers; by default it starts them.
    pub courier_socket: Option<PathBuf>,
    /// The servers of the two databases, where they are not files in the data directory.
    pub databases: Databases,
    objects: ObjectsFile,
    /// The root key's file, where it is one.
    pub root_key: Option<PathBuf>,
    /// The systemd credential, where it is one.
    pub credential: Option<String>,
    /// Whether people hold the root key in shares.
    pub shares: bool,
    /// Recipients whose identities lie offline.
    pub recovery: Vec<String>,
    /// The recipient of the root identity that comes after this one, where the server can't make it itself.
    pub next_root: Option<String>,
    /// Longest life of a token, in seconds.
    pub token_life_max_s: u64,
    /// Longest life of a share, in seconds.
    pub share_life_max_s: u64,
    /// Longest time between two confirmations of a partner organisation, in seconds.
    pub recertify_max_s: u64,
    /// Text of `policies/model.conf`.
    pub model: String,
    /// Text of `policies/roles.csv`.
    pub roles: String,
    /// Text of `policies/dual-control.toml`.
    pub dual_control: String,
    /// Text of `policies/budgets.toml`.
    pub budgets: String,
    /// Text of `policies/alerts.toml`.
    pub alert_rules: String,
    /// Text of `policies/compartments.toml`.
    pub compartments: String,
    /// Text of `policies/witness.toml`.
    pub witness_rules: String,
    /// Where alerts go.
    pub alerts: AlertsFile,
    /// Who cosigns the log.
    pub witnesses: Vec<WitnessFile>,
    /// How often they are asked.
    pub witness_every: Duration,
}

fn home(variable: &str, below: &str) -> Result<PathBuf, Failed> {
    if let Some(folder) = std::env::var_os(variable).filter(|folder| !folder.is_empty()) {
        return Ok(folder.into());
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.ok_or_else(|| Failed(format!("neither ${variable} nor $HOME is set; name paths with flags")))?;
    Ok(Path::new(&home).join(below))
}

/// A database on a server, and the file with the password of its role. The password itself is read by the process whose
/// role it is, and by no other.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Databases {
    /// The keeper's.
    pub keeper: Option<(String, Option<PathBuf>)>,
    /// The gate's: the catalogue.
    pub catalog: Option<(String, Option<PathBuf>)>,
}

/// A server with its password.
fn open_remote(database: &Option<(String, Option<PathBuf>)>) -> Result<Option<Remote>, Failed> {
    let Some((url, file)) = database else { return Ok(None) };
    let remote: Remote = url.parse().map_err(|error: RemoteError| Failed(error.to_string()))?;
    match file {
        Some(file) => remote.with_password_in(file).map(Some).map_err(|error| Failed(error.to_string())),
        None => Ok(Some(remote)),
    }
}

impl Config {
    /// Reads the file where one is named, and lets flags and environment override it.
    ///
    /// # Errors
    /// What is wrong, with its line.
    pub fn load(server: &Server) -> Result<Self, Failed> {
        let file = match &server.config {
            None => File::default(),
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| Failed(format!("{}: {error}", path.display())))?;
                toml::from_str(&text).map_err(|error| Failed(format!("{}: {error}", path.display())))?
            }
        };
        let data_dir = match server.data_dir.clone().or(file.data_dir) {
            Some(folder) => folder,
            None => home("XDG_DATA_HOME", ".local/share")?.join("strongroom"),
        };
        let data_dir = std::path::absolute(&data_dir).map_err(|error| Failed(format!("data directory: {error}")))?;
        let listen = server.listen.unwrap_or(file.server.listen);
        let root_key = match (server.root_key.clone().or(file.root_key.file), &file.root_key.credential) {
            (Some(_), Some(_)) => return Err(Failed("root_key: a file or a credential, not both".to_owned())),
            (Some(path), None) => {
                Some(std::path::absolute(path).map_err(|error| Failed(format!("root key: {error}")))?)
            }
            (None, Some(_)) => None,
            (None, None) if file.root_key.shares || data_dir.join(SHARES_MARK).exists() => None,
            (None, None) => {
                // One key an instance: its name is that of the data directory's path.
                let name: String = data_dir.display().to_string().trim_start_matches('/').replace('/', "-");
                Some(home("XDG_CONFIG_HOME", ".config")?.join("strongroom/keys").join(format!("{name}.key")))
            }
        };
        let policy = |name: &str, default: &str| match &file.policies.folder {
            None => Ok(default.to_owned()),
            Some(folder) => {
                let path = folder.join(name);
                fs::read_to_string(&path).map_err(|error| Failed(format!("{}: {error}", path.display())))
            }
        };
        let local = if listen.ip().is_loopback() { Mode::Local } else { Mode::Production };
        Ok(Self {
            data_dir,
            listen,
            hosts: file.server.hosts,
            connections_max: file.server.connections_max.max(1),
            handshake_timeout: file.server.handshake_timeout,
            header_timeout: file.server.header_timeout,
            body_timeout: file.server.body_timeout,
            stall_timeout: file.server.stall_timeout,
            tls12: file.server.tls12,
            mode: file.server.mode.unwrap_or(local),
            keeper_socket: file.server.keeper_socket,
            courier_socket: file.server.courier_socket,
            objects: file.objects,
            databases: Databases {
                keeper: file.database.keeper.map(|url| (url, file.database.keeper_password_file)),
                catalog: file.database.catalog.map(|url| (url, file.database.catalog_password_file)),
            },
            shares: root_key.is_none() && file.root_key.credential.is_none(),
            root_key,
            credential: file.root_key.credential,
            recovery: file.root_key.recovery,
            next_root: file.root_key.next,
            token_life_max_s: file.tokens.life_max,
            share_life_max_s: u64::from(file.shares.max_life_days.get()) * 24 * 3600,
            recertify_max_s: u64::from(file.partners.max_recertify_days.get()) * 24 * 3600,
            model: policy("model.conf", include_str!("../../policies/model.conf"))?,
            roles: policy("roles.csv", include_str!("../../policies/roles.csv"))?,
            dual_control: policy("dual-control.toml", include_str!("../../policies/dual-control.toml"))?,
            budgets: policy("budgets.toml", include_str!("../../policies/budgets.toml"))?,
            alert_rules: policy("alerts.toml", include_str!("../../policies/alerts.toml"))?,
            compartments: policy("compartments.toml", include_str!("../../policies/compartments.toml"))?,
            witness_rules: policy("witness.toml", include_str!("../../policies/witness.toml"))?,
            witnesses: {
                witness::check(&file.witness)?;
                file.witness
            },
            witness_every: file.audit.witness_every,
            alerts: {
                file.alerts.sinks()?;
                file.alerts
            },
        })
    }

    /// The defaults, with everything in one folder: for a copy that nobody serves.
    ///
    /// # Errors
    /// None but those of [`Config::load`].
    pub fn scratch(folder: &Path) -> Result<Self, Failed> {
        let folder = Some(folder.to_owned());
        Self::load(&Server { root_key: folder.clone(), data_dir: folder, ..Server::default() })
    }

    /// The root key's source.
    pub fn root(&self) -> RootSource {
        match (&self.root_key, &self.credential) {
            (Some(path), _) => RootSource::File(path.clone()),
            (None, None) => RootSource::Shares,
            (None, credential) => RootSource::Credential(credential.clone().unwrap_or_default()),
        }
    }

    /// Names that stand in the certificate.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        if !self.listen.ip().is_unspecified() {
            names.push(self.listen.ip().to_string());
        }
        names.extend(self.hosts.iter().map(|host| host.split(':').next().unwrap_or(host).to_owned()));
        names.sort();
        names.dedup();
        names
    }

    /// `Host` headers that are answered.
    pub fn host_headers(&self) -> Vec<String> {
        let port = self.listen.port();
        let mut hosts = Vec::new();
        for name in self.names() {
            let name = if name.contains(':') { format!("[{name}]") } else { name };
            if port == 443 {
                hosts.push(name.clone());
            }
            hosts.push(format!("{name}:{port}"));
        }
        hosts.extend(self.hosts.iter().cloned());
        hosts
    }

    /// The URL by which this machine's clients reach it.
    pub fn url(&self) -> String {
        let named = self.hosts.first().cloned();
        let host = named.unwrap_or_else(|| format!("localhost:{}", self.listen.port()));
        format!("https://{host}")
    }

    /// The keeper's part.
    ///
    /// # Errors
    /// The password of its database can't be read.
    pub fn keeper(&self) -> Result<strongroom_keeper::Settings, Failed> {
        Ok(strongroom_keeper::Settings {
            data_dir: self.data_dir.clone(),
            database: open_remote(&self.databases.keeper)?,
            root: self.root(),
            origin: "strongroom".to_owned(),
            recovery: self.recovery.clone(),
            next_root: self.next_root.clone(),
            token_life_max_s: self.token_life_max_s,
            share_life_max_s: self.share_life_max_s,
            recertify_max_s: self.recertify_max_s,
            model: self.model.clone(),
            roles: self.roles.clone(),
            dual_control: self.dual_control.clone(),
            budgets: self.budgets.clone(),
            alerts: self.alert_rules.clone(),
            witness: self.witness_rules.clone(),
            witnesses: self.witnesses.iter().map(WitnessFile::key).collect::<Result<_, _>>()?,
        })
    }

    /// Where the server's things lie, for a command that reads all of them.
    ///
    /// # Errors
    /// A password or a bucket's key can't be read.
    pub fn places(&self) -> Result<Places, Failed> {
        let objects = match self.objects.open()? {
            Some(bucket) => Objects::s3(&bucket),
            None => Objects::local(&self.data_dir.join("objects")),
        };
        Ok(Places {
            keeper: self.keeper()?,
            catalog: match open_remote(&self.databases.catalog)? {
                Some(remote) => Source::Remote(remote),
                None => Source::File(self.data_dir.join("catalog").join("catalog.db")),
            },
            objects: objects.map_err(|error| Failed(error.to_string()))?,
        })
    }

    /// The gate's part.
    ///
    /// # Errors
    /// The password of its database can't be read.
    pub fn gate(&self) -> Result<strongroom_gate::Settings, Failed> {
        Ok(strongroom_gate::Settings {
            data_dir: self.data_dir.clone(),
            catalog: open_remote(&self.databases.catalog)?,
            bucket: self.objects.open()?,
            listen: self.listen,
            hosts: self.host_headers(),
            connections_max: self.connections_max,
            deadlines: strongroom_gate::Deadlines {
                handshake: self.handshake_timeout,
                headers: self.header_timeout,
                body: self.body_timeout,
                stall: self.stall_timeout,
            },
            tls12: self.tls12,
            compartments: self.compartments.clone(),
            require_sandbox: self.mode == Mode::Production && cfg!(target_os = "linux"),
        })
    }
}
