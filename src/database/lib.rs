//! Opens a SQL database, SQLite or PostgreSQL, for the same statements: BIGINT, TEXT and BLOB, `$1` and `ON CONFLICT` only.

mod remote;

use std::path::PathBuf;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Any, AnyPool, AssertSqlSafe, Executor, SqlSafeStr, Transaction};

pub use remote::{Remote, RemoteError};

/// Which database.
#[derive(Debug, Clone)]
pub enum Source {
    /// SQLite's file; made where it is not there.
    File(PathBuf),
    /// A PostgreSQL server.
    Remote(Remote),
}

/// The database as it is used.
#[derive(Clone)]
pub struct Database {
    /// For writing, and for what must see what was just written. Of SQLite one connection: it has one writer, and a second
    /// would only wait for it.
    pub writer: AnyPool,
    /// For reading; never waits for the writer.
    pub reader: AnyPool,
    begin: &'static str,
}

/// Connections for reading.
const READERS: u32 = 4;
/// Connections to a server for writing.
const REMOTE_WRITERS: u32 = 4;
/// How long a request waits for a connection. A database that is gone is a refusal, not a hang.
const WAIT: Duration = Duration::from_secs(5);

/// WAL, so that readers do not wait; FULL, so that a commit is on the disk; wiped pages, so that what was deleted is gone.
const SQLITE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                      PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; \
                      PRAGMA secure_delete = ON";
/// A statement that hangs is as bad as a server that is gone.
const POSTGRES: &str = "SET statement_timeout = '30s'; SET synchronous_commit = on; \
                        SET default_transaction_isolation = 'read committed'";

impl Database {
    /// Opens the database and brings its schema up to date: `migrations` in their order, the text for SQLite. PostgreSQL
    /// gets the same text with its own name for BLOB.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn open(source: &Source, migrations: &[&'static str]) -> Result<Self, sqlx::Error> {
        sqlx::any::install_default_drivers();
        let (url, begin, writers, hello) = match source {
            // An immediate transaction: one that begins by reading could not become a writing one beside another.
            Source::File(file) => {
                (format!("sqlite://{}?mode=rwc", file.display()).into(), "BEGIN IMMEDIATE", 1, SQLITE)
            }
            Source::Remote(remote) => {
                let url = remote.url().map_err(|error| sqlx::Error::Configuration(error.into()))?;
                (url, "BEGIN", REMOTE_WRITERS, POSTGRES)
            }
        };
        let pool = |connections| {
            let options = AnyPoolOptions::new().max_connections(connections).acquire_timeout(WAIT);
            options
                .after_connect(move |connection, _| Box::pin(async move { connection.execute(hello).await.map(drop) }))
        };
        let writer = pool(writers).connect(&url).await?;
        let remote = matches!(source, Source::Remote(_));
        let migrations = migrations.iter().zip(1..).map(|(text, number)| {
            let text = if remote { text.replace(" BLOB", " BYTEA") } else { (*text).to_owned() };
            // A constant of ours.
            let text = AssertSqlSafe(text).into_sql_str();
            Migration::new(number, format!("{number:04}").into(), MigrationType::Simple, text, false)
        });
        Migrator::with_migrations(migrations.collect()).run(&writer).await?;
        Ok(Self { writer, reader: pool(READERS).connect(&url).await?, begin })
    }

    /// A transaction that writes.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.writer.begin_with(self.begin).await
    }
}
