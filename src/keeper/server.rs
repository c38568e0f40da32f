//! One gate at a time: reads its questions, answers each in a task of its own, ends with its socket.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use strongroom_database::Database;
use strongroom_domain::{Action, Budgets, DecoyLock};
use strongroom_protocol::{FrameError, Numbered, Refusal, Reply, Request, SecretText, split};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};

use crate::decoy;
use crate::dual::Dual;
use crate::effect::Effect;
use crate::follow::Follow;
use crate::grants::Grants;
use crate::held::Held;
use crate::keys::OwnKeys;
use crate::log::{Entry, Log, LogError, Record};
use crate::metrics;
use crate::review::notes;
use crate::root::Root;
use crate::seal::SEALED;
use crate::setup::{self, Settings, SetupError};
use crate::state::State;
use crate::waiting::Waiting;
use crate::witness::Witnesses;

/// Questions of one gate that are answered at once; the rest wait in its socket.
const AT_ONCE: usize = 512;

/// Why the keeper stops serving a gate.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket, or something on it that is not of the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A gate whose first word is not `Hello`, or whose routes are not those of the policy.
    #[error("the gate's route table and the policy name different actions: {0}")]
    Hello(String),
}

/// All that the answers need.
pub struct Core {
    /// What is known.
    pub state: Arc<RwLock<State>>,
    /// Keeps it as other keepers on the same database make it.
    pub(crate) follow: Arc<Follow>,
    /// What is recorded.
    pub log: Log,
    pub(crate) keys: Arc<OwnKeys>,
    /// The root identity.
    pub(crate) held: Held,
    pub(crate) database: Database,
    pub(crate) settings: Settings,
    /// What needs a second person.
    pub(crate) dual: Dual,
    pub(crate) budgets: Arc<Budgets>,
    /// What a touch of a decoy stops.
    pub(crate) decoy_lock: DecoyLock,
    /// Who cosigns the log, and what is opened only then.
    pub(crate) witnesses: Witnesses,
    /// Whether a log that can't be written is said to sinks.
    pub(crate) tells_trouble: bool,
    pub(crate) grants: Mutex<Grants>,
    /// Changes are judged and written one after the other, so that none is judged on what another is about to change.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// One rotation of the root key at a time.
    pub(crate) rotating: tokio::sync::Mutex<()>,
}

/// Times a decision is made again because the policy changed under it.
const ATTEMPTS: usize = 64;

impl Core {
    /// Judges under the state's lock, records the outcome durably, and only then gives it. The judge fills in the record;
    /// it is called again where the policy changed meanwhile.
    pub(crate) async fn recorded<T>(
        &self,
        judge: impl Fn(&State, &mut Record) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        for _ in 0..ATTEMPTS {
            self.end_reviews().await?;
            let (outcome, mut record) = self.judge(&judge);
            let changes = self.decoy_stops(&record);
            record.effects = changes.iter().filter_map(Effect::of).collect();
            let charge = if outcome.is_ok() { self.charge(&record) } else { None };
            let judged = charge.as_ref().map(|_| record.clone()).unwrap_or_default();
            let decided = Some(record.generation);
            match self.log.append(Entry { record, changes, decided, charge, ..Entry::default() }).await {
                Ok(_) => {
                    metrics::decided(outcome.as_ref().err());
                    return outcome;
                }
                Err(LogError::Stale) => continue,
                Err(LogError::OverBudget(over)) => return Err(self.over_budget(judged, over).await),
                Err(error) => return Err(Refusal::Unavailable(error.to_string())),
            }
        }
        Err(Refusal::Unavailable("the policy changes too fast to decide".to_owned()))
    }

    /// The same with changes, which are written in the record's transaction.
    pub(crate) async fn changed<T>(
        &self,
        judge: impl Fn(&State, &mut Record) -> Result<(T, Vec<crate::change::Change>), Refusal>,
    ) -> Result<T, Refusal> {
        let _one_at_a_time = self.changing.lock().await;
        for _ in 0..ATTEMPTS {
            self.end_reviews().await?;
            let (outcome, mut record) = self.judge(&judge);
            let decided = record.generation;
            let (outcome, mut changes) = match outcome {
                Ok((value, changes)) => (Ok(value), changes),
                Err(refusal) => (Err(refusal), Vec::new()),
            };
            changes.extend(self.decoy_stops(&record));
            let notes = notes(&self.state.read(), &changes, &record);
            changes.extend(notes);
            record.effects = changes.iter().filter_map(Effect::of).collect();
            match self.log.append(Entry { record, changes, decided: Some(decided), ..Entry::default() }).await {
                Ok(_) => {
                    metrics::decided(outcome.as_ref().err());
                    return outcome;
                }
                Err(LogError::Stale) => continue,
                Err(LogError::Taken) => return Err(Refusal::Conflict("that name is taken".to_owned())),
                Err(error) => return Err(Refusal::Unavailable(error.to_string())),
            }
        }
        Err(Refusal::Unavailable("the policy changes too fast to decide".to_owned()))
    }

