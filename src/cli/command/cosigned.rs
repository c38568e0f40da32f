//! Cosigned checkpoints, verified where they are shown: each by the log's key and by that of every witness that was asked for.

use serde_json::{Value, json};
use strongroom_audit::Checkpoint;
use strongroom_audit::cosignature::CosignerKey;
use strongroom_audit::note::VerifierKey;

use crate::Failed;

/// Reads a log's cosigned checkpoint, with when each of these witnesses cosigned it.
///
/// # Errors
/// Where there is none, or one of them did not cosign it.
pub fn open(
    note: Option<&str>,
    log: &VerifierKey,
    witnesses: &[CosignerKey],
) -> Result<(Checkpoint, Vec<Value>), Failed> {
    let of = |what: &dyn std::fmt::Display| Failed(format!("{}: {what}", log.name()));
    let note = note.ok_or_else(|| of(&"no witness cosigned this log"))?;
    let checkpoint = Checkpoint::open(note, log).map_err(|error| of(&format!("the cosigned checkpoint: {error}")))?;
    let mut by = Vec::new();
    for witness in witnesses {
        let (_, cosignature) = witness
            .open(note)
            .map_err(|_| of(&format!("{} did NOT cosign its newest cosigned checkpoint", witness.name())))?;
        let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(cosignature.time_s));
        let at = at.map(|at| humantime::format_rfc3339_seconds(at).to_string());
        by.push(json!({"witness": witness.name(), "time": at}));
    }
    Ok((checkpoint, by))
}
