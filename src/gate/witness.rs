//! A witness's listener (C2SP `tlog-witness`): one request, `POST /add-checkpoint`, under the same bounds and deadlines as the server's
//! own. What is asked and answered is public to whoever runs the witness; who signs is behind it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::{Router, routing::any};
use tokio::net::TcpListener;

use crate::gate::ServeError;
use crate::http;
use crate::sandbox::{self, Outgoing, Sandbox};

/// Connections at once: logs ask once in a while.
const CONNECTIONS_MAX: u32 = 128;
const DEADLINES: http::Deadlines = http::Deadlines {
    handshake: Duration::from_secs(10),
    headers: Duration::from_secs(30),
    body: Duration::from_secs(10),
    stall: Duration::from_secs(30),
};

/// Where it listens, and who it is for those who connect.
pub struct WitnessPlace {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Its certificate and those between it and a CA, PEM.
    pub certificate: PathBuf,
    /// The certificate's key, PEM.
    pub key: PathBuf,
    /// The folder that it goes on reading and writing; nothing else is left to it.
    pub state: PathBuf,
    /// Bytes of a request, at most.
    pub bytes_max: usize,
}

/// What is answered.
pub struct WitnessAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub kind: &'static str,
    /// All of it.
    pub body: String,
}

/// Serves until SIGTERM or SIGINT, in a sandbox. `answer` may take its time: it is run where it holds up no connection. Call it while there
/// is one thread only.
///
/// # Errors
/// [`ServeError::Listen`], [`ServeError::Tls`], [`ServeError::Sandbox`].
pub fn serve(
    place: &WitnessPlace,
    answer: impl Fn(&str) -> WitnessAnswer + Send + Sync + 'static,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let failed = |error| ServeError::Listen(place.listen, error);
    let tls = http::tls_of(&place.certificate, &place.key).map_err(ServeError::Tls)?;
    let listener = std::net::TcpListener::bind(place.listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    match sandbox::enter(std::slice::from_ref(&place.state), &Outgoing::default()).map_err(ServeError::Sandbox)? {
        Sandbox::Full => {}
        sandbox => tracing::warn!(?sandbox, "the witness's sandbox is not complete on this machine"),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(failed)?;
    let (answer, bytes_max) = (Arc::new(answer), place.bytes_max);
    let handler = move |request: Request| handle(request, answer.clone(), bytes_max);
    let service = Router::new().route("/add-checkpoint", any(handler));
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?);
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        ready(listener.local_addr().map_err(failed)?);
        let (tell, stop) = http::Stop::new();
        let mut accepting = tokio::spawn(http::accept(listener, tls, service, CONNECTIONS_MAX, DEADLINES, stop));
        tokio::select! {
            _ = &mut accepting => return Ok(()),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = tell.send(true);
        let _ = tokio::time::timeout(DEADLINES.body, accepting).await;
        Ok(())
    })
}

async fn handle(
    request: Request,
    answer: Arc<impl Fn(&str) -> WitnessAnswer + Send + Sync + 'static>,
    bytes_max: usize,
) -> Response<Body> {
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "POST alone");
    }
    let body = tokio::time::timeout(DEADLINES.body, to_bytes(request.into_body(), bytes_max)).await;
    let body = match body {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return plain(StatusCode::PAYLOAD_TOO_LARGE, "a request is smaller"),
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "too slow"),
    };
    let answered = tokio::task::spawn_blocking(move || {
        let Ok(text) = std::str::from_utf8(&body) else { return None };
        Some(answer(text))
    });
    let Ok(Some(WitnessAnswer { status, kind, body })) = answered.await else {
        return plain(StatusCode::BAD_REQUEST, "not text");
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
