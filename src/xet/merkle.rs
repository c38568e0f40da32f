//! The hashes of chunks, xorbs, files and ranges (xet-core `data_hash.rs`, `aggregated_hashes.rs`, `chunk_verification.rs`).

use crate::hash::Hash;

const DATA_KEY: [u8; 32] = [
    102, 151, 245, 119, 91, 149, 80, 222, 49, 53, 203, 172, 165, 151, 24, 28, 157, 228, 33, 16, 155, 235, 43, 88, 180,
    208, 176, 75, 147, 173, 242, 41,
];
const NODE_KEY: [u8; 32] = [
    1, 126, 197, 199, 165, 71, 41, 150, 253, 148, 102, 102, 180, 138, 2, 230, 93, 221, 83, 111, 55, 199, 109, 210, 248,
    99, 82, 230, 74, 83, 113, 63,
];
const VERIFICATION_KEY: [u8; 32] = [
    127, 24, 87, 214, 206, 86, 237, 102, 18, 127, 249, 19, 231, 165, 195, 243, 164, 205, 38, 213, 181, 219, 73, 230,
    65, 36, 152, 127, 40, 251, 148, 195,
];

/// Children of a node, at most.
const CHILDREN_MAX: usize = 9;

/// The hash of a chunk's plaintext.
pub(crate) fn chunk_hash(plain: &[u8]) -> Hash {
    Hash(*blake3::keyed_hash(&DATA_KEY, plain).as_bytes())
}

/// The hash over a run of chunks that a shard gives as proof that its author has them.
pub fn range_hash(chunks: impl IntoIterator<Item = Hash>) -> Hash {
    let mut hasher = blake3::Hasher::new_keyed(&VERIFICATION_KEY);
    chunks.into_iter().for_each(|chunk| {
        hasher.update(&chunk.0);
    });
    Hash(*hasher.finalize().as_bytes())
}

/// The root over hashes and the bytes under each; 32 zero bytes over none.
pub(crate) fn root(mut nodes: Vec<(Hash, u64)>) -> Hash {
    while nodes.len() > 1 {
        let mut parents = Vec::with_capacity(nodes.len() / 2 + 1);
        let mut rest = &nodes[..];
        while !rest.is_empty() {
            let (children, after) = rest.split_at(next_cut(rest));
            parents.push(parent(children));
            rest = after;
        }
        nodes = parents;
    }
    nodes.first().map_or(Hash([0; 32]), |node| node.0)
}

/// Groups end at the first child, from the third on, whose last word is a multiple of four; at nine; or at the end.
fn next_cut(nodes: &[(Hash, u64)]) -> usize {
    if nodes.len() <= 2 {
        return nodes.len();
    }
    let end = nodes.len().min(CHILDREN_MAX);
    // The last word is little-endian: its first byte decides.
    (2..end).find(|at| nodes[*at].0.0[24].is_multiple_of(4)).map_or(end, |at| at + 1)
}

fn parent(children: &[(Hash, u64)]) -> (Hash, u64) {
    let text: String = children.iter().map(|(hash, bytes)| format!("{hash} : {bytes}\n")).collect();
    let bytes = children.iter().map(|child| child.1).sum();
    (Hash(*blake3::keyed_hash(&NODE_KEY, text.as_bytes()).as_bytes()), bytes)
}

/// The hash of a file from its chunks, in order. Holds 40 bytes a chunk.
#[derive(Default)]
pub struct FileHasher(Vec<(Hash, u64)>);

impl FileHasher {
    /// Takes the next chunk: its hash and the bytes of its plaintext.
    pub fn push(&mut self, chunk: Hash, bytes: u32) {
        self.0.push((chunk, bytes.into()));
    }

    /// The file's hash.
    pub fn finish(self) -> Hash {
        Hash(*blake3::keyed_hash(&[0; 32], &root(self.0).0).as_bytes())
    }
}
