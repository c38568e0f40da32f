//! Xet uploads: the token, and xorbs. Each repository has its own `casUrl`, so that what a client remembers of one is never
//! offered to another; its epoch is a week, after which clients send anew and leftovers may go.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode};
use serde_json::json as value;
use strongroom_protocol::{Credential, Grant, Purpose, Target};
use strongroom_storage::{Xorb, XorbChunk};
use strongroom_xet::xorb::Verifier;

use crate::call::Call;
use crate::gate::Gate;
use crate::intake::{Intake, check_room, quota};
use crate::refused::Refused;
use crate::routes::{Answer, json};

/// Seconds of an epoch.
const EPOCH_S: u64 = 7 * 24 * 3600;

/// `GET …/xet-write-token/{rev}`: in the body for `hf_xet`, in headers for the Python client.
///
/// # Errors
/// 403, 404.
pub async fn write_token(gate: Arc<Gate>, call: Call) -> Answer {
    let grant = call.authorize_repo(&gate, None, None).await?;
    let id = scope_id(&grant)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (ticket, end) = gate.keeper.ticket(&grant, Purpose::Xet).await?;
    let url = format!("{}/xet/{id}-{}", call.base, now / EPOCH_S);
    let mut response = json(&value!({"casUrl": url, "exp": end, "accessToken": ticket.expose()}));
    let headers = [("x-xet-cas-url", url), ("x-xet-token-expiration", end.to_string())];
    for (name, text) in headers.into_iter().chain([("x-xet-access-token", ticket.expose().to_owned())]) {
        if let Ok(text) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, text);
        }
    }
    Ok(response)
}

/// A repository in its `casUrl`: by an id that says no name, and that a rotation under the upload does not change.
fn scope_id(grant: &Grant) -> Result<String, Refused> {
    Ok(grant.repo()?.parts().scope.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The grant of the access token, which is a ticket; the URL must be its repository's.
///
/// # Errors
/// 401, 404.
pub async fn redeem(gate: &Gate, call: &Call) -> Result<Grant, Refused> {
    let ticket = match call.credential.clone() {
        Some(Credential::Token(text) | Credential::Ticket(text)) => Some(Credential::Ticket(text)),
        None => None,
    };
    let grant = gate.authorize(call.origin(), ticket, call.route.action, Target::Ticket).await?;
    let id = scope_id(&grant)?;
    let scope = call.param("scope")?;
    let is_xet = grant.repo()?.parts().purpose == Some(Purpose::Xet);
    match scope.split_once('-') {
        Some((repo, epoch)) if is_xet && repo == id && epoch.bytes().all(|b| b.is_ascii_digit()) => Ok(grant),
        _ => Err(Refused::repo()),
    }
}

/// What this server has not, and clients do without: an answer about the content of others, presigned uploads, shards in
/// their second form.
///
/// # Errors
/// 404, always.
pub async fn absent(gate: Arc<Gate>, call: Call) -> Answer {
    redeem(&gate, &call).await?;
    Err(Refused::new(StatusCode::NOT_FOUND, "not offered by this server"))
}

/// `POST /xet/{scope}/v1/xorbs/default/{hash}`: verified on every byte, kept as it came, sealed.
///
/// # Errors
/// 400 for bytes that are not those of the hash.
pub async fn xorb(gate: Arc<Gate>, mut call: Call) -> Answer {
    let hash: strongroom_xet::Hash = call.parse("hash")?;
    let grant = redeem(&gate, &call).await?;
    let parts = grant.repo()?.parts();
    let (inbox, recipient) = parts.inbox.as_ref().ok_or_else(Refused::repo)?;
    let principal = grant.parts().principal.clone();
    if gate.catalog.xorb(parts.id, inbox, &hash.0, &principal).await?.is_some() {
        // The body is left unread; the connection ends after the answer.
        return Ok(json(&value!({"was_inserted": false})));
    }
    check_room(&gate, parts, 1).await?;
    let watched = gate.watch.add(&grant, &call.peer);
    let mut intake = Intake::begin(&gate, recipient).await?;
    let mut verifier = Verifier::default();
    loop {
        let taken = match call.piece().await {
            Ok(Some(_)) if watched.is_over() => {
                Err(Refused::new(StatusCode::FORBIDDEN, "the access token is not valid any more"))
            }
            Ok(Some(piece)) => match verifier.push(&piece) {
                Ok(()) => intake.push(&piece).await,
                Err(error) => Err(Refused::bad(error)),
            },
            Ok(None) => break,
            Err(refused) => Err(refused),
        };
        if let Err(refused) = taken {
            intake.abort().await;
            return Err(refused);
        }
    }
    let chunks = match verifier.finish(hash) {
        Ok(chunks) => chunks,
        Err(error) => {
            intake.abort().await;
            return Err(Refused::bad(error));
        }
    };
    let received = intake.finish().await?;
    gate.keeper.wrote(&grant, "upload.xorb", hash.to_string(), None, Vec::new(), None).await?;
    let chunks: Vec<XorbChunk> = chunks.iter().map(|chunk| (chunk.offset, chunk.bytes, chunk.hash.0)).collect();
    let xorb = Xorb { object: received.object, header: received.header, size: received.size, chunks, principal };
    let new = gate.catalog.add_xorb(parts.id, inbox, &hash.0, &xorb, quota(parts)).await?;
    Ok(json(&value!({"was_inserted": new})))
}
