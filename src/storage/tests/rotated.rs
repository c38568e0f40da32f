//! A repository's rows are copied under other keys, while it is written to: whole, counted once, and nothing is laundered.

mod place;

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row;
use strongroom_database::Database;
use strongroom_domain::{Commit, Compartment, Sha256};
use strongroom_envelope::{Identity, seal_whole};
use strongroom_protocol::MetaKeys;
use strongroom_storage::{
    CatalogError, Check, CheckKeys, FileEntry, ObjectId, Operation, Placed, Quota, RefKind, RotateError, Rotated,
    Rotation, Side, Tally, Upload, Xorb, blob_id,
};

use place::{Place, keys};

const OLD: [u8; 16] = [1; 16];
const NEW: [u8; 16] = [2; 16];
const ROOM: Quota = Quota { place: 1, bytes: None };
const PARTS: [Compartment; 2] = [Compartment::Docs, Compartment::Data];

/// All keys of a repository; those of two differ, but for where directories are cut.
struct Keys {
    shared: MetaKeys,
    inbox: (MetaKeys, Identity),
    parts: BTreeMap<Compartment, (MetaKeys, Identity)>,
}

impl Keys {
    fn new(byte: u8) -> Self {
        let cut = |from: MetaKeys| MetaKeys {
            seal: from.seal.clone(),
            index: from.index.clone(),
            split: keys(200).split.clone(),
        };
        let parts = PARTS.into_iter().map(|part| (part, (cut(keys(byte + part as u8)), Identity::generate())));
        let (shared, inbox) = (cut(keys(byte + 20)), (cut(keys(byte + 21)), Identity::generate()));
        Self { shared, inbox, parts: parts.collect() }
    }

    fn side(&self, repo: [u8; 16]) -> Side<'_> {
        Side { repo, keys: self.check() }
    }

    fn check(&self) -> CheckKeys<'_> {
        let compartments = self.parts.iter().map(|(part, (meta, identity))| (*part, meta, identity)).collect();
        CheckKeys { shared: &self.shared, inbox: (&self.inbox.0, &self.inbox.1), compartments }
    }
}

struct House {
    place: Place,
    old: Keys,
    new: Keys,
}

impl House {
    async fn new(name: &str) -> Self {
        Self { place: Place::new(name).await, old: Keys::new(1), new: Keys::new(100) }
    }

    /// A commit of files on the repository or its copy.
    async fn commit(&self, repo: [u8; 16], keys: &Keys, files: &[(&str, &str)]) -> Result<Commit, CatalogError> {
        let catalog = &self.place.catalog;
        let mut operations = Vec::new();
        for (path, content) in files {
            let part = if path.ends_with(".csv") { Compartment::Data } else { Compartment::Docs };
            let (meta, identity) = &keys.parts[&part];
            let (header, payload) =
                seal_whole(content.as_bytes(), &[identity.to_recipient()]).expect("a house of a test's own");
            let object = ObjectId::generate().expect("a house of a test's own");
            self.place.objects.put(object, payload).await.expect("a house of a test's own");
            let header = header.as_bytes().to_vec();
            let file = FileEntry {
                object: object.0,
                size: content.len() as u64,
                sha256: digest(content),
                blob: blob_id(content.as_bytes()),
                lfs: false,
                envelope_mac: FileEntry::mac(meta, object, &header),
                facts: None,
            };
            let placed = Placed { compartment: part, file, header: Some(header) };
            operations.push(Operation::Put(path.parse().expect("a house of a test's own"), Box::new(placed)));
        }
        let head = catalog.find_ref(repo, &keys.shared, "main").await?;
        let parent = match head {
            Some(head) => Some(catalog.commit(repo, &keys.shared, head.target).await?),
            None => None,
        };
        let parts = keys.parts.iter().map(|(part, (meta, _))| (*part, meta.clone())).collect();
        let record = async |_: Commit, _: Vec<Compartment>, _: i64| Ok::<_, CatalogError>(());
        let about = ("one", "", "anna");
        catalog.make_commit(repo, &keys.shared, &parts, parent.as_ref(), "main", &operations, ROOM, about, record).await
    }

