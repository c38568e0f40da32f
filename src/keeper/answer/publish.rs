//! The log for those outside: tiles of its tree and its entries as they are stored (C2SP `tlog-tiles`), and its records, in their
//! order, for export.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_audit::tile::TILE_WIDTH;
use strongroom_protocol::Refusal;
use strongroom_protocol::admin::{LogTile, TileLevel};

use super::people::time;
use super::unavailable;
use crate::log::{Position, StoredTiles, leaf_at, leaves, origin};
use crate::server::Core;
use crate::witness::cosigned;

/// Records of one page of an export, at most, and bytes after which it ends.
const RECORDS_MAX: u32 = 1000;
const RECORDS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Records of a log are in the order in which they became durable; their times, taken before, differ from it by no more than the
/// log's deadline, twice.
const UNORDERED_MS: i64 = 10_000;

impl Core {
    async fn log_position(&self, log: u64) -> Result<Position, Refusal> {
        let logs = self.log.checkpoints().await.map_err(unavailable)?;
        let found = logs.into_iter().find(|(number, _)| *number == log).map(|(_, position)| position);
        found.ok_or_else(|| Refusal::Invalid(format!("there is no log {log}")))
    }

    /// One log's newest checkpoint; the newest that was cosigned, where witnesses cosign it.
    pub(super) async fn checkpoint_of(&self, log: u64) -> Result<Value, Refusal> {
        let position = self.log_position(log).await?;
        let cosigned = cosigned(&self.database.reader).await.map_err(unavailable)?.remove(&log);
        let note = cosigned.map_or(position.checkpoint, |cosigned| cosigned.note);
        Ok(json!({"content": STANDARD.encode(note), "type": "text/plain; charset=utf-8"}))
    }

    /// A tile's hashes, or the entries under it: each with its length before it, in two bytes, big-endian.
    pub(super) async fn tile(&self, tile: &LogTile) -> Result<Value, Refusal> {
        let size = self.log_position(tile.log).await?.size;
        let missing = || Refusal::Invalid("there is no such tile yet".to_owned());
        let first = tile.index.checked_mul(u64::from(TILE_WIDTH)).ok_or_else(missing)?;
        let end = first.checked_add(u64::from(tile.width)).ok_or_else(missing)?;
        let bytes = match tile.level {
            TileLevel::Hashes(level) => {
                let stored = size.checked_shr(u32::from(level) * 8).unwrap_or(0);
                if end > stored {
                    return Err(missing());
                }
                let mut tiles = StoredTiles::new(&self.database.reader, tile.log, size);
                let hashes = tiles.tile(level, tile.index).await.map_err(unavailable)?;
                let hashes = hashes.get(..usize::from(tile.width)).ok_or_else(|| unavailable("a tile is cut"))?;
                hashes.iter().flat_map(|hash| hash.0).collect()
            }
            TileLevel::Entries => {
                if end > size {
                    return Err(missing());
                }
                let found = leaves(&self.database.reader, tile.log, first, u32::from(tile.width)).await;
                let mut bytes = Vec::new();
                for leaf in found.map_err(unavailable)? {
                    let entry = leaf.to_bytes();
                    let length = u16::try_from(entry.len()).map_err(|_| unavailable("a record of 64 KiB or more"))?;
                    bytes.extend_from_slice(&length.to_be_bytes());
                    bytes.extend_from_slice(&entry);
                }
                bytes
            }
        };
        if bytes.len() > RECORDS_BYTES_MAX {
            return Err(Refusal::Invalid(
                "these entries are too large for one answer: ask for a part of the tile".to_owned(),
            ));
        }
        Ok(json!({"content": STANDARD.encode(bytes), "type": "application/octet-stream"}))
    }

    /// Records of a log from a place on, or from a time on, opened.
    pub(super) async fn records(&self, log: u64, from: u64, since_ms: Option<i64>) -> Result<Value, Refusal> {
        let size = self.log_position(log).await?.size;
        let mut from = from;
        if let Some(since_ms) = since_ms {
            from = from.max(self.first_since(log, size, since_ms).await?);
        }
        let found = leaves(&self.database.reader, log, from, RECORDS_MAX).await.map_err(unavailable)?;
        let (mut records, mut bytes) = (Vec::new(), 0);
        for leaf in found.into_iter().take_while(|leaf| leaf.seq < size) {
            if bytes > RECORDS_BYTES_MAX {
                break;
            }
            let record = leaf.open(&self.keys).map_err(unavailable)?;
            let mut shown = serde_json::to_value(&record).map_err(unavailable)?;
            shown["log"] = log.into();
            shown["record"] = leaf.seq.into();
            shown["time"] = time(record.time_ms).into();
            bytes += leaf.body_sealed.len() * 2;
            records.push(shown);
        }
        let next = from + records.len() as u64;
        let name = origin(self.log.key().name(), log);
        Ok(json!({"log": log, "origin": name, "from": from, "next": next, "size": size, "records": records}))
    }

    /// A place before which no record of that time or later lies.
    async fn first_since(&self, log: u64, size: u64, since_ms: i64) -> Result<u64, Refusal> {
        let (mut low, mut high) = (0, size);
        while low < high {
            let middle = low + (high - low) / 2;
            let leaf = leaf_at(&self.database.reader, (log, middle)).await.map_err(unavailable)?;
            let leaf = leaf.ok_or_else(|| unavailable(format!("record {middle} of log {log} is missing")))?;
            if leaf.time_ms < since_ms.saturating_sub(UNORDERED_MS) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }
}
