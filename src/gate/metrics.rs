//! The gate's numbers since it started. Routes are those of the table, by their pattern; all else is one line.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::body::Body;
use axum::http::Response;
use strongroom_protocol::SPANS;
use strongroom_protocol::metrics::{Counter, DURATIONS, Histogram, Text};
use tracing::Instrument;

/// Requests by route and hundred of the status. As many lines as the table has routes and classes, at most.
static REQUESTS: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>> = Mutex::new(BTreeMap::new());
static TOOK: Histogram<11> = Histogram::new(DURATIONS);
static BEGUN: Counter = Counter::new();
static ENDED: Counter = Counter::new();

/// Bytes of files, as clients see them, that were handed to connections.
pub static SENT: Counter = Counter::new();
/// Bytes of requests' bodies.
pub static RECEIVED: Counter = Counter::new();
/// TLS handshakes that failed or were not done in time.
pub static HANDSHAKES_FAILED: Counter = Counter::new();
/// Streams that a lock, a revocation or a stop of the process cut.
pub static CUT: Counter = Counter::new();
/// Requests that the object store failed.
pub static OBJECTS_FAILED: Counter = Counter::new();
/// Leftovers that were removed.
pub static SWEPT: Counter = Counter::new();
/// Sweeps that failed.
pub static SWEEPS_FAILED: Counter = Counter::new();

/// Leaves also where the client hung up and the handler was dropped.
struct InFlight;

impl Drop for InFlight {
    fn drop(&mut self) {
        ENDED.add(1);
    }
}

/// Counts a request around what answers it, until the head of the answer is known.
pub async fn counted(
    method: &'static str,
    route: &'static str,
    answer: impl Future<Output = Response<Body>>,
) -> Response<Body> {
    BEGUN.add(1);
    let (_in_flight, since) = (InFlight, Instant::now());
    let span = tracing::debug_span!(target: SPANS, "request", method, route, status = tracing::field::Empty);
    let answer = answer.instrument(span.clone()).await;
    let status = answer.status().as_u16();
    span.record("status", status);
    TOOK.observe_time(since.elapsed());
    *REQUESTS.lock().unwrap_or_else(PoisonError::into_inner).entry((method, route, status / 100)).or_default() += 1;
    // An id that is not of our own making is a client's words: its record has it, and not this line.
    let id = answer.headers().get("x-request-id").and_then(|id| id.to_str().ok()).filter(|id| is_ours(id));
    let micros = since.elapsed().as_micros();
    span.in_scope(|| tracing::debug!(id, status, micros, "answered"));
    answer
}

fn is_ours(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// All of it.
pub fn text() -> String {
    let mut text = Text::default();
    let counter = "counter";
    let name = "strongroom_requests_total";
    text.family(name, counter, "Requests by route, method and class of the status.");
    for ((method, route, class), count) in &*REQUESTS.lock().unwrap_or_else(PoisonError::into_inner) {
        text.value(name, &[("method", method), ("route", route), ("status", &format!("{class}xx"))], count);
    }
    // The later one first: it is never the larger one.
    let ended = ENDED.get();
    let flying = BEGUN.get().saturating_sub(ended);
    text.single("strongroom_requests_in_flight", "gauge", "Requests whose answer's head is not known yet.", flying);
    text.histogram("strongroom_request_seconds", "From a request's head to its answer's.", &TOOK, 1e6);
    let numbers: [(&str, &str, &Counter); 7] = [
        ("strongroom_sent_bytes_total", "Bytes of files handed to connections.", &SENT),
        ("strongroom_received_bytes_total", "Bytes of requests' bodies.", &RECEIVED),
        ("strongroom_tls_handshakes_failed_total", "TLS handshakes that failed.", &HANDSHAKES_FAILED),
        ("strongroom_streams_cut_total", "Streams cut by a lock, a revocation or a stop.", &CUT),
        ("strongroom_object_store_errors_total", "Requests that the object store failed.", &OBJECTS_FAILED),
        ("strongroom_swept_objects_total", "Leftovers that sweeps removed.", &SWEPT),
        ("strongroom_sweeps_failed_total", "Sweeps that failed.", &SWEEPS_FAILED),
    ];
    for (name, help, held) in numbers {
        text.single(name, counter, help, held.get());
    }
    text.finish()
}