    async fn send(&self, content: &str) -> Result<ObjectId, CatalogError> {
        let (header, payload) =
            seal_whole(content.as_bytes(), &[self.old.inbox.1.to_recipient()]).expect("a house of a test's own");
        let object = ObjectId::generate().expect("a house of a test's own");
        self.place.objects.put(object, payload).await.expect("a house of a test's own");
        let (size, principal) = (content.len() as u64, "anna".to_owned());
        let upload = Upload { object, header: header.as_bytes().to_vec(), size, principal };
        self.place.catalog.add_upload(OLD, &self.old.inbox.0, &digest(content), &upload, ROOM).await?;
        Ok(object)
    }

    /// One pass, or, under a close, the last.
    async fn pass(&self, re_encrypt: bool, close: Option<u64>) -> Result<Rotated, RotateError> {
        let Place { catalog, objects, .. } = &self.place;
        let mut progress = |_: &strongroom_storage::Copied| {};
        let sides = (self.old.side(OLD), self.new.side(NEW));
        let mut rotation = Rotation::new(catalog, objects, sides, re_encrypt, &mut progress);
        match close {
            None => rotation.pass().await?,
            Some(close) => {
                catalog.close(OLD, NEW, close).await?;
                rotation.last_pass(close).await?;
            }
        }
        Ok(catalog.rotated(NEW).await?)
    }

    /// Everything of one side, held against its keys.
    async fn checked(&self, repo: [u8; 16], keys: &Keys) -> (Tally, usize) {
        let mut progress = |_: &Tally| {};
        let mut check = Check::new(&self.place.catalog, &self.place.objects, &mut progress);
        check.repo(repo, &keys.check()).await.expect("a house of a test's own");
        (check.tally, check.damage.len())
    }

    async fn rows(&self, statement: &'static str) -> Vec<Vec<u8>> {
        let database = Database::open_to_read(&self.place.source()).await.expect("a house of a test's own");
        let rows = sqlx::query(statement).fetch_all(&database.reader).await.expect("a house of a test's own");
        rows.iter().map(|row| row.try_get(0).expect("a house of a test's own")).collect()
    }

    async fn edit(&self, statement: &'static str) -> u64 {
        let database = Database::open(&self.place.source(), &[]).await.expect("a house of a test's own");
        sqlx::query(statement).execute(&database.writer).await.expect("a house of a test's own").rows_affected()
    }
}

fn digest(content: &str) -> Sha256 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content.as_bytes());
    Sha256::from_bytes(digest.as_ref().try_into().expect("a house of a test's own"))
}

fn many(count: usize) -> Vec<(String, String)> {
    (0..count).map(|at| (format!("rows/part-{at:04}.csv"), format!("{at}"))).collect()
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect()
}

