//! The walls of the house: which folder may name which, and what no folder does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Which crates of ours each crate depends on, tests aside.
fn arrows() -> BTreeMap<String, Vec<String>> {
    let folders = fs::read_dir(root().join("src"))
        .expect("the source tree")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut arrows = BTreeMap::new();
    for folder in folders.filter(|folder| root().join("src").join(folder).join("Cargo.toml").exists()) {
        let manifest =
            fs::read_to_string(root().join("src").join(&folder).join("Cargo.toml")).expect("the source tree");
        let needed = manifest
            .split("[dependencies]")
            .nth(1)
            .expect("the source tree")
            .split("\n[")
            .next()
            .expect("the source tree");
        let ours = needed.lines().filter_map(|line| line.strip_prefix("strongroom-")?.split(['.', ' ']).next());
        arrows.insert(folder, ours.map(str::to_owned).collect());
    }
    arrows
}

#[test]
fn arrows_between_crates_run_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("domain", &[][..]),
        ("audit", &[]),
        ("xet", &[]),
        ("envelope", &[]),
        ("database", &[]),
        ("protocol", &["domain"]),
        ("storage", &["database", "domain", "envelope", "protocol"]),
        ("keeper", &["database", "domain", "envelope", "protocol", "audit"]),
        ("gate", &["database", "domain", "envelope", "protocol", "storage", "xet"]),
        ("cli", &["database", "domain", "envelope", "protocol", "audit", "storage", "keeper", "gate"]),
    ]);
    let arrows = arrows();
    assert_eq!(arrows.keys().collect::<Vec<_>>(), allowed.keys().collect::<Vec<_>>());
    for (folder, needed) in arrows {
        for other in needed {
            assert!(allowed[folder.as_str()].contains(&other.as_str()), "{folder} names {other}");
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the source tree") {
        let path = entry.expect("the source tree").path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
}

#[test]
fn nothing_under_the_gate_names_anything_under_the_keeper_and_the_other_way_round() {
    for (folder, foreign) in
        [("gate", "strongroom_keeper"), ("keeper", "strongroom_gate"), ("storage", "strongroom_keeper")]
    {
        let mut found = Vec::new();
        sources(&root().join("src").join(folder), &mut found);
        assert!(found.len() > 3, "{folder} was not looked at");
        for path in found {
            assert!(!fs::read_to_string(&path).unwrap().contains(foreign), "{} names {foreign}", path.display());
        }
    }
}

#[test]
fn http_and_tls_are_under_the_gate_only_and_casbin_under_the_keeper_only() {
    let fenced = [("axum", "gate"), ("hyper", "gate"), ("casbin", "keeper"), ("object_store", "storage")];
    for folder in arrows().keys() {
        let manifest = fs::read_to_string(root().join("src").join(folder).join("Cargo.toml")).unwrap();
        for (name, home) in fenced {
            let named = manifest.lines().any(|line| line.starts_with(&format!("{name}.")));
            assert!(!named || folder == home, "{folder} depends on {name}");
        }
    }
}

#[test]
fn no_file_grows_without_end() {
    let mut found = Vec::new();
    sources(&root().join("src"), &mut found);
    for path in found {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 500, "{} has {lines} lines: it holds more than one idea", path.display());
    }
}
