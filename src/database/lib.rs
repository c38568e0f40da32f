//! Opens a SQL database, SQLite or PostgreSQL, for the same statements: BIGINT, TEXT and BLOB, `$1` and `ON CONFLICT` only.

mod dump;
mod place;
mod read;
mod remote;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor, Row, SqlSafeStr, Transaction};
use zeroize::Zeroizing;

pub use dump::{Cell, clear, is_empty, read_rows, write_rows};
pub use remote::{Remote, RemoteError};

/// Which database.
#[derive(Debug, Clone)]
pub enum Source {
    /// SQLite's file; made where it is not there.
    File(PathBuf),
    /// A PostgreSQL server.
    Remote(Remote),
}

/// Whatever a database says.
pub use sqlx::Error;

/// A transaction.
pub type Tx = Transaction<'static, Any>;

/// How a transaction stands beside others of the same kind, in all processes on one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Beside other shared ones.
    Shared,
    /// Alone.
    Exclusive,
}

/// The number of the lock of [`Database::lock`], and of the first of [`Database::hold`] (PostgreSQL's advisory locks).
const LOCK: i64 = 0x5374_726f_6e67_0000;

/// Something that one process has to itself until it drops this.
pub struct Hold {
    /// The server lets go when it ends. Nobody uses it: the lock is there for `Sync`.
    _connection: Option<Mutex<AnyConnection>>,
}

/// The database as it is used.
#[derive(Clone)]
pub struct Database {
    /// For writing, and for what must see what was just written. Of SQLite one connection: it has one writer, and a second
    /// would only wait for it.
    pub writer: AnyPool,
    /// For reading; never waits for the writer.
    pub reader: AnyPool,
    kept: read::Kept,
    begin: &'static str,
    snapshot: &'static str,
    /// Of a server: how one more connection is made.
    url: Option<Arc<Zeroizing<String>>>,
    /// Of a file that is written.
    files: Option<Arc<place::Files>>,
}

/// Connections for reading, those that are kept among them.
const READERS: u32 = 4 + read::KEPT_MAX as u32;
/// Connections to a server for writing.
const REMOTE_WRITERS: u32 = 4;
/// How long a request waits for a connection. A database that is gone is a refusal, not a hang.
const WAIT: Duration = Duration::from_secs(5);

/// WAL, so that readers do not wait; FULL, so that a commit is on the disk; wiped pages, so that what was deleted is gone. 32 MiB of
/// WAL before it is written back: a page that many commits change is written back once.
const SQLITE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                      PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; \
                      PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 8000";
/// The same for who only reads: nothing is written, not even a mode.
const SQLITE_READING: &str =
    "PRAGMA query_only = ON; PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY";
/// Long: it may go through a whole table.
const POSTGRES_MIGRATING: &str = "SET statement_timeout = 0";
/// Long: a whole table is one statement.
const POSTGRES_READING: &str = "SET default_transaction_read_only = on";
/// A statement that hangs is as bad as a server that is gone.
const POSTGRES: &str = "SET statement_timeout = '30s'; SET synchronous_commit = on; \
                        SET default_transaction_isolation = 'read committed'";

fn url_of(remote: &Remote) -> Result<Zeroizing<String>, sqlx::Error> {
    remote.url().map_err(|error| sqlx::Error::Configuration(error.into()))
}

fn pool(connections: u32, hello: &'static str) -> AnyPoolOptions {
    let options = AnyPoolOptions::new().max_connections(connections).acquire_timeout(WAIT);
    // A file's connection is not asked before each use whether it lives: it has no server that may be gone.
    let options = options.test_before_acquire(hello == POSTGRES);
    options.after_connect(move |connection, _| Box::pin(async move { connection.execute(hello).await.map(drop) }))
}

