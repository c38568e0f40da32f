//! A keeper's database read from beside it, with the root identity: what `check` and `backup verify` hold against the rest.

use futures_util::TryStreamExt;
use sqlx::Row;
use strongroom_audit::note::{Signer, VerifierKey};
use strongroom_database::Database;
use strongroom_domain::{Compartment, RepoKind, RepoName};
use strongroom_envelope::{Identity, open_whole};
use strongroom_protocol::MetaKeys;

use crate::keys::{OwnKeys, Part, RepoKeys, unwrap};
use crate::load::load;
use crate::log::{CopiedLog, SearchError, StoredLeaf, StoredTile, read_logs, wrongly_indexed};
use crate::policy::Roles;
use crate::rotation::Step;
use crate::setup::{Settings, SetupError, value};
use crate::state::{Rules, State};

/// An open database, which is only read.
pub struct Inspection {
    database: Database,
    keys: OwnKeys,
    root: Identity,
    settings: Settings,
}

/// A repository with all its keys.
pub struct InspectedRepo {
    /// What the catalogue knows it by.
    pub catalog_id: [u8; 16],
    /// Of which kind.
    pub kind: RepoKind,
    /// Its current name.
    pub name: RepoName,
    /// Whether it is sealed with shares: the root identity does not open it.
    pub sealed: bool,
    /// Gone when it was deleted or is sealed with shares; an error where they do not open.
    pub keys: Option<Result<InspectedKeys, String>>,
    /// What the catalogue knows the other copy by, while it is rotated.
    pub beside: Option<[u8; 16]>,
}

/// A repository that is being rotated.
pub struct InspectedRotation {
    /// Its current name.
    pub name: RepoName,
    /// What the catalogue knows it by, and its keys.
    pub now: ([u8; 16], InspectedKeys),
    /// The same of the other copy.
    pub other: ([u8; 16], InspectedKeys),
    /// Whether the switch was made: the other copy is then the old one.
    pub switched: bool,
}

/// The keys of a repository.
pub struct InspectedKeys(RepoKeys);

impl InspectedKeys {
    /// Of branch names and commits.
    pub fn shared(&self) -> &MetaKeys {
        &self.0.part(Part::Shared).meta
    }

    /// Of uploads.
    pub fn inbox(&self) -> (&MetaKeys, &Identity) {
        let part = self.0.part(Part::Inbox);
        (&part.meta, &part.identity)
    }

    /// Of a compartment.
    pub fn compartment(&self, compartment: Compartment) -> (&MetaKeys, &Identity) {
        let part = self.0.part(Part::Compartment(compartment));
        (&part.meta, &part.identity)
    }
}

impl Inspection {
    /// Opens it, to read alone. A recovery identity opens it too, where secrets were wrapped for it.
    ///
    /// # Errors
    /// [`SetupError`].
    pub async fn open(settings: Settings, root: Identity) -> Result<Self, SetupError> {
        let database = Database::open_to_read(&settings.source()).await?;
        let wrapped = value(&database, "secret").await?;
        let wrapped = wrapped.ok_or_else(|| SetupError::Empty(settings.data_dir.clone()))?;
        let keys = OwnKeys::new(&unwrap(&wrapped, &root)?);
        Ok(Self { database, keys, root, settings })
    }

    async fn load(&self) -> Result<State, SetupError> {
        let rules = Rules { model: self.settings.model.clone(), roles: Roles::parse(&self.settings.roles)? };
        let mut tx = self.database.snapshot().await?;
        Ok(load(&mut tx, &self.keys, &rules).await?)
    }

    /// A repository that is being rotated, by one of its names; `None` where it is not there or is not rotated.
    ///
    /// # Errors
    /// [`SetupError`].
    pub async fn rotation(&self, kind: RepoKind, name: &RepoName) -> Result<Option<InspectedRotation>, SetupError> {
        let state = self.load().await?;
        let Some((_, repo)) = state.repo(kind, name) else { return Ok(None) };
        let Some(rotation) = &repo.rotation else { return Ok(None) };
        Ok(Some(InspectedRotation {
            name: repo.name.clone(),
            now: (repo.catalog_id, InspectedKeys(repo.keys(&self.root)?)),
            other: (rotation.catalog_id, InspectedKeys(rotation.keys(&self.root)?)),
            switched: rotation.step == Step::Previous,
        }))
    }

