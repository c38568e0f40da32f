//! One gate at a time: reads its questions, answers each in a task of its own, ends with its socket.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use strongroom_audit::note::VerifierKey;
use strongroom_domain::Action;
use strongroom_envelope::Identity;
use strongroom_protocol::{FrameError, Numbered, Refusal, Reply, Request, split};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};

use crate::database::Database;
use crate::grants::Grants;
use crate::keys::OwnKeys;
use crate::log::{Log, LogError, Record};
use crate::setup::Settings;
use crate::state::State;

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
    /// What is recorded.
    pub log: Log,
    pub(crate) keys: Arc<OwnKeys>,
    pub(crate) root: Identity,
    pub(crate) database: Database,
    pub(crate) settings: Settings,
    pub(crate) verifier: VerifierKey,
    pub(crate) grants: Mutex<Grants>,
    /// Changes are judged and written one after the other, so that none is judged on what another is about to change.
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(crate) usage: Mutex<crate::answer::Usage>,
}

/// Times a decision is made again because the policy changed under it.
const ATTEMPTS: usize = 8;

impl Core {
    /// Judges under the state's lock, records the outcome durably, and only then gives it. The judge fills in the record;
    /// it is called again where the policy changed meanwhile.
    pub(crate) async fn recorded<T>(
        &self,
        judge: impl Fn(&State, &mut Record) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        for _ in 0..ATTEMPTS {
            let (outcome, record) = self.judge(&judge);
            let charge = if outcome.is_ok() { self.usage.lock().take_charge(&record) } else { None };
            let decided = record.generation;
            match self.log.append(record, Vec::new(), Some(decided), charge).await {
                Ok(_) => return outcome,
                Err(LogError::Stale) => continue,
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
            let (outcome, record) = self.judge(&judge);
            let decided = record.generation;
            let (outcome, changes) = match outcome {
                Ok((value, changes)) => (Ok(value), changes),
                Err(refusal) => (Err(refusal), Vec::new()),
            };
            match self.log.append(record, changes, Some(decided), None).await {
                Ok(_) => return outcome,
                Err(LogError::Stale) => continue,
                Err(LogError::Taken) => return Err(Refusal::Conflict("that name is taken".to_owned())),
                Err(error) => return Err(Refusal::Unavailable(error.to_string())),
            }
        }
        Err(Refusal::Unavailable("the policy changes too fast to decide".to_owned()))
    }

    fn judge<T>(&self, judge: &impl Fn(&State, &mut Record) -> Result<T, Refusal>) -> (Result<T, Refusal>, Record) {
        let state = self.state.read();
        let mut record = Record { time_ms: now_ms(), generation: state.generation, ..Record::default() };
        let outcome = judge(&state, &mut record);
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

/// Answers one gate until its socket ends. Its grants end with it.
///
/// # Errors
/// [`ServeError`]; the supervisor starts another gate.
pub async fn serve(core: Arc<Core>, socket: UnixStream) -> Result<(), ServeError> {
    *core.grants.lock() = Grants::default();
    let (mut reader, mut writer) = split(socket);
    greet(reader.next().await?, &mut writer).await?;
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
                let (core, answers) = (core.clone(), answers.clone());
                tokio::spawn(async move {
                    let message = core.answer(message).await.unwrap_or_else(Reply::Refused);
                    let _ = answers.send(Numbered { number, message }).await;
                    drop(slot);
                });
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
    };
    pump.abort();
    *core.grants.lock() = Grants::default();
    ended
}

/// The first word. Routes whose actions are not exactly those that policy knows stop the gate.
async fn greet(
    first: Option<Numbered<Request>>,
    writer: &mut strongroom_protocol::FrameWriter,
) -> Result<(), ServeError> {
    let Some(Numbered { number, message: Request::Hello { actions } }) = first else {
        return Err(ServeError::Hello("no greeting".to_owned()));
    };
    let differ = difference(&actions);
    let message = match &differ {
        None => Reply::Status { sealed: false },
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