    /// Whoever touches a decoy is stopped by the record of it, whatever was decided. Most records touch none, and ask for nothing.
    fn decoy_stops(&self, record: &Record) -> Vec<crate::change::Change> {
        match record.alarm {
            Some(_) => decoy::stops(&self.state.read(), self.decoy_lock, record),
            None => Vec::new(),
        }
    }

    pub(crate) fn judge<T>(
        &self,
        judge: &impl Fn(&State, &mut Record) -> Result<T, Refusal>,
    ) -> (Result<T, Refusal>, Record) {
        let state = self.state.read();
        let mut record = Record { time_ms: now_ms(), generation: state.generation, ..Record::default() };
        // Another keeper may have sealed the server since this was asked.
        let outcome = if state.sealed { Err(Refusal::Sealed) } else { judge(&state, &mut record) };
        match &outcome {
            Ok(_) if record.outcome.is_empty() => record.outcome = "allowed".to_owned(),
            Ok(_) => {}
            Err(refusal) => {
                record.outcome = "denied".to_owned();
                if record.reason.is_empty() {
                    record.reason = refusal.to_string();
                }
            }
        }
        (outcome, record)
    }
}

/// Unix milliseconds.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// How often a seal of another keeper on the same database is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often its end is.
const LOOK_SEALED: Duration = Duration::from_millis(500);
/// The same after an end that led to nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What a sealed keeper waits for.
enum Wait {
    /// The root identity, from people.
    Root(Waiting),
    /// Whoever has the root key on this machine: it lies there, and stays unread.
    Operator,
}

/// The trusted process's whole: a core, or what waits for the root identity.
pub struct Keeper {
    core: RwLock<Option<Arc<Core>>>,
    /// One share at a time.
    wait: tokio::sync::Mutex<Option<Wait>>,
    settings: Settings,
}

impl Keeper {
    /// Opens the core where the root identity is at hand and nobody has sealed the server; else starts sealed.
    ///
    /// # Errors
    /// [`SetupError`].
    pub async fn start(settings: Settings) -> Result<Arc<Self>, SetupError> {
        metrics::start();
        let sealed = setup::mark(&settings).await?.is_some();
        let (core, wait) = match settings.root.waiting()? {
            Some(waiting) => (None, Some(Wait::Root(waiting))),
            None if sealed => (None, Some(Wait::Operator)),
            None => match settings.root.read()? {
                Root::Identity(identity) => (Some(setup::open(settings.clone(), identity).await?), None),
                Root::Waiting(waiting) => (None, Some(Wait::Root(waiting))),
            },
        };
        Ok(Arc::new(Self { core: RwLock::new(core), wait: tokio::sync::Mutex::new(wait), settings }))
    }

    pub(crate) fn core(&self) -> Option<Arc<Core>> {
        self.core.read().clone()
    }

    fn forget_grants(&self) {
        if let Some(core) = self.core() {
            *core.grants.lock() = Grants::default();
        }
    }

    /// Ends when the server was sealed, here or by another keeper on the same database: whoever runs this one then ends the
    /// process, and with it every key that was in it. Until then it opens a keeper that waits for its operator.
    pub async fn until_sealed(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.core() {
                Some(core) => {
                    // Without its database nothing is answered, and nothing is known of a seal.
                    let _ = core.follow.refresh().await;
                    if core.state.read().sealed {
                        return;
                    }
                }
                // Each look is a connection of its own: a sealed keeper holds none.
                None => match self.open_if_let().await {
                    Ok(()) => tokio::time::sleep(LOOK_SEALED).await,
                    Err(error) => {
                        tracing::error!(%error, "the server stays sealed");
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                },
            }
        }
    }

