//! Access requests as stock clients and pages know them: `ask-access`, and the repository's side of it. The keeper judges.

pub mod ask;
pub mod grant;
pub mod handle;
pub mod list;

use axum::body::Body;
use axum::http::Response;
use serde_json::Value;
use strongroom_domain::{Compartment, RepoKind};
use strongroom_protocol::admin::AdminCommand;
use strongroom_protocol::{AccessCommand, Asker, ShareSpec};

use crate::api::share::fix;
use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::json;

/// Seconds for which access is given where a stock client accepts: it has no way to say so.
const LIFE_S: u64 = 7 * 24 * 60 * 60;

/// What is given then: what it takes to use a model or a data set. Logs and code are shared by name only.
fn compartments(kind: RepoKind) -> Vec<Compartment> {
    let content = if kind == RepoKind::Dataset { Compartment::Data } else { Compartment::Weights };
    vec![Compartment::Docs, Compartment::Config, content]
}

/// Gives a command to the keeper.
async fn send(gate: &Gate, call: &Call, command: AccessCommand) -> Result<Value, Refused> {
    let command = AdminCommand::Access(command);
    let shown = gate.keeper.admin(call.origin(), call.credential.clone(), command).await?;
    serde_json::from_str(&shown).map_err(|error| {
        tracing::error!(%error, "the keeper's answer is not JSON");
        Refused::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "the keeper's answer is damaged")
    })
}

/// Accepts for a stock client: `main` as it is now.
async fn accept(gate: &Gate, call: &Call, who: Asker, unasked: bool) -> Result<Response<Body>, Refused> {
    let (kind, repo) = call.repo()?;
    let mut spec = ShareSpec {
        kind,
        repo,
        revision: "main".parse()?,
        commit: None,
        follow: false,
        to: String::new(),
        compartments: compartments(kind),
        paths: Default::default(),
        life_s: LIFE_S,
        from_first_use: false,
        max_bytes: None,
        max_downloads: None,
        from: Vec::new(),
        terms: None,
        sealed: false,
    };
    fix(gate, call, &mut spec).await?;
    Ok(json(
        &send(
            gate,
            call,
            AccessCommand::Approve { who, unasked, partner: false, spec: Box::new(spec), reason: String::new() },
        )
        .await?,
    ))
}