#[tokio::test]
async fn a_copy_that_is_made_under_commits_is_whole_and_goes_on_as_the_repository_would() {
    for re_encrypt in [false, true] {
        let house = House::new(&format!("rotated-{re_encrypt}")).await;
        let (files, catalog) = (many(400), &house.place.catalog);
        house.commit(OLD, &house.old, &[("README.md", "# card"), ("deep/er/a.md", "x")]).await.unwrap();
        house.commit(OLD, &house.old, &borrowed(&files)).await.unwrap();
        house.send("waits").await.unwrap();
        house.pass(re_encrypt, None).await.unwrap();
        // What came since, and what a process that died has not seen.
        let head =
            house.commit(OLD, &house.old, &[("README.md", "# other"), ("rows/part-0003.csv", "new")]).await.unwrap();
        catalog.add_ref(OLD, &house.old.shared, RefKind::Tag, "v1", head).await.unwrap();
        house.send("waits too").await.unwrap();
        let rotated = house.pass(re_encrypt, Some(1)).await.unwrap();
        let (before, damaged) = house.checked(OLD, &house.old).await;
        assert_eq!(damaged, 0);
        let (after, damaged) = house.checked(NEW, &house.new).await;
        assert_eq!(damaged, 0);
        let of = |tally: &Tally| (tally.refs, tally.commits, tally.nodes, tally.objects, tally.bytes);
        assert_eq!(of(&before), of(&after));
        let (headers, payloads) = if re_encrypt { (0, before.objects) } else { (before.objects, 0) };
        assert_eq!((rotated.rewrapped, rotated.re_encrypted), (headers, payloads));
        assert_eq!(house.checked(NEW, &house.old).await.0.bytes, 0, "the old keys open nothing of it");
        let shared = &house.new.shared;
        assert_eq!(catalog.find_ref(NEW, shared, "main").await.unwrap().map(|found| found.target), Some(head));
        assert!(catalog.find_ref(NEW, shared, "v1").await.unwrap().is_some());
        // The same edit in both gives the same directories, by git's ids.
        catalog.reopen(OLD, 1).await.unwrap();
        let edit: Vec<(String, String)> =
            (0..400).step_by(7).map(|at| (format!("rows/part-{at:04}-more.csv"), format!("more {at}"))).collect();
        let mut roots = Vec::new();
        for (repo, keys) in [(OLD, &house.old), (NEW, &house.new)] {
            let made = house.commit(repo, keys, &borrowed(&edit)).await.unwrap();
            let body = catalog.commit(repo, &keys.shared, made).await.unwrap().body;
            roots.push(body.roots.into_iter().map(|root| (root.compartment, root.git)).collect::<Vec<_>>());
        }
        assert_eq!(roots[0], roots[1]);
        assert_eq!(house.checked(NEW, &house.new).await.1, 0);
        for (_, content) in &files[..3] {
            let (meta, digest) = (&house.new.parts[&Compartment::Data].0, digest(content));
            assert!(catalog.content(NEW, Compartment::Data, meta, &digest).await.unwrap().is_some());
        }
        assert!(catalog.upload(NEW, &house.new.inbox.0, &digest("waits too"), "anna").await.unwrap().is_some());
        // Of payloads that stay, only those that the repository got after the copy have no name any more.
        catalog.end_rotation(OLD, NEW).await.unwrap();
        let gone = if re_encrypt { before.objects } else { 0 } + edit.len() as u64;
        assert_eq!(house.rows("SELECT object FROM orphan").await.len() as u64, gone);
        catalog.sweep(&house.place.objects, 0).await.unwrap();
        assert_eq!(house.checked(NEW, &house.new).await.1, 0);
    }
}

#[tokio::test]
async fn a_payload_that_lies_in_several_places_is_written_anew_once() {
    let house = House::new("rotated-once").await;
    let catalog = &house.place.catalog;
    let object = house.send("shared").await.unwrap();
    // A commit takes the upload over into two compartments.
    let upload = catalog.upload(OLD, &house.old.inbox.0, &digest("shared"), "anna").await.unwrap().unwrap();
    let mut operations = Vec::new();
    for (part, path) in [(Compartment::Docs, "a.md"), (Compartment::Data, "a.csv")] {
        let (meta, identity) = &house.old.parts[&part];
        let header = strongroom_envelope::Header::parse(&upload.header).unwrap();
        let header = header.rewrap(&house.old.inbox.1, &[identity.to_recipient()]).unwrap().as_bytes().to_vec();
        let file = FileEntry {
            object: object.0,
            size: 6,
            sha256: digest("shared"),
            blob: blob_id(b"shared"),
            lfs: true,
            envelope_mac: FileEntry::mac(meta, object, &header),
            facts: None,
        };
        let placed = Placed { compartment: part, file, header: Some(header) };
        operations.push(Operation::Put(path.parse().unwrap(), Box::new(placed)));
    }
    let parts = house.old.parts.iter().map(|(part, (meta, _))| (*part, meta.clone())).collect();
    let record = async |_: Commit, _: Vec<Compartment>, _: i64| Ok::<_, CatalogError>(());
    let about = ("one", "", "anna");
    catalog.make_commit(OLD, &house.old.shared, &parts, None, "main", &operations, ROOM, about, record).await.unwrap();
    let rotated = house.pass(true, Some(1)).await.unwrap();
    assert_eq!(rotated, Rotated { rewrapped: 0, re_encrypted: 1, bytes: 6 });
    let names = house.rows("SELECT DISTINCT object FROM envelope UNION SELECT object FROM upload").await;
    assert_eq!(names.len(), 2, "the old and the new");
    assert_eq!(house.checked(NEW, &house.new).await.1, 0);
    catalog.end_rotation(OLD, NEW).await.unwrap();
    assert_eq!(house.rows("SELECT object FROM orphan").await, [object.0.to_vec()]);
    house.place.catalog.sweep(&house.place.objects, 0).await.unwrap();
    assert_eq!(house.place.objects.list().await.unwrap().len(), 1);
    assert_eq!(house.checked(NEW, &house.new).await.1, 0);
}

