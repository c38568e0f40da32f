//! The process: opens its stores, closes its sandbox, serves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strongroom_database::{Remote, Source};
use strongroom_domain::{Action, Compartment, CompartmentRules};
use strongroom_protocol::{Call as Origin, Credential, Grant, Keeper, Refusal, Target};
use strongroom_storage::{Catalog, CatalogError, ObjectError, Objects, S3, S3Error};
use tokio::net::{TcpListener, UnixStream};

use crate::announced::Announced;
use crate::buffers::Buffers;
use crate::http;
use crate::metrics;
use crate::refused::Refused;
use crate::routes;
use crate::sandbox::{self, Outgoing, Sandbox};
use crate::stream::RUN_BYTES;
use crate::watch::Watch;

/// What the gate is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where `objects/`, `catalog/` and `tls/` lie.
    pub data_dir: PathBuf,
    /// The server that holds the catalogue, where it is not in a file.
    pub catalog: Option<Remote>,
    /// The bucket that holds the payloads, where they are not in a directory.
    pub bucket: Option<S3>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// `HOST[:PORT]` by which clients know this server; URLs that are handed out are on the one that the client used.
    pub hosts: Vec<String>,
    /// Connections at once.
    pub connections_max: u32,
    /// How long clients may take.
    pub deadlines: http::Deadlines,
    /// Whether TLS 1.2 is spoken beside 1.3.
    pub tls12: bool,
    /// Text of `policies/compartments.toml`.
    pub compartments: String,
    /// Whether a sandbox that is not complete is a reason not to start.
    pub require_sandbox: bool,
}

/// Why the gate ends.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The keeper refused its greeting, or is gone.
    #[error("the keeper: {0}")]
    Keeper(#[from] Refusal),
    /// The socket to listen on.
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// Certificate and key.
    #[error("TLS: {0}")]
    Tls(String),
    /// The catalogue.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] S3Error),
    /// The compartment rules.
    #[error("{0}")]
    Compartments(String),
    /// The sandbox.
    #[error("the sandbox: {0}")]
    Sandbox(String),
}

/// What handlers use.
pub struct Gate {
    /// Decides.
    pub keeper: Keeper,
    /// Knows what there is.
    pub catalog: Catalog,
    /// Holds the bytes.
    pub objects: Objects,
    /// Path to compartment.
    pub rules: CompartmentRules,
    /// What writers said they would send.
    pub announced: Announced,
    /// Streams in flight.
    pub watch: Watch,
    /// As in [`Settings::hosts`].
    pub hosts: Vec<String>,
    /// For what is read and opened.
    pub buffers: Buffers,
    /// Between two pieces of a request's body.
    pub body_deadline: Duration,
    /// Cloned by whoever still has a record to send, so that a stop can wait for them.
    pub recording: Arc<()>,
    /// Big bodies that are held in memory at once: shards and xorb chunk tables.
    pub big_bodies: tokio::sync::Semaphore,
}

impl Gate {
    /// The compartment that a path selects.
    pub fn compartment(&self, path: &strongroom_domain::RepoPath) -> Compartment {
        self.rules.compartment_of(path)
    }

    /// The keeper's decision. Where it says that a rotation stopped writes and led to nothing, they go on.
    ///
    /// # Errors
    /// The refusal.
    pub async fn authorize(
        &self,
        call: Origin,
        credential: Option<Credential>,
        action: Action,
        target: Target,
    ) -> Result<Grant, Refused> {
        let grant = self.keeper.authorize(call, credential, action, target).await?;
        if let Ok(repo) = grant.repo()
            && let Some(close) = repo.parts().reopened
        {
            self.catalog.reopen(repo.parts().id, close).await?;
        }
        Ok(grant)
    }
}

/// How often leftovers are swept, and after how long what no commit names is one. Clients refer to xorbs that they sent
/// earlier under the same `casUrl`; its epoch is a week.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
const LEFTOVER_MS: i64 = 9 * 24 * 3600 * 1000;
/// When the first sweep begins, after a start: it looks at every payload, and those who waited for the start ask first.
const SWEEP_FIRST: Duration = Duration::from_secs(15);
/// A stop waits so long for streams in flight, and then for the records of those that it cut.
const DRAIN: Duration = Duration::from_secs(10);
const LAST_RECORDS: Duration = Duration::from_secs(3);

