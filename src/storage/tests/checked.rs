//! What is counted against a quota and for how long; and a check holds the content itself against its entry.

mod place;

use std::collections::BTreeMap;

use strongroom_domain::{Commit, Compartment, GitBlob, Sha256};
use strongroom_envelope::{Identity, seal_whole};
use strongroom_storage::{CatalogError, Check, CheckKeys, FileEntry, ObjectId, Operation, Placed, Quota, Upload};

use place::{Place, keys};

const REPO: [u8; 16] = [9; 16];
const ROOM: Quota = Quota { place: 1, bytes: Some(100) };

impl Place {
    async fn commit(&self, object: ObjectId, size: u64, digest: Sha256, header: &[u8]) -> Result<Commit, CatalogError> {
        let parts = BTreeMap::from([(Compartment::Docs, keys(3))]);
        let file = FileEntry {
            object: object.0,
            size,
            sha256: digest,
            blob: GitBlob::from_bytes([2; 20]),
            lfs: true,
            envelope_mac: FileEntry::mac(&parts[&Compartment::Docs], object, header),
            facts: None,
        };
        let placed = Placed { compartment: Compartment::Docs, file, header: Some(header.to_vec()) };
        let path = format!("{object}.bin").parse().expect("a path");
        let put = [Operation::Put(path, Box::new(placed))];
        let record = async |_: Commit, _: Vec<Compartment>, _: i64| Ok::<_, CatalogError>(());
        let branch = format!("of-{object}");
        self.catalog.make_commit(REPO, &keys(1), &parts, None, &branch, &put, ROOM, ("one", "", "anna"), record).await
    }

    async fn send(&self, byte: u8, size: u64) -> Result<(), CatalogError> {
        let upload = Upload { object: ObjectId([byte; 16]), header: vec![1], size, principal: "anna".to_owned() };
        self.catalog.add_upload(REPO, &keys(5), &Sha256::from_bytes([byte; 32]), &upload, ROOM).await
    }
}

#[tokio::test]
async fn an_upload_counts_once_through_commit_and_sweep_and_what_is_forgotten_counts_no_more() {
    let place = Place::new("counted").await;
    place.send(1, 40).await.unwrap();
    place.send(2, 50).await.unwrap();
    // Sent again, and past the quota: no more, and no trace.
    place.send(2, 50).await.unwrap();
    assert!(matches!(place.send(3, 11).await, Err(CatalogError::OverQuota(100))));
    assert_eq!(place.catalog.stored(1).await.unwrap(), 90);
    place.commit(ObjectId([1; 16]), 40, Sha256::from_bytes([1; 32]), &[1]).await.unwrap();
    assert_eq!(place.catalog.stored(1).await.unwrap(), 90, "the commit takes the upload over");
    let small = place.commit(ObjectId([4; 16]), 20, Sha256::from_bytes([4; 32]), &[1]).await;
    assert!(matches!(small, Err(CatalogError::OverQuota(100))));
    place.catalog.sweep(&place.objects, i64::MAX / 2).await.unwrap();
    assert_eq!(place.catalog.stored(1).await.unwrap(), 40, "what no commit names is forgotten");
    place.commit(ObjectId([4; 16]), 60, Sha256::from_bytes([4; 32]), &[1]).await.unwrap();
    assert_eq!(place.catalog.stored(1).await.unwrap(), 100);
    place.catalog.drop_repo(REPO).await.unwrap();
    assert_eq!(place.catalog.stored(1).await.unwrap(), 0);
}

#[tokio::test]
async fn a_check_names_content_that_opens_and_is_not_what_was_committed() {
    let place = Place::new("content").await;
    let (right, wrong) = (ObjectId([1; 16]), ObjectId([2; 16]));
    let identity = Identity::generate();
    // SHA-256 of "x".
    let digest: Sha256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881".parse().unwrap();
    for (object, content) in [(right, b"x"), (wrong, b"y")] {
        let (header, payload) = seal_whole(content, &[identity.to_recipient()]).unwrap();
        place.objects.put(object, payload).await.unwrap();
        place.commit(object, 1, digest, header.as_bytes()).await.unwrap();
    }
    let (shared, inbox, docs) = (keys(1), keys(5), keys(3));
    let compartments = vec![(Compartment::Docs, &docs, &identity)];
    let mut progress = |_: &strongroom_storage::Tally| {};
    let mut check = Check::new(&place.catalog, &place.objects, &mut progress);
    check.repo(REPO, &CheckKeys { shared: &shared, inbox: (&inbox, &identity), compartments }).await.unwrap();
    assert_eq!(check.tally.objects, 2);
    let [found] = check.damage.as_slice() else { panic!("{:?}", check.damage) };
    assert_eq!((found.object, found.path.as_deref()), (Some(wrong), Some(format!("{wrong}.bin").as_str())));
    assert!(found.what.contains("content"), "{}", found.what);
}