#[tokio::test]
async fn writes_that_come_after_a_close_are_refused_and_what_is_stored_counts_once_all_the_time() {
    let house = House::new("rotated-closed").await;
    let (catalog, shared) = (&house.place.catalog, &house.old.shared);
    let stored = async || catalog.stored(1).await.unwrap();
    let head = house.commit(OLD, &house.old, &[("a.md", "12345")]).await.unwrap();
    house.send("1234567").await.unwrap();
    house.pass(false, None).await.unwrap();
    assert_eq!(stored().await, 12);
    house.pass(false, Some(1)).await.unwrap();
    assert_eq!(stored().await, 12);
    let refused =
        |outcome: Result<(), CatalogError>| assert!(matches!(outcome, Err(CatalogError::Closed)), "{outcome:?}");
    refused(house.commit(OLD, &house.old, &[("b.md", "x")]).await.map(drop));
    refused(house.send("x").await.map(drop));
    refused(catalog.add_ref(OLD, shared, RefKind::Tag, "v1", head).await);
    refused(catalog.move_ref(OLD, shared, "main", head, head).await);
    refused(catalog.remove_ref(OLD, shared, RefKind::Branch, "main").await.map(drop));
    let info = catalog.commit(OLD, shared, head).await.unwrap();
    refused(catalog.squash(OLD, shared, "main", &info, ("one", "anna"), 1).await.map(drop));
    let xorb =
        Xorb { object: ObjectId([9; 16]), header: vec![1], size: 1, chunks: Vec::new(), principal: "anna".into() };
    refused(catalog.add_xorb(OLD, &house.old.inbox.0, &[9; 32], &xorb, ROOM).await.map(drop));
    assert_eq!(stored().await, 12);
    // What the sweep would take waits for the end.
    catalog.sweep(&house.place.objects, i64::MAX / 2).await.unwrap();
    assert_eq!(stored().await, 12);
    // A newer close stands when an older one is over; then writes go on, and count.
    catalog.close(OLD, NEW, 2).await.unwrap();
    catalog.reopen(OLD, 1).await.unwrap();
    refused(house.send("x").await.map(drop));
    assert!(matches!(house.pass(false, Some(1)).await, Err(RotateError::Catalog(CatalogError::Closed))));
    catalog.reopen(OLD, 2).await.unwrap();
    house.commit(OLD, &house.old, &[("b.md", "123")]).await.unwrap();
    assert_eq!(stored().await, 15);
    // While both have the upload, it is forgotten once.
    catalog.sweep(&house.place.objects, i64::MAX / 2).await.unwrap();
    assert_eq!(stored().await, 8);
    house.pass(false, Some(3)).await.unwrap();
    assert_eq!(stored().await, 8);
    catalog.end_rotation(OLD, NEW).await.unwrap();
    assert_eq!(stored().await, 8);
    house.commit(NEW, &house.new, &[("c.md", "12")]).await.unwrap();
    assert_eq!(stored().await, 10);
    // Nobody writes to what was dropped, however old the grant is.
    catalog.reopen(OLD, u64::from(u32::MAX)).await.unwrap();
    refused(house.send("x").await.map(drop));
    catalog.drop_repo(NEW).await.unwrap();
    assert_eq!(stored().await, 0);
}