/// Opens what needs the outside, closes the sandbox while there is one thread only (Landlock and seccomp are a thread's,
/// and inherited), and then serves until the process is told to stop or the keeper is gone.
///
/// # Errors
/// [`ServeError`].
pub fn serve(
    settings: &Settings,
    socket: std::os::unix::net::UnixStream,
    root_key: &std::path::Path,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let tls = http::tls(settings).map_err(ServeError::Tls)?;
    let failed = |error| ServeError::Listen(settings.listen, error);
    let listener = std::net::TcpListener::bind(settings.listen).map_err(failed)?;
    listener.set_nonblocking(true).and_then(|()| socket.set_nonblocking(true)).map_err(failed)?;
    // While the system's certificates can still be read.
    let objects = match &settings.bucket {
        Some(bucket) => Objects::s3(bucket)?,
        None => Objects::local(&settings.data_dir.join("objects"))?,
    };
    let stores = ["objects", "catalog"].map(|store| settings.data_dir.join(store));
    match sandbox::enter(&stores, &outgoing(settings)).map_err(ServeError::Sandbox)? {
        Sandbox::Full => {}
        sandbox if settings.require_sandbox => return Err(ServeError::Sandbox(format!("only {sandbox:?}"))),
        sandbox => tracing::warn!(?sandbox, "the gate's sandbox is not complete on this machine"),
    }
    let open = sandbox::check(&settings.data_dir, root_key);
    match (open.is_empty(), settings.require_sandbox) {
        (true, _) => tracing::info!(
            "sandbox: the keeper's database, the root key, /etc/passwd, programs and sockets are refused"
        ),
        (false, true) => return Err(ServeError::Sandbox(format!("the gate can still {}", open.join(", ")))),
        (false, false) => tracing::warn!(open = open.join(", "), "the gate's sandbox leaves doors open"),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(run(settings, objects, tls, listener, socket, ready))
}

/// Where the stores are that are not here.
fn outgoing(settings: &Settings) -> Outgoing {
    let (remote, bucket) = (settings.catalog.as_ref(), settings.bucket.as_ref());
    Outgoing {
        ports: remote.map(Remote::port).into_iter().chain(bucket.map(S3::port)).collect(),
        names: remote.is_some_and(Remote::is_named) || bucket.is_some_and(S3::is_named),
        certificates: remote.and_then(Remote::root_certificates).into_iter().collect(),
    }
}

async fn run(
    settings: &Settings,
    objects: Objects,
    tls: tokio_rustls::TlsAcceptor,
    listener: std::net::TcpListener,
    socket: std::os::unix::net::UnixStream,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let failed = |error| ServeError::Listen(settings.listen, error);
    let keeper = Keeper::new(UnixStream::from_std(socket).map_err(failed)?);
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut told = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(failed)?;
    let rules = CompartmentRules::from_toml(&settings.compartments);
    let rules = rules.map_err(|error| ServeError::Compartments(error.to_string()))?;
    let source = match &settings.catalog {
        Some(remote) => Source::Remote(remote.clone()),
        None => Source::File(settings.data_dir.join("catalog").join("catalog.db")),
    };
    let catalog = Catalog::open(&source).await?;
    if let Some(bucket) = &settings.bucket {
        bucket.check_is_private().await?;
    }
    let staged = objects.remove_staged()?;
    if staged > 0 {
        tracing::info!(staged, "uploads that another gate was cut off in are removed");
    }
    keeper.hello(routes::actions()).await?;
    let gate = Arc::new(Gate {
        keeper: keeper.clone(),
        catalog,
        objects,
        rules,
        announced: Announced::default(),
        watch: Watch::default(),
        hosts: settings.hosts.clone(),
        body_deadline: settings.deadlines.body,
        buffers: Buffers::new(RUN_BYTES),
        recording: Arc::default(),
        big_bodies: tokio::sync::Semaphore::new(2),
    });
    tokio::spawn(gate.watch.clone().run(keeper.clone()));
    tokio::spawn(sweep(gate.clone()));
    ready(address);
    let service = routes::router(gate.clone());
    // On a thread that serves, not on this one: each connection would begin by waking another thread.
    let (tell, stop) = http::Stop::new();
    let mut accepting =
        tokio::spawn(http::accept(listener, tls, service, settings.connections_max, settings.deadlines, stop));
    tokio::select! {
        _ = &mut accepting => {}
        _ = told.recv() => {}
        () = keeper.lost() => return Err(ServeError::Keeper(Refusal::Unavailable("its socket ended".to_owned()))),
    }
    // What was asked is answered, and streams in flight may finish; those that do not are cut, and each leaves the record of
    // what it sent.
    let _ = tell.send(true);
    let drained = async || {
        while Arc::strong_count(&gate.recording) > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut served = async || {
        if !accepting.is_finished() {
            let _ = (&mut accepting).await;
        }
        drained().await;
    };
    if tokio::time::timeout(DRAIN, served()).await.is_err() {
        gate.watch.end_all();
        let _ = tokio::time::timeout(LAST_RECORDS, drained()).await;
    }
    Ok(())
}

async fn sweep(gate: Arc<Gate>) {
    tokio::time::sleep(SWEEP_FIRST).await;
    loop {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        match gate.catalog.sweep(&gate.objects, now - LEFTOVER_MS).await {
            Ok(removed) => {
                metrics::SWEPT.add(removed);
                tracing::info!(removed, "leftovers swept");
            }
            Err(error) => {
                metrics::SWEEPS_FAILED.add(1);
                tracing::error!(%error, "leftovers not swept");
            }
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}