impl Database {
    /// Opens the database and brings its schema up to date: `migrations` in their order, the text for SQLite. PostgreSQL
    /// gets the same text with its own name for BLOB, and its rows have no other order to be without.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn open(source: &Source, migrations: &[&'static str]) -> Result<Self, sqlx::Error> {
        sqlx::any::install_default_drivers();
        let (url, writers, hello) = match source {
            Source::File(file) => (format!("sqlite://{}?mode=rwc", file.display()).into(), 1, SQLITE),
            Source::Remote(remote) => (url_of(remote)?, REMOTE_WRITERS, POSTGRES),
        };
        let writer = pool(writers, hello).connect(&url).await?;
        let remote = matches!(source, Source::Remote(_));
        let migrations = migrations.iter().zip(1..).map(|(text, number)| {
            let text =
                if remote { text.replace(" BLOB", " BYTEA").replace(" WITHOUT ROWID", "") } else { (*text).to_owned() };
            // A constant of ours.
            let text = AssertSqlSafe(text).into_sql_str();
            Migration::new(number, format!("{number:04}").into(), MigrationType::Simple, text, false)
        });
        let mut migrator = Migrator::with_migrations(migrations.collect());
        // An older server beside a newer one, while they are replaced one by one: a migration takes nothing away that it needs.
        migrator.set_ignore_missing(true);
        let migrating = if remote { pool(1, POSTGRES_MIGRATING).connect(&url).await? } else { writer.clone() };
        migrator.run(&migrating).await?;
        let reader = pool(READERS, hello).connect(&url).await?;
        let files = match source {
            Source::File(file) => Some(Arc::new(place::Files::of(file)?)),
            Source::Remote(_) => None,
        };
        Ok(Self { files, ..Self::over(writer, reader, remote.then(|| Arc::new(url))) })
    }

    /// Opens a database as it is, to read alone: nothing is made, migrated or written, and a server may be at work on it.
    ///
    /// # Errors
    /// Whatever the database says; also where there is none.
    pub async fn open_to_read(source: &Source) -> Result<Self, sqlx::Error> {
        sqlx::any::install_default_drivers();
        let (url, hello) = match source {
            Source::File(file) => (format!("sqlite://{}?mode=ro", file.display()).into(), SQLITE_READING),
            Source::Remote(remote) => (url_of(remote)?, POSTGRES_READING),
        };
        let reader = pool(READERS, hello).connect(&url).await?;
        let remote = matches!(source, Source::Remote(_));
        Ok(Self::over(reader.clone(), reader, remote.then(|| Arc::new(url))))
    }

    fn over(writer: AnyPool, reader: AnyPool, url: Option<Arc<Zeroizing<String>>>) -> Self {
        // An immediate transaction: one that begins by reading could not become a writing one beside another.
        let (begin, snapshot) = match url {
            None => ("BEGIN IMMEDIATE", "BEGIN"),
            Some(_) => ("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        };
        Self { writer, reader, kept: read::Kept::default(), begin, snapshot, url, files: None }
    }

    /// Whether what is committed is there after this process too: its files are still those that have its name. A server says so
    /// itself.
    ///
    /// # Errors
    /// Which one was removed or replaced; only a start anew mends that.
    pub fn is_in_place(&self) -> Result<(), sqlx::Error> {
        let Some(file) = self.files.as_ref().and_then(|files| files.missing()) else { return Ok(()) };
        let text =
            format!("{} was removed or replaced under the running server: put it back and restart", file.display());
        Err(sqlx::Error::Io(std::io::Error::other(text)))
    }

    /// A transaction that sees the database as it is now, and nothing that is written later.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn snapshot(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        let mut tx = self.reader.begin_with(self.snapshot).await?;
        // Both databases take their view at the first read, not at the beginning.
        tx.execute("SELECT COUNT(*) FROM _sqlx_migrations").await?;
        Ok(tx)
    }

    /// A transaction that writes.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.writer.begin_with(self.begin).await
    }

    /// The same on a connection of [`Database::writer`] that the caller keeps, while one transaction follows another: the pool asks
    /// each connection that comes back whether it still lives, and who comes next waits for the answer.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn begin_on<'c>(
        &self,
        connection: &'c mut PoolConnection<Any>,
    ) -> Result<Transaction<'c, Any>, sqlx::Error> {
        connection.begin_with(self.begin).await
    }

    /// Whether other processes may use it too.
    pub fn is_shared(&self) -> bool {
        self.url.is_some()
    }

    /// Makes a transaction wait for others, in the order in which they ask, until it ends. SQLite's transactions are alone
    /// anyway.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn lock(&self, tx: &mut AnyConnection, lock: Lock) -> Result<(), sqlx::Error> {
        self.lock_at(tx, 0, lock).await
    }

    /// The same among those that name this number: below 0, for logs are held by theirs.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn lock_at(&self, tx: &mut AnyConnection, number: i64, lock: Lock) -> Result<(), sqlx::Error> {
        let statement = match (self.is_shared(), lock) {
            (false, _) => return Ok(()),
            (true, Lock::Shared) => "SELECT pg_advisory_xact_lock_shared($1)",
            (true, Lock::Exclusive) => "SELECT pg_advisory_xact_lock($1)",
        };
        sqlx::query(statement).bind(LOCK + number).execute(tx).await?;
        Ok(())
    }

    /// Takes something by its number, from 1 on, for this process alone; `None` where another has it. Who has it can lose
    /// it with its connection: what is done under it must be fenced too.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn hold(&self, number: i64) -> Result<Option<Hold>, sqlx::Error> {
        let Some(url) = &self.url else { return Ok(Some(Hold { _connection: None })) };
        let mut connection = AnyConnection::connect(url).await?;
        let row = sqlx::query("SELECT CASE WHEN pg_try_advisory_lock($1) THEN CAST(1 AS BIGINT) ELSE 0 END AS held")
            .bind(LOCK + number)
            .fetch_one(&mut connection)
            .await?;
        Ok((row.try_get::<i64, _>("held")? == 1).then(|| Hold { _connection: Some(Mutex::new(connection)) }))
    }
}
