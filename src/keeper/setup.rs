//! First run and every run after it: the keeper's secret, its database, its first principal.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use sqlx::Row;
use strongroom_audit::cosignature::CosignerKey;
use strongroom_database::{Database, Remote, Source};
use strongroom_domain::{
    AlertKind, AlertRules, AlertsError, BudgetFileError, Budgets, DualControl, DualControlError, Role, WitnessError,
    WitnessRules, check_namespace,
};
use strongroom_envelope::{Identity, Recipient};
use strongroom_protocol::{Secret, SecretText};

use crate::change::Change;
use crate::dual::Dual;
use crate::effect::Effect;
use crate::follow::Follow;
use crate::grants::Grants;
use crate::held::Held;
use crate::keys::{KeyError, OwnKeys, random, unwrap, wrap};
use crate::log::{Alarms, Entry, Heads, Log, LogError, Record};
use crate::policy::{Assignment, Place, PrincipalId, RoleFileError, Roles};
use crate::root::{RootError, RootSource};
use crate::seal::{self, SealChange};
use crate::server::{Core, now_ms};
use crate::state::{LoadError, Principal, Rules, State, Token, TokenBody};
use crate::token;
use crate::witness::Witnesses;

/// What the keeper is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where its database lies, if it is a file.
    pub data_dir: PathBuf,
    /// The server that holds it, if it is not.
    pub database: Option<Remote>,
    /// Where its root identity lies.
    pub root: RootSource,
    /// The log's name in checkpoints.
    pub origin: String,
    /// `age1…` recipients, whose identities lie offline, for whom secrets are wrapped beside the root identity.
    pub recovery: Vec<String>,
    /// `age1…`: the root identity that is rotated to, where this process can't write it.
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
    pub alerts: String,
    /// Text of `policies/witness.toml`.
    pub witness: String,
    /// The keys of those who may cosign the log.
    pub witnesses: Vec<CosignerKey>,
}

