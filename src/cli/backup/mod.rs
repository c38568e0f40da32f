//! `backup`: create, verify, restore, by the operator on the machine. docs/backup.md says how to use it.

mod create;
mod folder;
mod restore;
mod snapshot;
mod verify;

use std::fs;
use std::path::Path;

use strongroom_database::{Cell, Database, Source, clear, is_empty, write_rows};
use strongroom_envelope::{Identity, Recipient};
use zeroize::Zeroizing;

use crate::Failed;
use crate::arguments::{Backup, Made};
use crate::command::runtime;
use crate::config::Config;
use crate::progress::Progress;
use crate::show::show;
use snapshot::{Base, Frame, Reader};

/// `strongroom backup …`.
///
/// # Errors
/// The reason.
pub fn run(backup: Backup) -> Result<(), Failed> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    match backup {
        Backup::Create { to, recipients, server, output } => {
            let config = Config::load(&server)?;
            let texts = if recipients.is_empty() { &config.recovery } else { &recipients };
            let parse = |text: &String| text.parse().map_err(|error| Failed(format!("recipient {text}: {error}")));
            let recipients = texts.iter().map(parse).collect::<Result<Vec<Recipient>, _>>()?;
            if recipients.is_empty() {
                let mend = "name one with --recipient age1…, or root_key.recovery in the configuration";
                return Err(Failed(format!("a backup is encrypted to somebody: {mend}")));
            }
            let (places, mut progress) = (config.places()?, Progress::new(output.progress));
            let made = create::create(&places, &to, &recipients, &mut progress);
            show(&runtime()?.block_on(made)?, output.json);
            Ok(())
        }
        Backup::Verify { made: Made { from, backup, identity }, root_key, scratch, output } => {
            let identities = (identity_in(&identity)?, root_key.as_deref().map(identity_in).transpose()?);
            let mut progress = Progress::new(output.progress);
            let verified = verify::verify(&from, backup.as_deref(), identities, scratch.as_deref(), &mut progress);
            let report = runtime()?.block_on(verified)?;
            show(&report.shown, output.json);
            match report.damaged {
                0 => Ok(()),
                damaged => Err(Failed(format!("the backup does NOT verify: {damaged} things are damaged"))),
            }
        }
        Backup::Restore { made: Made { from, backup, identity }, server, output } => {
            let config = Config::load(&server)?;
            let identity = identity_in(&identity)?;
            show(
                &restore::restore(&config, &from, backup.as_deref(), identity, &mut Progress::new(output.progress))?,
                output.json,
            );
            Ok(())
        }
    }
}

/// The identity in a file, as `age-keygen` writes it.
fn identity_in(file: &Path) -> Result<Identity, Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed(format!("{}: {error}", file.display()));
    let text = Zeroizing::new(fs::read_to_string(file).map_err(|error| failed(&error))?);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    line.unwrap_or_default().parse().map_err(|error| failed(&error))
}

/// Rows that are written at once.
const ROWS: usize = 256;

/// The two databases that rows are restored into, fresh ones.
struct Target {
    keeper: Database,
    catalog: Database,
}

type Transactions = (strongroom_database::Tx, strongroom_database::Tx);

impl Target {
    /// Makes their tables, or refuses where there is anything in them.
    async fn open(keeper: &Source, catalog: &Source) -> Result<Self, Failed> {
        let words = |error: &dyn std::fmt::Display| Failed(error.to_string());
        let keeper_opened = strongroom_keeper::migrate(keeper).await.map_err(|error| words(&error))?;
        let catalog_opened = strongroom_storage::Catalog::migrate(catalog).await.map_err(|error| words(&error))?;
        let target = Self { keeper: keeper_opened, catalog: catalog_opened };
        for (database, tables) in
            [(&target.keeper, strongroom_keeper::TABLES), (&target.catalog, strongroom_storage::TABLES)]
        {
            let mut tx = database.begin().await.map_err(|error| words(&error))?;
            for table in tables {
                // Holds one row from the start.
                let fresh =
                    *table == "policy_generation" || is_empty(&mut tx, table).await.map_err(|error| words(&error))?;
                if !fresh {
                    return Err(Failed(format!("the database is not empty ({table}): restore into an empty one")));
                }
            }
        }
        Ok(target)
    }

    /// Writes all rows of a snapshot; nothing is there before both transactions are committed.
    async fn write(&self, mut reader: Reader) -> Result<Transactions, Failed> {
        let words = |error: &dyn std::fmt::Display| Failed(error.to_string());
        let mut keeper = self.keeper.begin().await.map_err(|error| words(&error))?;
        let mut catalog = self.catalog.begin().await.map_err(|error| words(&error))?;
        clear(&mut keeper, "policy_generation").await.map_err(|error| words(&error))?;
        let mut table: Option<(Base, &'static str, Vec<String>)> = None;
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        loop {
            let frame = reader.next()?;
            let more = matches!(frame, Some(Frame::Row(_)));
            if (!more || rows.len() >= ROWS)
                && let Some((base, name, columns)) = &table
            {
                let tx = if *base == Base::Keeper { &mut keeper } else { &mut catalog };
                write_rows(tx, name, columns, &rows).await.map_err(|error| words(&error))?;
                rows.clear();
            }
            match frame {
                None => return Ok((keeper, catalog)),
                Some(Frame::Table(base, name, columns)) => {
                    let tables =
                        if base == Base::Keeper { strongroom_keeper::TABLES } else { strongroom_storage::TABLES };
                    // The name that goes into a statement is ours.
                    let known = tables.iter().find(|known| **known == name);
                    let known =
                        known.ok_or_else(|| Failed(format!("the snapshot has a table {name}, which is none")))?;
                    table = Some((base, known, columns));
                }
                Some(Frame::Row(row)) => rows.push(row),
                Some(_) => {}
            }
        }
    }
}
