//! The keeper's database: one writer, durable at each commit.

use std::path::Path;

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, Executor, SqlStr};

/// The database as it is used: all writes over one connection, reads beside it.
#[derive(Clone)]
pub struct Database {
    /// One connection: SQLite has one writer, and the log decides its order.
    pub writer: AnyPool,
    /// For searches.
    pub reader: AnyPool,
}

/// Connections for searches: they never wait for the writer (WAL).
const READERS: u32 = 4;

/// Opens the database, makes it where it is not there, and brings its schema up to date.
///
/// # Errors
/// Whatever the database says.
pub async fn connect(file: &Path) -> Result<Database, sqlx::Error> {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}?mode=rwc", file.display());
    let options = |connections| {
        AnyPoolOptions::new().max_connections(connections).after_connect(|connection, _| {
        Box::pin(async move {
            connection
                .execute(
                    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                     PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON",
                )
                .await?;
            Ok(())
        })
    })
    };
    let writer = options(1).connect(&url).await?;
    let first = Migration::new(
        1,
        "first".into(),
        MigrationType::Simple,
        SqlStr::from_static(include_str!("../../migrations/keeper/0001_first.sql")),
        false,
    );
    Migrator::with_migrations(vec![first]).run(&writer).await?;
    Ok(Database { writer, reader: options(READERS).connect(&url).await? })
}