    /// Every repository that ever was; on the way, all that the keeper reads when it starts.
    ///
    /// # Errors
    /// [`SetupError`]: a keeper would not start either.
    pub async fn repos(&self) -> Result<Vec<InspectedRepo>, SetupError> {
        let state = self.load().await?;
        let sealed = |id: &u64| state.seals.get(id).is_some_and(|seal| seal.shares.is_some());
        let repo = |(id, repo): (&u64, &crate::state::Repo)| InspectedRepo {
            sealed: repo.deleted_ms.is_none() && sealed(id),
            catalog_id: repo.catalog_id,
            kind: repo.kind,
            name: repo.name.clone(),
            beside: repo.rotation.as_ref().map(|rotation| rotation.catalog_id),
            keys: (repo.deleted_ms.is_none() && !sealed(id))
                .then(|| repo.keys(&self.root).map(InspectedKeys).map_err(|error| error.to_string())),
        };
        Ok(state.repos.iter().map(repo).collect())
    }

    /// Whether the CA's key opens; true where there is none.
    ///
    /// # Errors
    /// [`SetupError`].
    pub async fn ca_key_opens(&self) -> Result<bool, SetupError> {
        let sealed = value(&self.database, "ca_key").await?;
        Ok(sealed.is_none_or(|sealed| open_whole(&sealed, &self.root).is_ok()))
    }

    /// The key of the first log.
    ///
    /// # Errors
    /// A name that no log can have.
    pub fn log_key(&self) -> Result<VerifierKey, String> {
        let signer = Signer::from_seed(&self.settings.origin, &self.keys.log_seed);
        signer.map(|signer| signer.verifier_key()).map_err(|error| error.to_string())
    }

    /// Every record of every log as of one moment, with whether it opens and is what its columns say.
    ///
    /// # Errors
    /// [`SearchError`].
    pub async fn read_logs(
        &self,
        mut record: impl FnMut(u64, &StoredLeaf, bool),
    ) -> Result<Vec<CopiedLog>, SearchError> {
        let mut tx = self.database.snapshot().await?;
        read_logs(&mut tx, |log, leaf| record(log, leaf, leaf.is_whole(&self.keys))).await
    }

    /// Alerts that stand in the log and not in the list of alerts, or the other way round: who deletes a row hides one from those
    /// who look, and from the sinks.
    ///
    /// # Errors
    /// [`SearchError`].
    pub async fn lost_alerts(&self) -> Result<u64, SearchError> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM audit_leaf LEFT JOIN alert ON alert.log = audit_leaf.log AND alert.seq = audit_leaf.seq \
             WHERE audit_leaf.action = 'alert.raised' AND alert.seq IS NULL) \
             + (SELECT COUNT(*) FROM alert LEFT JOIN audit_leaf ON alert.log = audit_leaf.log AND alert.seq = audit_leaf.seq \
             WHERE audit_leaf.seq IS NULL OR audit_leaf.action <> 'alert.raised') AS lost",
        );
        Ok(row.fetch_one(&self.database.reader).await?.try_get::<i64, _>("lost")? as u64)
    }

    /// Logs whose index does not say what their records say: there, searches miss something.
    ///
    /// # Errors
    /// [`SearchError`].
    pub async fn wrongly_indexed(&self) -> Result<Vec<u64>, SearchError> {
        let mut tx = self.database.snapshot().await?;
        wrongly_indexed(&mut tx, &self.keys).await
    }

    /// Every stored tile, handed to `take`.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn read_tiles(&self, mut take: impl FnMut(&StoredTile)) -> Result<(), sqlx::Error> {
        let text = "SELECT log, level, position, hashes, middle FROM audit_tile";
        let mut tiles = sqlx::query(text).fetch(&self.database.reader);
        while let Some(row) = tiles.try_next().await? {
            take(&StoredTile {
                log: row.try_get::<i64, _>("log")? as u64,
                level: row.try_get::<i64, _>("level")? as u8, // a tree of 2^64 leaves has eight
                position: row.try_get::<i64, _>("position")? as u64,
                hashes: row.try_get("hashes")?,
                middle: row.try_get("middle")?,
            });
        }
        Ok(())
    }
}
