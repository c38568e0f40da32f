//! A fresh catalogue for a test.

use std::path::PathBuf;

use strongroom_database::Source;
use strongroom_protocol::{MetaKeys, Secret};
use strongroom_storage::{Catalog, Objects};

/// Keys that differ by this byte.
pub fn keys(byte: u8) -> MetaKeys {
    MetaKeys {
        seal: Secret::new([byte; 32]),
        index: Secret::new([byte ^ 0xff; 32]),
        split: Secret::new([byte ^ 0xaa; 32]),
    }
}

/// A catalogue and its objects, in a folder that goes when this does.
pub struct Place {
    folder: PathBuf,
    pub catalog: Catalog,
    pub objects: Objects,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Place {
    /// Its catalogue, for whoever edits what lies there.
    #[allow(dead_code, reason = "each test file uses some of it")]
    pub fn source(&self) -> Source {
        Source::File(self.folder.join("catalog.db"))
    }

    /// A fresh one.
    pub async fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("strongroom-{name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("objects")).expect("a fresh folder");
        let catalog = Catalog::open(&Source::File(folder.join("catalog.db"))).await.expect("a fresh folder");
        let objects = Objects::local(&folder.join("objects")).expect("a fresh folder");
        Self { folder, catalog, objects }
    }
}
