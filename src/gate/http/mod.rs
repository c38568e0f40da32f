//! The listener: TLS under a deadline, strict HTTP/1.1, bounded everything.

mod ahead;
mod hygiene;
mod stop;
mod suites;
mod tls;

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ahead::Ahead;
use axum::Router;
use axum::extract::Request;
pub use hygiene::clean;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_socket_linger;
pub use stop::Stop;
pub use tls::{tls, tls_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsAcceptor;

/// How long a client may take. Past each of them the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From a connection's start, or the end of the last answer, to the end of the next request's headers: bounds idle
    /// connections too.
    pub headers: Duration,
    /// Between two pieces of a request's body.
    pub body: Duration,
    /// For which sent bytes may stay unacknowledged, or a client's window closed (TCP_USER_TIMEOUT, tcp(7)).
    pub stall: Duration,
}

/// Bytes of a request's headers, and of hyper's own buffer.
const BUFFER: usize = 64 * 1024;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The client's address, for the record.
    pub ip: IpAddr,
    /// Cuts the connection at once, whatever it is about to send: a stream that waits for its client is never polled, and
    /// would not see that its grant is over.
    pub cut: Arc<Cut>,
}

/// Whether a connection is to be cut.
#[derive(Debug, Default)]
pub struct Cut {
    is: AtomicBool,
    told: Notify,
}

impl Cut {
    /// Says so.
    pub fn now(&self) {
        self.is.store(true, Ordering::Relaxed);
        self.told.notify_one();
    }
}

/// Accepts until the stop, and returns when each connection has ended. Past the bound, connections wait in the kernel's queue.
pub async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    service: Router,
    connections_max: u32,
    deadlines: Deadlines,
    mut stop: Stop,
) {
    let slots = Arc::new(Semaphore::new(connections_max as usize));
    let serve = Serve { tls, service, deadlines, stop: stop.clone() };
    let mut stopping = false;
    loop {
        // The semaphore is never closed.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            // Those that the kernel has greeted already are served; the rest find another replica.
            () = std::future::ready(()), if stopping => break,
            () = stop.told(), if !stopping => {
                stopping = true;
                continue;
            }
        };
        match accepted {
            Ok((socket, peer)) => {
                let serve = serve.clone();
                tokio::spawn(async move {
                    // A listener on [::] sees clients of IPv4 too. They are recorded, and looked for, by their own address.
                    serve.connection(socket, peer.ip().to_canonical()).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: others end soon.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let _ = slots.acquire_many(connections_max).await;
}

/// What each connection needs.
#[derive(Clone)]
struct Serve {
    tls: TlsAcceptor,
    service: Router,
    deadlines: Deadlines,
    stop: Stop,
}

impl Serve {
    async fn connection(self, socket: TcpStream, ip: IpAddr) {
        let Self { tls, service, deadlines, stop } = self;
        let _ = socket.set_nodelay(true);
        // A client that takes nothing for so long is gone, and what it held is free again.
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_tcp_user_timeout(
            &socket,
            u32::try_from(deadlines.stall.as_millis()).unwrap_or(u32::MAX),
        );
        let peer = Peer { ip, cut: Arc::default() };
        // A second descriptor, which outlives the connection: by it the kernel is told what becomes of what it holds.
        let Ok(handle) = socket.as_fd().try_clone_to_owned() else { return };
        // The kernel holds megabytes that it would send on. It forgets them, and resets, unless the connection ends in order: so
        // also where this process is killed, as by a seal.
        if set_socket_linger(&handle, Some(Duration::ZERO)).is_err() {
            return;
        }
        let Ok(Ok(stream)) = tokio::time::timeout(deadlines.handshake, tls.accept(Ahead::new(socket))).await else {
            crate::metrics::HANDSHAKES_FAILED.add(1);
            // The alert says why.
            let _ = set_socket_linger(&handle, None);
            return;
        };
        let cut = peer.cut.clone();
        let service = tower_service(service, peer, stop.clone());
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(deadlines.headers).max_buf_size(BUFFER).half_close(false);
        let refused = tokio::select! {
            served = stop.serve(http.serve_connection(TokioIo::new(stream), service)) => served.is_err(),
            () = cut.told.notified() => false,
        };
        // Also where the stream itself noticed first.
        if cut.is.load(Ordering::Relaxed) {
            return;
        }
        let _ = set_socket_linger(&handle, None);
        if refused {
            // A connection that breaks is its client's affair.
            let _ = tokio::time::timeout(LINGER, let_go(handle)).await;
        }
    }
}

/// How long a client that was refused in the middle of its request may go on sending.
const LINGER: Duration = Duration::from_secs(1);

/// Ends our side, and reads on until the client has ended its own: a socket that is closed with unread bytes is reset, and
/// the reset takes the answer, which says what was wrong, out of the client's hands.
async fn let_go(handle: OwnedFd) -> std::io::Result<()> {
    let mut socket = TcpStream::from_std(handle.into())?;
    socket.shutdown().await?;
    let mut sink = [0; 4096];
    while socket.read(&mut sink).await? > 0 {}
    Ok(())
}

fn tower_service(
    service: Router,
    peer: Peer,
    stop: Stop,
) -> impl hyper::service::Service<
    hyper::Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> {
    let inner = TowerToHyperService::new(service);
    hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let answer = hyper::service::Service::call(&inner, request.map(axum::body::Body::new) as Request);
        let stop = stop.clone();
        async move { answer.await.map(|answer| stop.mark(answer)) }
    })
}
