//! The gate's end: one method for each request. Only here does a decision become a [`Grant`].

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_domain::{Action, Compartment, RepoKind, RepoName};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::Instrument;

use crate::admin::AdminCommand;
use crate::frame::{FrameReader, FrameWriter, Numbered, split};
use crate::reply::{GrantParts, Listed, PartKeys, Purpose, Refusal, Reply, RepoParts};
use crate::request::{Call, Credential, GrantId, ListQuery, ObjectRef, Request, Rewrapped, Target};
use crate::{Secret, SecretText};

/// Target of the spans that a trace of a request is made of. Their fields are words of ours, never a client's.
pub const SPANS: &str = "strongroom::trace";

/// Why there is no answer to use.
pub type Failure = Refusal;

/// A keeper's decision that allows. Can be built only from a keeper's reply; when it is dropped, the keeper forgets it.
pub struct Grant {
    parts: GrantParts,
    /// None where the keeper forgets it by itself.
    release: Option<mpsc::UnboundedSender<GrantId>>,
}

impl Grant {
    /// Its number, for [`Keeper::renew`].
    pub fn id(&self) -> GrantId {
        self.parts.id
    }

    /// Whom it is for, and what the token is.
    pub fn parts(&self) -> &GrantParts {
        &self.parts
    }

    /// The repository it is about.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for a grant about no repository.
    pub fn repo(&self) -> Result<RepoGrant<'_>, Refusal> {
        self.parts.repo.as_ref().map(|repo| RepoGrant { repo }).ok_or(Refusal::NotFound)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        // The receiver is gone only with the connection, and then the keeper has forgotten all of its grants.
        let _ = self.release.take().map(|release| release.send(self.parts.id));
    }
}

/// What a grant gives of its repository.
#[derive(Clone, Copy)]
pub struct RepoGrant<'a> {
    repo: &'a RepoParts,
}

impl<'a> RepoGrant<'a> {
    /// What a list shows of a repository.
    pub fn listed(listed: &'a Listed) -> Self {
        Self { repo: &listed.repo }
    }

    /// All of it.
    pub fn parts(self) -> &'a RepoParts {
        self.repo
    }

    /// The keys of a compartment; `None` where the grant does not reach.
    pub fn part(self, compartment: Compartment) -> Option<&'a PartKeys> {
        self.repo.compartments.iter().find(|part| part.compartment == compartment)
    }
}

type Pending = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Reply>>>>>;

/// The connection to the keeper.
#[derive(Clone)]
pub struct Keeper {
    next: Arc<AtomicU64>,
    send: mpsc::Sender<Numbered<Request>>,
    pending: Pending,
    release: mpsc::UnboundedSender<GrantId>,
    lost: Arc<Notify>,
}

/// Bytes of the paths of one [`Request::Named`]: with the longest path behind them they fit a frame well.
const NAMED_BYTES: usize = 1024 * 1024;

/// Frames that wait to be written, at most; a request beyond waits its turn.
const QUEUE: usize = 1024;

impl Keeper {
    /// Takes the inherited socket and starts its two pumps.
    pub fn new(socket: UnixStream) -> Self {
        let (reader, writer) = split(socket);
        let (send, receive) = mpsc::channel(QUEUE);
        let (release, released) = mpsc::unbounded_channel();
        let keeper = Self {
            next: Arc::default(),
            send,
            pending: Arc::new(Mutex::new(Some(HashMap::new()))),
            release,
            lost: Arc::default(),
        };
        tokio::spawn(write(receive, writer, keeper.lost.clone()));
        tokio::spawn(read(reader, keeper.pending.clone(), keeper.lost.clone()));
        tokio::spawn(send_releases(keeper.clone(), released));
        keeper
    }

    /// Returns when the keeper is gone: nothing can be decided any more.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }

    async fn ask(&self, message: Request) -> Result<Reply, Refusal> {
        let span = tracing::debug_span!(target: SPANS, "keeper", ask = message.word());
        self.answered(message).instrument(span).await
    }

