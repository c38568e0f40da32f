//! Git LFS (github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md): the batch call, and `basic` transfers by ticket.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json as value};
use strongroom_domain::limits::FILE_BYTES_MAX;
use strongroom_domain::{Action, Compartment, Sha256};
use strongroom_protocol::{Credential, Grant, ObjectRef, Purpose, SecretText, Target};

use super::commit::{comes, find};
use crate::call::Call;
use crate::gate::Gate;
use crate::intake::{Intake, check_room, keep};
use crate::refused::Refused;
use crate::routes::{Answer, json};
use crate::stream::{Sending, send};

/// Objects of one question, as clients send them.
const OBJECTS_MAX: usize = 256;

#[derive(Deserialize)]
struct Batch {
    operation: String,
    #[serde(default)]
    transfers: Vec<String>,
    objects: Vec<Object>,
    #[serde(default)]
    hash_algo: Option<String>,
}

#[derive(Deserialize)]
struct Object {
    oid: Sha256,
    size: u64,
}

/// `POST …/info/lfs/objects/batch`.
///
/// # Errors
/// 400, 401, 404, 422.
pub async fn batch(gate: Arc<Gate>, mut call: Call) -> Answer {
    let body: Batch = call.json().await?;
    let basic = body.transfers.is_empty() || body.transfers.iter().any(|transfer| transfer == "basic");
    if !basic || body.hash_algo.as_deref().is_some_and(|algo| algo != "sha256") || body.objects.len() > OBJECTS_MAX {
        let text = format!("this server takes 'basic' transfers of at most {OBJECTS_MAX} sha256 objects at once");
        return Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    let action = match body.operation.as_str() {
        "upload" => Action::RepoWrite,
        "download" => Action::RepoRead,
        _ => return Err(Refused::bad("the operation is 'upload' or 'download'")),
    };
    let (kind, name) = call.repo()?;
    let target = Target::Repo { kind, name, revision: None, path: None };
    let grant = gate.authorize(call.origin(), call.credential.clone(), action, target).await?;
    let mut shown = Vec::new();
    for object in &body.objects {
        shown.push(match action {
            Action::RepoWrite => offer_upload(&gate, &call, &grant, object).await?,
            _ => offer_download(&gate, &call, &grant, object).await?,
        });
    }
    let mut response = json(&value!({"transfer": "basic", "objects": shown, "hash_algo": "sha256"}));
    let kind = HeaderValue::from_static("application/vnd.git-lfs+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

async fn action(gate: &Gate, call: &Call, grant: &Grant, purpose: Purpose) -> Result<Value, Refused> {
    let (ticket, end) = gate.keeper.ticket(grant, purpose).await?;
    let expires = humantime::format_rfc3339_seconds(
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::try_from(end).unwrap_or(0)),
    );
    Ok(value!({"href": format!("{}/lfs/{}", call.base, ticket.expose()), "expires_at": expires.to_string()}))
}

async fn offer_upload(gate: &Gate, call: &Call, grant: &Grant, object: &Object) -> Result<Value, Refused> {
    let (oid, size) = (object.oid, object.size);
    if size > FILE_BYTES_MAX {
        let error = value!({"code": 422, "message": format!("an object has at most {FILE_BYTES_MAX} bytes")});
        return Ok(value!({"oid": oid.to_string(), "size": size, "error": error}));
    }
    // By the paths that were announced at this length: where it may not come by its hash alone, its bytes are asked for.
    let parts = grant.repo()?.parts();
    let into = gate.announced.of(&grant.parts().principal, parts.id, size);
    let found = find(gate, grant, &oid, &into).await?;
    let kept = |from: Option<Compartment>| from.is_some_and(|from| parts.kept.contains(&from));
    let is_here = |from| if into.is_empty() { !kept(from) } else { into.iter().all(|to| comes(parts, from, *to)) };
    if found.is_some_and(|(.., from)| is_here(from)) {
        return Ok(value!({"oid": oid.to_string(), "size": size}));
    }
    if let Err(refused) = check_room(gate, parts, size).await {
        let error = value!({"code": refused.status.as_u16(), "message": refused.message});
        return Ok(value!({"oid": oid.to_string(), "size": size, "error": error}));
    }
    let upload = action(gate, call, grant, Purpose::LfsUpload { oid, size }).await?;
    Ok(value!({"oid": oid.to_string(), "size": size, "authenticated": true, "actions": {"upload": upload}}))
}

async fn offer_download(gate: &Gate, call: &Call, grant: &Grant, object: &Object) -> Result<Value, Refused> {
    let (oid, size) = (object.oid, object.size);
    // A hash names an object of any commit: a share has one, and its files are asked for by path.
    if grant.repo()?.parts().share.is_some() || find(gate, grant, &oid, &[]).await?.is_none() {
        let error = value!({"code": 404, "message": "no such object here"});
        return Ok(value!({"oid": oid.to_string(), "size": size, "error": error}));
    }
    let download = action(gate, call, grant, Purpose::LfsDownload { oid }).await?;
    Ok(value!({"oid": oid.to_string(), "size": size, "authenticated": true, "actions": {"download": download}}))
}

/// The grant of a ticket in the path.
async fn redeem(gate: &Gate, call: &Call) -> Result<Grant, Refused> {
    let ticket = Some(Credential::Ticket(SecretText::new(call.param("ticket")?.to_owned())));
    gate.authorize(call.origin(), ticket, call.route.action, Target::Ticket).await
}

/// `PUT /lfs/{ticket}`: exactly the bytes that the ticket names, or nothing.
///
/// # Errors
/// 400 for other bytes, 413 for more.
pub async fn put(gate: Arc<Gate>, mut call: Call) -> Answer {
    let grant = redeem(&gate, &call).await?;
    let parts = grant.repo()?.parts();
    let (Some(Purpose::LfsUpload { oid, size }), Some((inbox, recipient))) = (&parts.purpose, &parts.inbox) else {
        return Err(Refused::repo());
    };
    let said = call.header(header::CONTENT_LENGTH).map(str::parse::<u64>);
    if said.is_some_and(|said| said.as_ref() != Ok(size)) {
        return Err(Refused::bad(format!("this upload is of {size} bytes")));
    }
    let watched = gate.watch.add(&grant, &call.peer);
    let mut intake = Intake::begin(&gate, recipient).await?;
    loop {
        let piece = match call.piece().await {
            Ok(Some(piece)) if watched.is_over() || intake.size() + piece.len() as u64 > *size => {
                drop(piece);
                Err(match watched.is_over() {
                    true => Refused::new(StatusCode::FORBIDDEN, "the access token is not valid any more"),
                    false => Refused::new(StatusCode::PAYLOAD_TOO_LARGE, format!("this upload is of {size} bytes")),
                })
            }
            other => other,
        };
        let taken = match piece {
            Ok(Some(piece)) => intake.push(&piece).await,
            Ok(None) => break,
            Err(refused) => Err(refused),
        };
        if let Err(refused) = taken {
            intake.abort().await;
            return Err(refused);
        }
    }
    let received = intake.finish().await?;
    if received.sha256 != *oid || received.size != *size {
        gate.catalog.orphan(received.object).await?;
        return Err(Refused::bad("the bytes are not those of the oid and size that were announced"));
    }
    keep(&gate, &grant, inbox, received).await?;
    Ok(Response::new(Body::empty()))
}

/// `GET /lfs/{ticket}`: the whole object.
///
/// # Errors
/// 404.
pub async fn get(gate: Arc<Gate>, call: Call) -> Answer {
    let grant = redeem(&gate, &call).await?;
    let parts = grant.repo()?.parts();
    let Some(Purpose::LfsDownload { oid }) = parts.purpose.clone() else { return Err(Refused::repo()) };
    for part in &parts.compartments {
        let found = gate.catalog.content(parts.id, part.compartment, &part.keys, &oid).await?;
        if let Some((object, header, size)) = found {
            let path = Some(format!("lfs:{oid}"));
            let compartment = part.compartment;
            let reference = ObjectRef { compartment: Some(compartment), commit: None, path, envelope: header, size };
            let sending = Sending { object, reference, range: 0..size };
            let mut response = Response::new(send(&gate, grant, &call.peer, sending).await?);
            response.headers_mut().insert(header::CONTENT_LENGTH, size.into());
            return Ok(response);
        }
    }
    Err(Refused::repo())
}
