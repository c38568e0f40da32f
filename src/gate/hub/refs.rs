//! `GET …/refs`: branches and tags.

use std::sync::Arc;

use serde_json::{Value, json as value};
use strongroom_storage::{Ref, RefKind};

use crate::call::Call;
use crate::gate::Gate;
use crate::routes::{Answer, json};
use crate::share;

/// All of them.
///
/// # Errors
/// 404.
pub async fn get(gate: Arc<Gate>, call: Call) -> Answer {
    let grant = call.authorize_repo(&gate, None, None).await?;
    let parts = grant.repo()?.parts();
    let refs = match &parts.share {
        // Of a share nothing but its commit, under the name that clients ask for.
        Some(shared) => {
            let head = share::head(&gate, parts, shared).await?;
            let main = |target| Ref { name: "main".to_owned(), kind: RefKind::Branch, target };
            head.map(main).into_iter().collect()
        }
        None => gate.catalog.refs(parts.id, &parts.shared).await?,
    };
    let of = |kind: RefKind, folder: &str| -> Vec<Value> {
        let named = refs.iter().filter(|held| held.kind == kind);
        named
            .map(|held| {
                let name = &held.name;
                value!({"name": name, "ref": format!("refs/{folder}/{name}"), "targetCommit": held.target.to_string()})
            })
            .collect()
    };
    let mut shown =
        value!({"branches": of(RefKind::Branch, "heads"), "converts": [], "tags": of(RefKind::Tag, "tags")});
    if call.flag("include_prs") {
        shown["pullRequests"] = value!([]);
    }
    Ok(json(&shown))
}
