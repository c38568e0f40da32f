//! `GET /api/strongroom/metrics`: the numbers of both processes, for Prometheus.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use strongroom_protocol::Target;

use crate::call::Call;
use crate::gate::Gate;
use crate::metrics;
use crate::routes::Answer;

/// The gate's and the keeper's.
///
/// # Errors
/// 401, 403.
pub async fn get(gate: Arc<Gate>, call: Call) -> Answer {
    let grant = call.authorize(&gate, Target::System).await?;
    let keepers = gate.keeper.metrics(&grant).await?;
    let mut response = Response::new(Body::from(metrics::text() + &keepers));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