/// Why the keeper does not start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A recipient in the configuration.
    #[error("root_key.recovery or root_key.next {0}: {1}")]
    Recovery(String, strongroom_envelope::KeyError),
    /// The root key.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A wrapped secret.
    #[error("{0}: is this the root key of this data directory?")]
    Key(#[from] KeyError),
    /// The database.
    #[error("keeper database: {0}")]
    Database(#[from] sqlx::Error),
    /// A seal that nobody has ended.
    #[error("the server is sealed; see `strongroom unseal --help`")]
    Sealed,
    /// What is in it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The policy files.
    #[error(transparent)]
    Roles(#[from] RoleFileError),
    /// The two-person rule.
    #[error(transparent)]
    DualControl(#[from] DualControlError),
    /// The budgets.
    #[error("budgets.toml: {0}")]
    Budgets(#[from] BudgetFileError),
    /// What raises alerts.
    #[error(transparent)]
    Alerts(#[from] AlertsError),
    /// What requires a witness.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// Not initialised.
    #[error("{0} holds no keeper database; run `strongroom init`")]
    Empty(PathBuf),
    /// The first principal's name.
    #[error("the first principal's name: {0}")]
    Name(#[from] strongroom_domain::NameError),
    /// A change that was refused.
    #[error("the first principal: {0}")]
    First(String),
}

/// All tables, for backups: those that others refer to first.
pub const TABLES: &[&str] = &[
    "instance",
    "policy_generation",
    "change",
    "namespace",
    "quota",
    "principal",
    "token",
    "assignment",
    "line",
    "repo",
    "rotation",
    "repo_seal",
    "repo_name",
    "partner",
    "share",
    "share_accepted",
    "share_usage",
    "act",
    "share_event",
    "ask",
    "decoy",
    "given",
    "used",
    "review",
    "stop",
    "budget",
    "repo_bytes",
    "coverage",
    "coverage_object",
    "audit_leaf",
    "policy_record",
    "alert",
    "alert_sink",
    "alert_cursor",
    "token_network",
    "audit_tile",
    "audit_head",
    "witnessed",
    "denied",
    "audit_index",
];

const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/keeper/0001_first.sql"),
    include_str!("../../migrations/keeper/0002_witness.sql"),
    include_str!("../../migrations/keeper/0003_denials.sql"),
    include_str!("../../migrations/keeper/0004_index.sql"),
    include_str!("../../migrations/keeper/0005_reindex.sql"),
    include_str!("../../migrations/keeper/0006_middle.sql"),
    #[cfg(feature = "rehearsal")]
    include_str!("../../migrations/rehearsal/keeper.sql"),
];

/// A keeper's database with its schema, for rows that come from a backup.
///
/// # Errors
/// Whatever the database says.
pub async fn migrate(source: &Source) -> Result<Database, SetupError> {
    Ok(Database::open(source, MIGRATIONS).await?)
}

impl Settings {
    /// Where the database is.
    pub fn source(&self) -> Source {
        match &self.database {
            Some(remote) => Source::Remote(remote.clone()),
            None => Source::File(self.data_dir.join("keeper").join("keeper.db")),
        }
    }

    /// For whom secrets are wrapped: the root identity first, then the recovery recipients.
    ///
    /// # Errors
    /// [`SetupError::Recovery`].
    pub fn wrap_for(&self, root: &Identity) -> Result<Vec<Recipient>, SetupError> {
        Ok([vec![root.to_recipient()], self.recovery_recipients()?].concat())
    }

    fn recovery_recipients(&self) -> Result<Vec<Recipient>, SetupError> {
        self.recovery.iter().map(|text| recipient(text)).collect()
    }
}

fn recipient(text: &str) -> Result<Recipient, SetupError> {
    text.parse().map_err(|error| SetupError::Recovery(text.to_owned(), error))
}

async fn connect(settings: &Settings) -> Result<Database, sqlx::Error> {
    Database::open(&settings.source(), MIGRATIONS).await
}

/// Opens an initialised keeper.
///
/// # Errors
/// [`SetupError`]; [`SetupError::Sealed`] where it was sealed.
pub async fn open(settings: Settings, root: Identity) -> Result<Arc<Core>, SetupError> {
    open_with(settings, root, None).await
}

/// Opens one that waited for its root identity, or for its operator: the first record says so, and by what.
///
/// # Errors
/// [`SetupError`].
pub async fn unseal(settings: Settings, root: Identity, by: &str) -> Result<Arc<Core>, SetupError> {
    open_with(settings, root, Some(by)).await
}

async fn open_with(settings: Settings, root: Identity, unsealed: Option<&str>) -> Result<Arc<Core>, SetupError> {
    if matches!(settings.source(), Source::File(file) if !file.exists()) {
        return Err(SetupError::Empty(settings.data_dir));
    }
    let database = connect(&settings).await?;
    let Some(wrapped) = value(&database, "secret").await? else { return Err(SetupError::Empty(settings.data_dir)) };
    let secret = unwrap(&wrapped, &root)?;
    start(settings, root, &secret, database, unsealed).await
}

/// The mark of a seal: it stays over restarts, and is read before any key is.
///
/// # Errors
/// Whatever the database says.
pub async fn mark(settings: &Settings) -> Result<Option<Vec<u8>>, SetupError> {
    if matches!(settings.source(), Source::File(file) if !file.exists()) {
        return Ok(None);
    }
    Ok(value(&Database::open_to_read(&settings.source()).await?, seal::MARK).await?)
}

/// Lets every sealed keeper of this database open whose root key lies on its machine. Whoever asks has the root key too.
/// Whether the server was sealed.
///
/// # Errors
/// [`SetupError`]; [`SetupError::Key`] where it is another root key.
pub async fn let_open(settings: &Settings, root: &Identity) -> Result<bool, SetupError> {
    let database = connect(settings).await?;
    let wrapped = value(&database, "secret").await?;
    unwrap(&wrapped.ok_or_else(|| SetupError::Empty(settings.data_dir.clone()))?, root)?;
    let text = "UPDATE instance SET value = $1 WHERE name = $2";
    let asked = sqlx::query(text).bind(seal::UNSEALING.to_vec()).bind(seal::MARK.to_owned());
    Ok(asked.execute(&database.writer).await?.rows_affected() > 0)
}

/// A value of the instance.
pub(crate) async fn value(database: &Database, name: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let row = sqlx::query("SELECT value FROM instance WHERE name = $1").bind(name.to_owned());
    row.fetch_optional(&database.writer).await?.map(|row| row.try_get("value")).transpose()
}

async fn start(
    settings: Settings,
    root: Identity,
    secret: &Secret<32>,
    database: Database,
    unsealed: Option<&str>,
) -> Result<Arc<Core>, SetupError> {
    let recovery = settings.recovery_recipients()?;
    let budgets = Arc::new(Budgets::from_toml(&settings.budgets)?);
    let next = settings.next_root.as_deref().map(recipient).transpose()?;
    let held = Held::new(root, settings.root.clone(), recovery, next);
    let keys = Arc::new(OwnKeys::new(secret));
    let rules = Rules { model: settings.model.clone(), roles: Roles::parse(&settings.roles)? };
    let dual = Dual::new(DualControl::from_toml(&settings.dual_control)?, &rules.roles);
    let follow = Arc::new(Follow::start(database.clone(), keys.clone(), rules).await?);
    let state = follow.state().clone();
    let sealed = state.read().sealed;
    if sealed && unsealed.is_none() {
        return Err(SetupError::Sealed);
    }
    let witnesses = Witnesses::new(WitnessRules::from_toml(&settings.witness)?, settings.witnesses.clone());
    let rules_of_alerts = AlertRules::from_toml(&settings.alerts)?;
    let tells_trouble = rules_of_alerts.every_ms(AlertKind::Audit).is_some();
    let (decoy_lock, alarms) = (rules_of_alerts.lock, Alarms::new(rules_of_alerts, database.is_shared()));
    let log = Log::start(database.clone(), keys.clone(), &settings.origin, follow.clone(), alarms).await?;
    let (model, roles, dual_control) = (settings.model.clone(), settings.roles.clone(), settings.dual_control.clone());
    let rules = Effect::Rules { model, roles, dual_control };
    let noted = note(&log, &state, "keeper.start", log.others().await?, vec![rules]).await?;
    if let Some(by) = unsealed {
        let generation = state.read().generation;
        let record = Record { reason: by.to_owned(), ..Record::own("system.unseal", now_ms(), generation) };
        let changes = if sealed { vec![Change::Seal(SealChange::ServerEnd)] } else { Vec::new() };
        log.append(Entry { record, changes, ..Entry::default() }).await?;
    }
    if database.is_shared() {
        tokio::spawn(watch_others(log.clone(), state.clone(), noted));
    }
    let core = Arc::new(Core {
        state,
        follow,
        log,
        keys,
        held,
        database,
        settings,
        dual,
        budgets,
        decoy_lock,
        witnesses,
        tells_trouble,
        grants: Mutex::new(Grants::default()),
        changing: tokio::sync::Mutex::new(()),
        rotating: tokio::sync::Mutex::new(()),
    });
    tokio::spawn(Core::end_acts(Arc::downgrade(&core)));
    tokio::spawn(Core::record_lapses(Arc::downgrade(&core)));
    Ok(core)
}

/// By whom servers prove who they are: a CA of this instance's own. It lies in the keeper's database, so that a replica that
/// starts with an empty data directory gets a certificate that clients already trust.
pub struct Authority {
    /// PEM.
    pub certificate: String,
    /// The private key's PEM, as an age file for the root identity and the recovery recipients.
    pub key_sealed: Vec<u8>,
}

/// The authority of a database that is initialised already; `None` for an empty one.
///
/// # Errors
/// [`SetupError`].
pub async fn authority(settings: &Settings) -> Result<Option<Authority>, SetupError> {
    authority_in(&connect(settings).await?).await
}

/// The same of a database beside which a server may be at work.
///
/// # Errors
/// [`SetupError`].
pub async fn stored_authority(settings: &Settings) -> Result<Option<Authority>, SetupError> {
    authority_in(&Database::open_to_read(&settings.source()).await?).await
}

async fn authority_in(database: &Database) -> Result<Option<Authority>, SetupError> {
    let (certificate, key) = (value(database, "ca_certificate").await?, value(database, "ca_key").await?);
    let (Some(certificate), Some(key_sealed)) = (certificate, key) else { return Ok(None) };
    let certificate = String::from_utf8(certificate).map_err(|_| LoadError::Value("certificate"))?;
    Ok(Some(Authority { certificate, key_sealed }))
}

/// Initialises: a fresh keeper's secret for the root identity, and the first principal, who administers, reads the log and
/// owns the namespace of its name. Gives its token, which is stored nowhere.
///
/// If we die inside, there is a database without a principal; `init` then says so and the operator starts over.
///
/// # Errors
/// [`SetupError`].
pub async fn create(
    settings: Settings,
    root: Identity,
    first: &str,
    authority: &Authority,
) -> Result<(Arc<Core>, SecretText), SetupError> {
    check_namespace(first)?;
    let database = connect(&settings).await?;
    let secret = Secret::new(random()?);
    let wrapped = wrap(secret.expose(), &settings.wrap_for(&root)?)?;
    let mut tx = database.begin().await?;
    for (name, value) in [
        ("secret", wrapped),
        ("ca_certificate", authority.certificate.clone().into_bytes()),
        ("ca_key", authority.key_sealed.clone()),
    ] {
        sqlx::query("INSERT INTO instance (name, value) VALUES ($1, $2)")
            .bind(name.to_owned())
            .bind(value)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    let life_ms = i64::try_from(settings.token_life_max_s * 1000).unwrap_or(i64::MAX);
    let core = start(settings, root, &secret, database, None).await?;
    let text = token::generate()?;
    let (id, now) = (PrincipalId(1), now_ms());
    let assign = |role, place| Change::Assign(Assignment { principal: id, role, place });
    let token = Token {
        principal: id,
        hash: token::hash(text.expose()),
        body: TokenBody { name: "first".to_owned(), ..TokenBody::default() },
        created_ms: now,
        expires_ms: now + life_ms,
        last_used_ms: None,
        revoked_ms: None,
    };
    let (name, removed_ms, recipient) = (first.to_owned(), None, None);
    // Its token is shown to whoever initialises, who is this principal.
    let principal = Principal { name, created_ms: now, removed_ms, recipient, claimed_ms: Some(now) };
    let changes = vec![
        Change::Namespace(1, first.to_owned()),
        Change::Principal(1, principal),
        assign(Role::Admin, Place::System),
        assign(Role::Auditor, Place::System),
        assign(Role::Owner, Place::Namespace(1)),
        Change::Token(1, token),
    ];
    let record = Record {
        subject: Some(first.to_owned()),
        effects: changes.iter().filter_map(Effect::of).collect(),
        ..Record::own("init", now, core.state.read().generation)
    };
    let entry = Entry { record, changes, ..Entry::default() };
    core.log.append(entry).await.map_err(|error| SetupError::First(error.to_string()))?;
    Ok((core, text))
}

/// How often other logs are looked at.
const OTHERS_EVERY: Duration = Duration::from_secs(10);

/// A record of the keeper's own, which names the other logs.
async fn note(
    log: &Log,
    state: &RwLock<State>,
    action: &str,
    heads: Heads,
    effects: Vec<Effect>,
) -> Result<Heads, LogError> {
    let record = Record { effects, ..Record::own(action, now_ms(), state.read().generation) };
    log.append(Entry { record, heads: heads.clone(), ..Entry::default() }).await?;
    Ok(heads)
}

/// Names the other logs as they grow, so that none of them can vanish unmissed. Records that only name logs are named too,
/// but make no new ones: two idle keepers fall silent.
async fn watch_others(log: Log, state: Arc<RwLock<State>>, mut noted: Heads) {
    let known = |heads: &Heads| -> BTreeMap<String, u64> {
        heads.0.iter().map(|head| (head.origin.clone(), head.size)).collect()
    };
    loop {
        tokio::time::sleep(OTHERS_EVERY).await;
        let Ok(heads) = log.others().await else { continue };
        let before = known(&noted);
        // One record of every other keeper is its own note of us.
        let grown = |(origin, size): (&String, &u64)| before.get(origin).is_none_or(|old| *size > old + 1);
        if known(&heads).iter().any(grown) {
            match note(&log, &state, "log.heads", heads, Vec::new()).await {
                Ok(heads) => noted = heads,
                Err(error) => tracing::warn!(%error, "other logs are not named"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_knows_every_table() {
        let text = MIGRATIONS.concat();
        let made = text.split("CREATE TABLE ").skip(1).filter_map(|rest| rest.split([' ', '(']).next());
        assert_eq!(made.collect::<Vec<_>>(), TABLES);
    }
}
