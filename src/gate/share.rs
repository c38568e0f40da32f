//! What a grant through a share shows: one commit under the names by which a partner may ask for it.

use strongroom_domain::{Commit, Revision};
use strongroom_protocol::{RepoParts, Shared};
use strongroom_storage::RefKind;

use crate::gate::Gate;
use crate::refused::Refused;

/// The commit that is shared now; `None` where the branch that it follows is gone.
///
/// # Errors
/// Whatever the catalogue says.
pub async fn head(gate: &Gate, parts: &RepoParts, shared: &Shared) -> Result<Option<Commit>, Refused> {
    if !shared.follow {
        return Ok(Some(shared.commit));
    }
    let held = gate.catalog.find_ref(parts.id, &parts.shared, shared.revision.short()).await?;
    Ok(held.filter(|held| held.kind == RefKind::Branch).map(|held| held.target))
}

/// The commit of a revision, for whoever reads through a share: every other one is none.
///
/// # Errors
/// Whatever the catalogue says.
pub async fn resolve(
    gate: &Gate,
    parts: &RepoParts,
    shared: &Shared,
    asked: &Revision,
) -> Result<Option<Commit>, Refused> {
    Ok(head(gate, parts, shared).await?.filter(|commit| shared.answers(asked, *commit)))
}
