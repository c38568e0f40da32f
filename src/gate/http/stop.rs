//! How the listener stops without leaving a request unanswered.

use std::pin::pin;
use std::time::Duration;

use axum::response::Response;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1::Connection;
use hyper::service::HttpService;
use tokio::sync::watch;

/// How long a connection that is open when the gate is told to stop may bring one more request. HTTP/1.1 knows no way of
/// refusing one: a client that sends it while the server closes hears nothing, and many do not ask again. Those in the middle
/// of their work ask within this time, and learn by the answer that it was the last one here.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// Whether the gate was told to stop.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Told by sending `true`.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (tell, told) = watch::channel(false);
        (tell, Self(told))
    }

    /// Waits until it was.
    pub(super) async fn told(&mut self) {
        // One that is gone will never tell.
        if self.0.wait_for(|told| *told).await.is_err() {
            std::future::pending().await
        }
    }

    /// The answer, which is the connection's last one if it was.
    pub(super) fn mark(&self, mut answer: Response) -> Response {
        if *self.0.borrow() {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// Serves a connection to its end; from the stop on, [`LAST_REQUEST`] and what is being answered then.
    pub(super) async fn serve<I, S>(mut self, connection: Connection<I, S>) -> Result<(), hyper::Error>
    where
        I: Read + Write + Unpin,
        S: HttpService<hyper::body::Incoming, ResBody = axum::body::Body, Error: std::error::Error + Send + Sync>,
    {
        let mut connection = pin!(connection);
        tokio::select! {
            served = connection.as_mut() => return served,
            () = self.told() => {}
        }
        if let Ok(served) = tokio::time::timeout(LAST_REQUEST, connection.as_mut()).await {
            return served;
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    }
}