#[tokio::test]
async fn a_copy_that_was_dropped_takes_nothing_more() {
    let house = House::new("rotated-dropped").await;
    house.commit(OLD, &house.old, &[("a.md", "x")]).await.unwrap();
    house.place.catalog.drop_repo(NEW).await.unwrap();
    for close in [None, Some(1)] {
        assert!(matches!(house.pass(false, close).await, Err(RotateError::Catalog(CatalogError::Closed))));
    }
    assert!(house.rows("SELECT repo FROM tree").await.iter().all(|repo| *repo == OLD));
}

#[tokio::test]
async fn what_was_edited_beside_the_keys_is_refused() {
    for re_encrypt in [false, true] {
        let house = House::new(&format!("rotated-edited-{re_encrypt}")).await;
        house.commit(OLD, &house.old, &[("a.md", "right"), ("b.md", "wrong")]).await.unwrap();
        house.pass(re_encrypt, None).await.unwrap();
        // Notes of one object in the place of another's.
        let swap = "UPDATE rotated SET anew = (SELECT o.anew FROM rotated o WHERE o.object <> rotated.object), \
                    mac = (SELECT o.mac FROM rotated o WHERE o.object <> rotated.object), \
                    proof = (SELECT o.proof FROM rotated o WHERE o.object <> rotated.object) \
                    WHERE object = (SELECT MIN(object) FROM rotated)";
        assert_eq!(house.edit(swap).await, 1);
        house.commit(OLD, &house.old, &[("c.md", "more")]).await.unwrap();
        assert!(matches!(house.pass(re_encrypt, Some(1)).await, Err(RotateError::Damaged(_))));
        house.place.catalog.reopen(OLD, 1).await.unwrap();
        house.place.catalog.drop_copy(NEW).await.unwrap();
        // Envelopes, commits and payloads that are not what was committed.
        for damage in [
            "UPDATE envelope SET header = (SELECT o.header FROM envelope o WHERE o.object <> envelope.object LIMIT 1) \
             WHERE object = (SELECT MAX(object) FROM envelope)",
            "UPDATE commit_object SET time_ms = time_ms + 5000 WHERE parent IS NULL",
            "UPDATE ref SET name_index = CAST('other' AS BLOB)",
        ] {
            let kept = house.place.source();
            let strongroom_database::Source::File(file) = kept else { unreachable!() };
            let beside = file.with_extension("kept");
            house.edit("PRAGMA wal_checkpoint(TRUNCATE)").await;
            std::fs::copy(&file, &beside).unwrap();
            assert_eq!(house.edit(damage).await, 1);
            let refused = house.pass(re_encrypt, Some(1)).await;
            assert!(matches!(refused, Err(RotateError::Damaged(_))), "{damage}: {refused:?}");
            house.place.catalog.reopen(OLD, 1).await.unwrap();
            house.place.catalog.drop_copy(NEW).await.unwrap();
            let names: BTreeSet<Vec<u8>> = house.rows("SELECT repo FROM ref").await.into_iter().collect();
            assert_eq!(names, BTreeSet::from([OLD.to_vec()]));
            undo(&house, &beside).await;
        }
    }
}

/// Puts the rows of the repository back as they were.
async fn undo(house: &House, beside: &std::path::Path) {
    let database = Database::open(&house.place.source(), &[]).await.expect("a house of a test's own");
    let mut tx = database.writer.acquire().await.expect("a house of a test's own");
    let attach = sqlx::AssertSqlSafe(format!("ATTACH '{}' AS kept", beside.display()));
    sqlx::query(attach).execute(&mut *tx).await.expect("a house of a test's own");
    for statement in [
        "DELETE FROM envelope",
        "INSERT INTO envelope SELECT * FROM kept.envelope",
        "DELETE FROM commit_object",
        "INSERT INTO commit_object SELECT * FROM kept.commit_object",
        "DELETE FROM ref",
        "INSERT INTO ref SELECT * FROM kept.ref",
        "DETACH kept",
    ] {
        sqlx::query(statement).execute(&mut *tx).await.expect("a house of a test's own");
    }
}
