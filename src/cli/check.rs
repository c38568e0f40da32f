//! `check`: everything that is stored, held against what was written. Nothing is repaired, nothing is changed, and a server may
//! be at work beside it.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};
use strongroom_database::Source;
use strongroom_domain::Compartment;
use strongroom_envelope::Identity;
use strongroom_keeper::Inspection;
use strongroom_keeper::log::{StoredLeaf, origin};
use strongroom_storage::{Catalog, Check, CheckKeys, Damage, Objects, RepoId};

use crate::logs::Logs;
use crate::progress::Progress;
use crate::{Failed, words};

/// Where a server's things lie.
pub struct Places {
    /// The keeper's database, as its settings name it.
    pub keeper: strongroom_keeper::Settings,
    /// The catalogue.
    pub catalog: Source,
    /// The payloads.
    pub objects: Objects,
}

/// What was found.
pub struct Report {
    /// As it is printed.
    pub shown: Value,
    /// Things that are damaged.
    pub damaged: usize,
}

/// Checks all of it.
///
/// # Errors
/// What could not be looked at: a database that is not there, a root key that opens nothing.
pub async fn run(places: &Places, root: Identity, progress: &mut Progress) -> Result<Report, Failed> {
    let catalog = Catalog::open_to_read(&places.catalog).await.map_err(words)?;
    // Before the keeper's: what has rows in the catalogue was known to the keeper before.
    let stored = catalog.repos().await.map_err(words)?;
    let inspection = Inspection::open(places.keeper.clone(), root).await.map_err(words)?;
    let mut damaged = Vec::new();
    if !inspection.ca_key_opens().await.map_err(words)? {
        damaged.push(json!({"what": "keeper database: the CA's key does not open with this root key"}));
    }
    let repos = inspection.repos().await.unwrap_or_else(|error| {
        damaged.push(json!({"what": error.to_string()}));
        Vec::new()
    });
    let mut shown = Map::new();
    let unknown = stored
        .iter()
        .filter(|id| !repos.iter().any(|repo| repo.catalog_id == **id || repo.beside == Some(**id)))
        .count();
    if unknown > 0 {
        damaged
            .push(json!({"what": format!("the catalogue holds {unknown} repositories that the keeper does not know")}));
    }
    let names: HashMap<RepoId, String> =
        repos.iter().map(|repo| (repo.catalog_id, format!("{} {}", repo.kind, repo.name))).collect();
    let mut told = |tally: &strongroom_storage::Tally| {
        progress.tell(|| format!("{} objects, {} bytes, {} damaged", tally.objects, tally.bytes, tally.damaged));
    };
    // Of a repository that is being rotated, the copy that is not its own is on its way in or out.
    let mut check = Check::new(&catalog, &places.objects, &mut told);
    let (mut repositories, mut sealed) = (0, Vec::new());
    for repo in &repos {
        let name = &names[&repo.catalog_id];
        match &repo.keys {
            None if repo.sealed => {
                sealed.push(name.clone());
                continue;
            }
            // Deleted: what is left of it is for the sweep.
            None => continue,
            Some(Err(error)) => damaged.push(json!({"repository": name, "what": error})),
            Some(Ok(keys)) => {
                let compartments = Compartment::ALL.into_iter().map(|compartment| {
                    let (meta, identity) = keys.compartment(compartment);
                    (compartment, meta, identity)
                });
                let keys =
                    CheckKeys { shared: keys.shared(), inbox: keys.inbox(), compartments: compartments.collect() };
                check.repo(repo.catalog_id, &keys).await.map_err(words)?;
            }
        }
        repositories += 1;
    }
    let tally = check.tally;
    damaged.extend(check.damage.iter().map(|found| row(found, &names)));
    shown.insert("repositories".to_owned(), repositories.into());
    // Not looked into: they open with their shares alone.
    shown.insert("sealed".to_owned(), sealed.into());
    for (what, count) in [
        ("refs", tally.refs),
        ("commits", tally.commits),
        ("directories", tally.nodes),
        ("objects", tally.objects),
        ("bytes", tally.bytes),
        ("orphans", catalog.count_orphans(&places.objects).await.map_err(words)?),
        ("records", logs(&inspection, &mut damaged).await?),
    ] {
        shown.insert(what.to_owned(), count.into());
    }
    progress.end(|| format!("{} objects, {} bytes, {} damaged", tally.objects, tally.bytes, damaged.len()));
    let count = damaged.len();
    shown.insert("damaged".to_owned(), damaged.into());
    Ok(Report { shown: shown.into(), damaged: count })
}

fn row(found: &Damage, names: &HashMap<RepoId, String>) -> Value {
    let mut row = Map::new();
    row.insert("repository".to_owned(), names.get(&found.repo).cloned().into());
    if let Some(path) = &found.path {
        row.insert("path".to_owned(), path.clone().into());
    }
    if let Some(object) = found.object {
        row.insert("object".to_owned(), object.to_string().into());
    }
    row.insert("what".to_owned(), found.what.clone().into());
    row.into()
}

/// Every record, and the tree over each log as `audit verify` computes it; how many records.
async fn logs(inspection: &Inspection, damaged: &mut Vec<Value>) -> Result<u64, Failed> {
    let key = inspection.log_key().map_err(Failed)?;
    let name = key.name().to_owned();
    let (mut logs, mut wrong, mut records) = (Logs::new(key), BTreeMap::new(), 0);
    let read = inspection.read_logs(|log, leaf: &StoredLeaf, whole| {
        records += 1;
        let log = origin(&name, log);
        if let Err(error) = logs.push(&log, leaf) {
            wrong.insert((log, leaf.seq), error.0);
        } else if !whole {
            wrong.insert((log, leaf.seq), "the record does not open, or its columns are not its own".to_owned());
        }
    });
    let stored = read.await.map_err(words)?;
    damaged.extend(wrong.into_iter().map(|((log, record), what)| json!({"log": log, "record": record, "what": what})));
    let newest: Vec<(String, String)> =
        stored.into_iter().map(|stored| (origin(&name, stored.log), stored.checkpoint)).collect();
    if newest.is_empty() {
        damaged.push(json!({"what": "there is no log"}));
    } else if let Err(error) = logs.check(&newest) {
        damaged.push(json!({"what": error.0}));
    }
    let lost = inspection.lost_alerts().await.map_err(words)?;
    if lost > 0 {
        damaged.push(json!({"what": format!("the log and the list of alerts differ in {lost} alerts")}));
    }
    for log in inspection.wrongly_indexed().await.map_err(words)? {
        damaged.push(
            json!({"log": origin(&name, log), "what": "the index is not that of its records: searches miss some"}),
        );
    }
    let mut wrong = Vec::new();
    let tiles = inspection.read_tiles(|tile| {
        let log = origin(&name, tile.log);
        if !logs.tile(&log, tile) {
            wrong.push((log, format!("tile {}/{} is not that of its records", tile.level, tile.position)));
        }
    });
    tiles.await.map_err(words)?;
    wrong.extend(
        logs.missing().map(|(log, level, position)| (log.to_owned(), format!("tile {level}/{position} is missing"))),
    );
    damaged.extend(wrong.into_iter().map(|(log, what)| json!({"log": log, "what": what})));
    Ok(records)
}