    async fn answered(&self, message: Request) -> Result<Reply, Refusal> {
        let gone = || Refusal::Unavailable("the keeper is gone".to_owned());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        match &mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(pending) => pending.insert(number, answer),
            None => return Err(gone()),
        };
        self.send.send(Numbered { number, message }).await.map_err(|_| gone())?;
        match answered.await.map_err(|_| gone())? {
            Reply::Refused(refusal) => Err(refusal),
            reply => Ok(reply),
        }
    }

    async fn done(&self, message: Request) -> Result<(), Refusal> {
        match self.ask(message).await? {
            Reply::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }

    fn grant(&self, parts: GrantParts) -> Grant {
        Grant { parts, release: Some(self.release.clone()) }
    }

    /// Says which actions the routes name; `true` for a sealed keeper.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] where the policy names others.
    pub async fn hello(&self, actions: Vec<Action>) -> Result<bool, Refusal> {
        self.sealed(Request::Hello { actions }).await
    }

    /// Whether the keeper is sealed.
    ///
    /// # Errors
    /// [`Refusal`], as all of these.
    pub async fn status(&self) -> Result<bool, Refusal> {
        self.sealed(Request::Status).await
    }

    /// Gives a share of the root key; whether the keeper is still sealed.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn unseal(&self, share: SecretText) -> Result<bool, Refusal> {
        self.sealed(Request::Unseal { share }).await
    }

    async fn sealed(&self, message: Request) -> Result<bool, Refusal> {
        match self.ask(message).await? {
            Reply::Status { sealed } => Ok(sealed),
            _ => Err(unexpected()),
        }
    }

    /// The decision, recorded durably before this returns.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn authorize(
        &self,
        call: Call,
        credential: Option<Credential>,
        action: Action,
        target: Target,
    ) -> Result<Grant, Refusal> {
        match self.ask(Request::Authorize { call, credential, action, target }).await? {
            Reply::Granted(parts) => Ok(self.grant(*parts)),
            _ => Err(unexpected()),
        }
    }

    /// Says which files the client names in the body of its request, before they are looked for.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn named(&self, grant: &Grant, paths: impl Iterator<Item = String>) -> Result<(), Refusal> {
        let (mut some, mut bytes) = (Vec::new(), 0);
        for path in paths {
            bytes += path.len() + 8;
            some.push(path);
            if bytes > NAMED_BYTES {
                let paths = std::mem::take(&mut some);
                bytes = 0;
                self.done(Request::Named { grant: grant.id(), paths }).await?;
            }
        }
        if some.is_empty() { Ok(()) } else { self.done(Request::Named { grant: grant.id(), paths: some }).await }
    }

    /// The file key of one object, for that object alone.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn open(
        &self,
        grant: &Grant,
        object: ObjectRef,
        range: std::ops::Range<u64>,
    ) -> Result<Secret<16>, Refusal> {
        let message = Request::Open { grant: grant.id(), object, start: range.start, end: range.end };
        match self.ask(message).await? {
            Reply::Key(key) => Ok(key),
            _ => Err(unexpected()),
        }
    }

    /// Break glass: a fresh identity, and the object's header for it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn recover(&self, grant: &Grant, object: ObjectRef) -> Result<(SecretText, Vec<u8>), Refusal> {
        match self.ask(Request::Recover { grant: grant.id(), object }).await? {
            Reply::Recovered(identity, header) => Ok((identity, header)),
            _ => Err(unexpected()),
        }
    }

    /// Sealed delivery: the object's header for the recipient of the grant's share.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn deliver_sealed(&self, grant: &Grant, object: ObjectRef) -> Result<Vec<u8>, Refusal> {
        match self.ask(Request::DeliverSealed { grant: grant.id(), object }).await? {
            Reply::Envelopes(mut new) if new.len() == 1 => new.pop().ok_or_else(unexpected),
            _ => Err(unexpected()),
        }
    }

    /// Headers of objects for other compartments, in the order asked.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn rewrap(&self, grant: &Grant, envelopes: Vec<Rewrapped>) -> Result<Vec<Vec<u8>>, Refusal> {
        let asked = envelopes.len();
        match self.ask(Request::Rewrap { grant: grant.id(), envelopes }).await? {
            Reply::Envelopes(new) if new.len() == asked => Ok(new),
            _ => Err(unexpected()),
        }
    }

    /// Records what was really sent, with which the grant ends.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn delivered(
        &self,
        mut grant: Grant,
        path: Option<String>,
        range: std::ops::Range<u64>,
        bytes: u64,
    ) -> Result<(), Refusal> {
        grant.release = None;
        let (grant, complete) = (grant.id(), bytes == range.end - range.start);
        self.done(Request::Delivered { grant, path, start: range.start, end: range.end, bytes, complete }).await
    }

    /// Records that what was asked for is not there for the grant, which ends with it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn absent(&self, mut grant: Grant, path: String) -> Result<(), Refusal> {
        grant.release = None;
        self.done(Request::Absent { grant: grant.id(), path }).await
    }

    /// Records a write before it is visible. `moved_ms` is the time of the commit to which it moves `main`, if it does.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn wrote(
        &self,
        grant: &Grant,
        what: &str,
        subject: String,
        digest: Option<String>,
        compartments: Vec<Compartment>,
        moved_ms: Option<i64>,
    ) -> Result<(), Refusal> {
        let (grant, what, added) = (grant.id(), what.to_owned(), BTreeMap::new());
        self.done(Request::Wrote { grant, what, subject, digest, compartments, moved_ms, added }).await
    }

    /// The same of a commit, with the bytes that it adds to compartments.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn committed(
        &self,
        grant: &Grant,
        (branch, digest): (String, String),
        compartments: Vec<Compartment>,
        added: BTreeMap<Compartment, u64>,
        moved_ms: Option<i64>,
    ) -> Result<(), Refusal> {
        let (grant, what, digest) = (grant.id(), "commit".to_owned(), Some(digest));
        let subject = branch;
        self.done(Request::Wrote { grant, what, subject, digest, compartments, moved_ms, added }).await
    }

    /// Records a request that was refused before any decision.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn reject(&self, call: Call, reason: String, status: u16) -> Result<(), Refusal> {
        self.done(Request::Reject { call, reason, status }).await
    }

    /// Makes a repository, and gives the grant to write its first commit.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] where it is there, with its name.
    pub async fn create_repo(
        &self,
        call: Call,
        credential: Option<Credential>,
        kind: RepoKind,
        namespace: Option<String>,
        name: String,
    ) -> Result<Grant, Refusal> {
        match self.ask(Request::CreateRepo { call, credential, kind, namespace, name }).await? {
            Reply::Created(parts) => Ok(self.grant(*parts)),
            _ => Err(unexpected()),
        }
    }

    /// Moves a repository to another name.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn move_repo(
        &self,
        call: Call,
        credential: Option<Credential>,
        kind: RepoKind,
        from: RepoName,
        to: RepoName,
    ) -> Result<(), Refusal> {
        self.done(Request::MoveRepo { call, credential, kind, from, to }).await
    }

    /// Deletes a repository; the grant that is returned names what the catalogue may now drop.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn delete_repo(
        &self,
        call: Call,
        credential: Option<Credential>,
        kind: RepoKind,
        name: RepoName,
    ) -> Result<Grant, Refusal> {
        match self.ask(Request::DeleteRepo { call, credential, kind, name }).await? {
            Reply::Granted(parts) => Ok(self.grant(*parts)),
            _ => Err(unexpected()),
        }
    }

    /// A part of the list of what may be seen, and after which place to go on; `None` at its end.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for a place that the keeper gave to nobody, to somebody else, or in another list.
    pub async fn list_repos(
        &self,
        call: Call,
        credential: Option<Credential>,
        query: ListQuery,
    ) -> Result<(Vec<Listed>, Option<String>), Refusal> {
        match self.ask(Request::ListRepos { call, credential, query }).await? {
            Reply::Repos(page, next) => Ok((page, next)),
            _ => Err(unexpected()),
        }
    }

    /// A ticket and the Unix second at which it ends.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn ticket(&self, grant: &Grant, purpose: Purpose) -> Result<(SecretText, i64), Refusal> {
        match self.ask(Request::Ticket { grant: grant.id(), purpose }).await? {
            Reply::Ticket(ticket, end) => Ok((ticket, end)),
            _ => Err(unexpected()),
        }
    }

    /// The keeper's numbers, as text for Prometheus.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn metrics(&self, grant: &Grant) -> Result<String, Refusal> {
        match self.ask(Request::Metrics { grant: grant.id() }).await? {
            Reply::Metrics(text) => Ok(text),
            _ => Err(unexpected()),
        }
    }

    /// Which of these grants are over.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn renew(&self, grants: Vec<GrantId>) -> Result<Vec<GrantId>, Refusal> {
        match self.ask(Request::Renew { grants }).await? {
            Reply::Dead(dead) => Ok(dead),
            _ => Err(unexpected()),
        }
    }

    /// What an operator or an analyst asks; the answer is JSON.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn admin(
        &self,
        call: Call,
        credential: Option<Credential>,
        command: AdminCommand,
    ) -> Result<String, Refusal> {
        match self.ask(Request::Admin { call, credential, command }).await? {
            Reply::Admin(reply) => Ok(reply.json),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> Refusal {
    Refusal::Unavailable("an answer to another question".to_owned())
}

async fn write(mut receive: mpsc::Receiver<Numbered<Request>>, mut writer: FrameWriter, lost: Arc<Notify>) {
    while let Some(message) = receive.recv().await {
        let mut sent = writer.feed(&message).await;
        while let (Ok(()), Ok(message)) = (&sent, receive.try_recv()) {
            sent = writer.feed(&message).await;
        }
        if sent.is_err() || writer.flush().await.is_err() {
            break;
        }
    }
    lost.notify_one();
}

async fn read(mut reader: FrameReader, pending: Pending, lost: Arc<Notify>) {
    while let Ok(Some(Numbered { number, message })) = reader.next::<Reply>().await {
        let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
        let waiter = pending.as_mut().and_then(|pending| pending.remove(&number));
        // A waiter whose client hung up is gone; its answer is dropped with its keys.
        waiter.map(|waiter| waiter.send(message));
    }
    // Whoever waits sees its sender dropped, and nobody waits in vain after that.
    *pending.lock().unwrap_or_else(PoisonError::into_inner) = None;
    lost.notify_one();
}

async fn send_releases(keeper: Keeper, mut released: mpsc::UnboundedReceiver<GrantId>) {
    while let Some(first) = released.recv().await {
        let mut grants = vec![first];
        while let Ok(more) = released.try_recv() {
            grants.push(more);
        }
        if keeper.done(Request::Release { grants }).await.is_err() {
            return;
        }
    }
}
