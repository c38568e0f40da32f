//! The preflight, and `doctor`: what is dangerous, why, and the mend.

mod alerts;
mod policies;
mod witness;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};
use strongroom_database::Remote;

use crate::arguments::Only;
use crate::certificates;
use crate::config::{Config, Mode};
use crate::courier::Errand;

/// Something that was found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Whether it stops the start.
    pub refused: bool,
    /// What.
    pub what: String,
    /// How it is mended.
    pub mend: String,
}

impl Finding {
    /// As JSON.
    pub fn json(&self) -> Value {
        let level = if self.refused { "refused" } else { "warning" };
        json!({"level": level, "what": self.what, "mend": self.mend})
    }
}

/// Looks at everything, or at what one process has where they run apart. Without findings that are refused, it may start.
pub fn examine(config: &Config, only: Option<Only>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let production = config.mode == Mode::Production;
    let mut add = |refused: bool, what: String, mend: String| findings.push(Finding { refused, what, mend });
    if rustix::process::geteuid().is_root() {
        let mend = "run as a user of its own: deploy/strongroom.service does".to_owned();
        add(production, "the server runs as root".to_owned(), mend);
    }
    if let Some(key) = &config.root_key {
        if key.starts_with(&config.data_dir) {
            let what = format!("the root key {} lies inside the data directory", key.display());
            let mend = "move it elsewhere and name it with --root-key: whoever copies the one must not get the other";
            add(true, what, mend.to_owned());
        }
        if let Ok(metadata) = fs::metadata(key)
            && metadata.permissions().mode() & 0o077 != 0
        {
            let what = format!("the root key {} can be read by others", key.display());
            add(true, what, format!("chmod 0400 {}", key.display()));
        }
    }
    let parts: &[&str] = match only {
        None => &["", "keeper", "catalog", "objects", "tls/server.key"],
        // Each has its folders, in one that belongs to neither.
        Some(Only::Keeper) => &["keeper"],
        Some(Only::Gate) => &["catalog", "objects", "tls/server.key"],
        Some(Only::Courier) => &[],
    };
    for part in parts {
        let path = if part.is_empty() { config.data_dir.clone() } else { config.data_dir.join(part) };
        if let Ok(metadata) = fs::metadata(&path)
            && metadata.permissions().mode() & 0o077 != 0
        {
            let mend = format!("chmod -R go= {}", config.data_dir.display());
            add(true, format!("{} can be read by others", path.display()), mend);
        }
        if let Ok(metadata) = fs::metadata(&path)
            && metadata.uid() != rustix::process::geteuid().as_raw()
        {
            let mend = format!("chown it, or run as that user: {}", path.display());
            add(production, format!("{} belongs to another user", path.display()), mend);
        }
    }
    for (url, file) in [&config.databases.keeper, &config.databases.catalog].into_iter().flatten() {
        if url.parse::<Remote>().is_ok_and(|remote| !remote.is_safe()) {
            let mend = "add ?sslmode=verify-full&sslrootcert=FILE to its URL".to_owned();
            add(true, format!("the database {url} is reached over a network without verified TLS"), mend);
        }
        if let Some(file) = file
            && fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
        {
            add(true, format!("{} can be read by others", file.display()), format!("chmod 0400 {}", file.display()));
        }
    }
    if matches!(only, None | Some(Only::Keeper)) {
        let found = policies::examine(config).into_iter().chain(witness::rules(config));
        found.for_each(|(refused, what, mend)| add(refused, what, mend));
    }
    // Whoever goes there has the secret that signs alerts, and finds the addresses.
    let goes = match only {
        None | Some(Only::Courier) => true,
        Some(Only::Keeper) => config.courier_socket.is_none(),
        Some(Only::Gate) => false,
    };
    if goes {
        let found = alerts::examine(config).into_iter().chain(witness::places(config));
        found.for_each(|(refused, what, mend)| add(refused, what, mend));
    }
    if only == Some(Only::Courier) {
        // The rest is the others'.
        return findings;
    }
    if only == Some(Only::Keeper) && goes && !Errand::all(config).is_ok_and(|errands| errands.is_empty()) {
        let what = "alerts and witnesses are reached over this keeper's own network, and deploy/apart gives it none";
        let mend = "enable strongroom-courier.socket, and name it: server.courier_socket".to_owned();
        add(false, what.to_owned(), mend);
    }
    let certificate = if only == Some(Only::Keeper) { None } else { certificates::examine(config, SystemTime::now()) };
    if let Some((refused, what, mend)) = certificate {
        add(refused && production, what, mend);
    }
    if config.tls12 {
        let mend = "remove server.tls12 once no client needs it".to_owned();
        add(false, "TLS 1.2 is spoken beside 1.3".to_owned(), mend);
    }
    if production && config.hosts.is_empty() {
        let mend = "name the hosts in server.hosts, as clients will write them".to_owned();
        add(true, "the server listens to others, and no name of it is configured".to_owned(), mend);
    }
    if core_dumps_hold_memory() {
        let mend =
            "nothing to do for Strongroom's processes, which are not dumpable; for the rest: ulimit -c 0".to_owned();
        add(false, "this machine keeps core dumps".to_owned(), mend);
    }
    if !cfg!(target_os = "linux") {
        let mend = "run on Linux in production".to_owned();
        add(production, "the gate has no sandbox on this system".to_owned(), mend);
    }
    let roles = "the first principal administers and owns a namespace";
    let mend = "give administration to another principal: user create, role grant … admin --system, role revoke";
    add(false, roles.to_owned(), mend.to_owned());
    findings
}

fn core_dumps_hold_memory() -> bool {
    fs::read_to_string(Path::new("/proc/sys/kernel/core_pattern")).is_ok_and(|pattern| pattern.starts_with('|'))
}