    async fn open_if_let(&self) -> Result<(), SetupError> {
        let mut wait = self.wait.lock().await;
        if !matches!(*wait, Some(Wait::Operator)) || setup::mark(&self.settings).await?.as_deref() == Some(SEALED) {
            return Ok(());
        }
        let Root::Identity(identity) = self.settings.root.read()? else { return Ok(()) };
        let core = setup::unseal(self.settings.clone(), identity, "by the root key, on a server's machine").await?;
        (*self.core.write(), *wait) = (Some(core), None);
        tracing::info!("the server is unsealed");
        Ok(())
    }

    async fn answer(&self, request: Request) -> Result<Reply, Refusal> {
        match (self.core().filter(|core| !core.state.read().sealed), request) {
            (Some(core), request) => core.answer(request).await,
            (None, Request::Status) => Ok(Reply::Status { sealed: true }),
            (None, Request::Unseal { share }) => self.unseal(&share).await,
            (None, _) => Err(Refusal::Sealed),
        }
    }

    async fn unseal(&self, share: &SecretText) -> Result<Reply, Refusal> {
        let mut wait = self.wait.lock().await;
        let held = match wait.as_mut() {
            Some(Wait::Root(held)) => held,
            Some(Wait::Operator) => {
                let mend = "the root key lies on the server's machine: run `strongroom unseal --here` there";
                return Err(Refusal::Conflict(mend.to_owned()));
            }
            None => return Err(Refusal::Conflict("the server is not sealed".to_owned())),
        };
        let by = held.word();
        // A wrong one costs a second: guessing a passphrase here is as slow as it can be made.
        let taken = held.take(share);
        if taken.is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let Some(identity) = taken.map_err(Refusal::Invalid)? else { return Ok(Reply::Status { sealed: true }) };
        let core = setup::unseal(self.settings.clone(), identity, by).await;
        let core = core.map_err(|error| Refusal::Invalid(error.to_string()))?;
        (*self.core.write(), *wait) = (Some(core), None);
        Ok(Reply::Status { sealed: false })
    }
}

/// Answers one gate until its socket ends. Its grants end with it.
///
/// # Errors
/// [`ServeError`]; the supervisor starts another gate.
pub async fn serve(keeper: Arc<Keeper>, socket: UnixStream) -> Result<(), ServeError> {
    keeper.forget_grants();
    let (mut reader, mut writer) = split(socket);
    greet(reader.next().await?, keeper.core().is_none(), &mut writer).await?;
    let (answers, mut outbox) = mpsc::channel::<Numbered<Reply>>(AT_ONCE);
    let pump = tokio::spawn(async move {
        while let Some(reply) = outbox.recv().await {
            let mut sent = writer.feed(&reply).await;
            while let (Ok(()), Ok(reply)) = (&sent, outbox.try_recv()) {
                sent = writer.feed(&reply).await;
            }
            if sent.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    });
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let ended = loop {
        match reader.next::<Request>().await {
            Ok(Some(Numbered { number, message })) => {
                // The semaphore is never closed.
                let Ok(slot) = slots.clone().acquire_owned().await else { break Ok(()) };
                let (keeper, answers) = (keeper.clone(), answers.clone());
                tokio::spawn(async move {
                    let message = keeper.answer(message).await.unwrap_or_else(Reply::Refused);
                    let _ = answers.send(Numbered { number, message }).await;
                    drop(slot);
                });
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
    };
    pump.abort();
    keeper.forget_grants();
    ended
}

/// The first word. Routes whose actions are not exactly those that policy knows stop the gate.
async fn greet(
    first: Option<Numbered<Request>>,
    sealed: bool,
    writer: &mut strongroom_protocol::FrameWriter,
) -> Result<(), ServeError> {
    let Some(Numbered { number, message: Request::Hello { actions } }) = first else {
        return Err(ServeError::Hello("no greeting".to_owned()));
    };
    let differ = difference(&actions);
    let message = match &differ {
        None => Reply::Status { sealed },
        Some(what) => Reply::Refused(Refusal::Invalid(what.clone())),
    };
    writer.feed(&Numbered { number, message }).await?;
    writer.flush().await?;
    differ.map_or(Ok(()), |what| Err(ServeError::Hello(what)))
}

fn difference(routes: &[Action]) -> Option<String> {
    let missing = Action::ALL.iter().find(|action| !routes.contains(action));
    missing.map(|action| format!("no route asks for {action}"))
}
