//! The tree against the reference vectors and against a naive tree, and forged proofs against the verifier.

mod log;

use strongroom_audit::Hash;
use strongroom_audit::proof::{verify_consistency, verify_inclusion};
use strongroom_audit::tile::Tile;
use strongroom_audit::tree::{self, Edge, HashReader, Subtree};

use log::Log;

fn leaves(log: &Log) -> Vec<Hash> {
    (0..log.edge.size()).map(|index| log.read(Subtree { level: 0, index }).unwrap()).collect()
}

/// RFC 6962 section 2.1, word by word.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves.len() {
        0 => Hash::empty(),
        1 => leaves[0],
        count => {
            let (left, right) = leaves.split_at(count.next_power_of_two() / 2);
            Hash::node(&naive_root(left), &naive_root(right))
        }
    }
}

#[test]
fn roots_are_those_of_the_certificate_transparency_test_vectors() {
    let leaves: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut log = Log::default();
    for (size, root) in roots.iter().enumerate() {
        assert_eq!(log.root(size as u64).to_string(), *root, "{size} leaves");
        if let Some(leaf) = leaves.get(size) {
            log.add(leaf);
        }
    }
}

#[test]
fn every_inclusion_proof_holds_for_its_leaf_and_place_only() {
    let log = Log::of(0..70);
    let leaves = leaves(&log);
    for size in 1..=log.edge.size() {
        let root = log.root(size);
        assert_eq!(root, naive_root(&leaves[..size as usize]));
        for index in 0..size {
            let leaf = leaves[index as usize];
            let path = tree::inclusion(&log, index, size).unwrap().unwrap();
            assert_eq!(verify_inclusion(index, size, leaf, &path, root), Ok(()));
            assert!(verify_inclusion(index, size, Hash::leaf(b"forged"), &path, root).is_err());
            assert!(verify_inclusion(size, size, leaf, &path, root).is_err());
            for other in (0..size).filter(|other| *other != index) {
                assert!(verify_inclusion(other, size, leaf, &path, root).is_err(), "{index} as {other} of {size}");
            }
            assert!(verify_inclusion(index, size, leaf, &[&path[..], &[root]].concat(), root).is_err());
            if let Some((_, short)) = path.split_last() {
                assert!(verify_inclusion(index, size, leaf, short, root).is_err());
            }
        }
    }
    assert_eq!(tree::inclusion(&log, 70, 70).unwrap(), None);
}

#[test]
fn every_later_tree_proves_that_it_extends_each_earlier_one() {
    let log = Log::of(0..70);
    for size in 1..=log.edge.size() {
        for old in 1..=size {
            let path = tree::consistency(&log, old, size).unwrap().unwrap();
            let (before, after) = ((old, log.root(old)), (size, log.root(size)));
            assert_eq!(verify_consistency(before, after, &path), Ok(()), "{old} in {size}");
            assert!(verify_consistency((old, Hash::leaf(b"x")), after, &path).is_err());
            assert!(verify_consistency(before, (size, Hash::leaf(b"x")), &path).is_err());
            assert!(verify_consistency(before, after, &[&path[..], &[log.root(1)]].concat()).is_err());
        }
        assert_eq!(tree::consistency(&log, size + 1, size).unwrap(), None);
    }
}

#[test]
fn a_log_that_was_edited_cut_or_reordered_extends_no_kept_checkpoint() {
    let honest = Log::of(0..40);
    let kept = (40, honest.root(40));
    let rewritten = |change: fn(&mut Vec<u64>)| {
        let mut leaves: Vec<u64> = (0..60).collect();
        change(&mut leaves);
        let mut log = Log::default();
        leaves.iter().for_each(|leaf| log.add(&leaf.to_be_bytes()));
        let path = tree::consistency(&log, 40, log.edge.size()).unwrap().unwrap();
        verify_consistency(kept, (log.edge.size(), log.root(log.edge.size())), &path)
    };
    assert_eq!(rewritten(|_| ()), Ok(()));
    assert!(rewritten(|leaves| leaves[17] = 1000).is_err(), "edited");
    assert!(
        rewritten(|leaves| {
            leaves.remove(17);
        })
        .is_err(),
        "cut"
    );
    assert!(rewritten(|leaves| leaves.swap(3, 4)).is_err(), "reordered");
    assert_eq!(tree::consistency(&Log::of(0..39), 40, 39).unwrap(), None, "rolled back");
}

#[test]
fn a_subtree_is_found_in_the_tile_that_the_layout_names() {
    let subtree = |level, index| Subtree { level, index };
    let (tile, run) = Tile::holding(subtree(0, 256), 70_000).unwrap();
    assert_eq!((tile.path().as_str(), run), ("tile/0/001", 0..1));
    let (tile, run) = Tile::holding(subtree(3, 8749), 70_000).unwrap();
    assert_eq!((tile.path().as_str(), run), ("tile/0/273.p/112", 104..112));
    let (tile, run) = Tile::holding(subtree(9, 0), 70_000).unwrap();
    assert_eq!((tile.path().as_str(), run), ("tile/1/000", 0..2));
    assert_eq!(Tile::holding(subtree(3, 8750), 70_000), None);
    assert_eq!(Tile { level: 0, index: 1_234_067, width: 256 }.path(), "tile/0/x001/x234/067");
}

#[test]
fn an_edge_has_the_root_of_all_leaves_and_goes_on_from_its_hashes() {
    let mut log = Log::default();
    for size in 0..300_u64 {
        assert_eq!((log.edge.size(), log.edge.root()), (size, naive_root(&leaves(&log))));
        let hashes: Vec<Hash> = Edge::subtrees(size).map(|subtree| log.read(subtree).unwrap()).collect();
        let mut again = Edge::new(size, hashes.clone()).expect("one for each bit");
        assert!(Edge::new(size + 1, hashes).is_none() || size.count_ones() == (size + 1).count_ones());
        log.add(&size.to_be_bytes());
        again.push(Hash::leaf(&size.to_be_bytes()), |_, _| {});
        assert_eq!(again.root(), log.edge.root());
    }
}
