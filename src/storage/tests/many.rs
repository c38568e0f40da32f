//! What is asked of the catalogue for many things at once.

mod place;

use std::collections::{BTreeMap, HashMap};

use strongroom_domain::{Commit, Compartment, GitBlob, Sha256};
use strongroom_protocol::MetaKeys;
use strongroom_storage::{CatalogError, FileEntry, Head, ObjectId, Operation, Placed, Quota, Upload};

use place::{Place, keys};

const QUOTA: Quota = Quota { place: 1, bytes: None };

impl Place {
    /// A commit of one file with its envelope.
    async fn commit(&self, repo: [u8; 16], shared: &MetaKeys, object: ObjectId) -> Commit {
        let parts = BTreeMap::from([(Compartment::Docs, keys(3))]);
        let file = FileEntry {
            object: object.0,
            size: 1,
            sha256: Sha256::from_bytes([1; 32]),
            blob: GitBlob::from_bytes([2; 20]),
            lfs: false,
            envelope_mac: [0; 32],
            facts: None,
        };
        let placed = Placed { compartment: Compartment::Docs, file, header: Some(vec![1]) };
        let put = Operation::Put("README.md".parse().expect("a path"), Box::new(placed));
        let record = async |_: Commit, _: Vec<Compartment>, _: i64| Ok::<_, CatalogError>(());
        let about = ("one", "", "anna");
        self.catalog
            .make_commit(repo, shared, &parts, None, "main", &[put], QUOTA, about, record)
            .await
            .expect("a commit")
    }
}

#[tokio::test]
async fn heads_of_many_repositories_are_each_repositorys_own() {
    let place = Place::new("heads").await;
    let shared: Vec<MetaKeys> = (0..=255).map(keys).collect();
    let repo = |n: usize| -> [u8; 16] { std::array::from_fn(|at| if at == 0 { (n / 256) as u8 } else { n as u8 }) };
    let mut expected = HashMap::new();
    for n in 0..270 {
        // Every ninth has no commit yet.
        if n % 9 != 8 {
            let id = place.commit(repo(n), &shared[n % 256], ObjectId([n as u8; 16])).await;
            place
                .catalog
                .add_ref(repo(n), &shared[n % 256], strongroom_storage::RefKind::Branch, "dev", id)
                .await
                .unwrap();
            let commit = place.catalog.commit(repo(n), &shared[n % 256], id).await.unwrap();
            expected.insert(repo(n), Head { commit: id, time_ms: commit.time_ms });
        }
    }
    let asked: Vec<_> = (0..270).map(|n| (repo(n), &shared[n % 256])).collect();
    assert_eq!(place.catalog.heads(&asked, "main").await.unwrap(), expected);
    assert!(place.catalog.heads(&asked, "nowhere").await.unwrap().is_empty());
    assert!(place.catalog.heads(&[], "main").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_sweep_removes_of_many_payloads_those_that_nothing_names() {
    let place = Place::new("sweep").await;
    let shared = keys(1);
    // Across more than one statement.
    let object = |n: usize| ObjectId(std::array::from_fn(|at| if at < 8 { (n >> 8) as u8 } else { n as u8 }));
    let (committed, sent) = (object(3), object(610));
    for n in 0..620 {
        place.objects.put(object(n), vec![7; 3]).await.unwrap();
    }
    place.commit([9; 16], &shared, committed).await;
    let future = i64::MAX / 2;
    let upload = Upload { object: sent, header: vec![1], size: 3, principal: "anna".to_owned() };
    place.catalog.add_upload([9; 16], &keys(2), &Sha256::from_bytes([5; 32]), &upload, QUOTA).await.unwrap();
    // Nothing is old yet.
    assert_eq!(place.catalog.sweep(&place.objects, 0).await.unwrap(), 0);
    // Now all is, also what was sent and never committed.
    assert_eq!(place.catalog.sweep(&place.objects, future).await.unwrap(), 619);
    assert_eq!(place.objects.written_before(future).await.unwrap(), [committed]);
}
