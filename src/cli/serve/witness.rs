//! Who asks the witnesses: the keeper's process, by a courier for each. All of them are asked about one checkpoint at a time, so that
//! their cosignatures stand under one note.

use std::sync::Arc;
use std::time::Duration;

use strongroom_keeper::log::Position;
use strongroom_keeper::{Heard, Keeper};
use strongroom_protocol::{Submission, Witnessed};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::courier::Courier;
use crate::config::Config;
use crate::courier::{Errand, WITNESS_DEADLINE};
use crate::{Failed, words};

/// At the start, witnesses have so long to say what they have seen. Past it the server starts, and what requires them stays closed.
const START: Duration = Duration::from_secs(5);
/// How often it is asked anew within one turn: once for its size, once more where the log was asked about meanwhile.
const TRIES: usize = 3;
/// One that did not cosign is asked again after so long, if its turn does not come before.
const AGAIN: Duration = Duration::from_secs(5);
/// How often an open keeper is looked for, while it is sealed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A courier has longer than what it asks.
const MARGIN: Duration = Duration::from_secs(5);

/// Asks all witnesses once before anything is served, and from then on in turns.
///
/// # Errors
/// Why the server must not start: one of them has seen of the log what can't be.
pub async fn begin(config: &Config, keeper: &Arc<Keeper>) -> Result<(), Failed> {
    let mut first = JoinSet::new();
    let (tell, told) = watch::channel(keeper.log_position());
    for (at, witness) in config.witnesses.iter().enumerate() {
        let (errand, socket) = (Errand::Witness(witness.place()), config.courier_socket.clone());
        let courier = Courier::new(errand, WITNESS_DEADLINE + MARGIN, socket);
        let (keeper, url) = (Arc::clone(keeper), witness.url.clone());
        let mut asker = Asker { at, url, keeper, courier, told: told.clone(), said: None };
        let (done, wait) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut cosigned = asker.turn().await;
            // Whoever waited for it may have begun without.
            let _ = done.send(());
            loop {
                let next = asker.told.changed();
                let next = if cosigned { Ok(next.await) } else { tokio::time::timeout(AGAIN, next).await };
                if matches!(next, Ok(Err(_))) {
                    return;
                }
                cosigned = asker.turn().await;
            }
        });
        first.spawn(wait);
    }
    if config.witnesses.is_empty() {
        return Ok(());
    }
    let all = async { while first.join_next().await.is_some() {} };
    if tokio::time::timeout(START, all).await.is_err() {
        tracing::warn!("not every witness answers; what requires them stays closed until they do");
    }
    if let Some(why) = keeper.refused_by_witness() {
        let mend = "bring the newest database back; or, where an older one was restored on purpose, let the witness's operator run \
                    `strongroom audit witness --forget` (docs/backup.md)";
        return Err(Failed(format!("{why}\n  mend: {mend}")));
    }
    tokio::spawn(turns(Arc::clone(keeper), tell, config.witness_every));
    Ok(())
}

/// Says again and again which checkpoint the witnesses are asked about.
async fn turns(keeper: Arc<Keeper>, tell: watch::Sender<Option<Position>>, every: Duration) {
    loop {
        // One that was sealed at the start is asked about as soon as it is open.
        let wait = if tell.borrow().is_some() { every } else { LOOK_EVERY };
        tokio::time::sleep(wait).await;
        let position = keeper.log_position();
        if position.is_some() && tell.send(position).is_err() {
            return;
        }
    }
}

/// Who asks one witness.
struct Asker {
    at: usize,
    url: String,
    keeper: Arc<Keeper>,
    courier: Courier,
    told: watch::Receiver<Option<Position>>,
    /// What was last said of it on standard error.
    said: Option<String>,
}

impl Asker {
    /// Asks about the newest checkpoint that was told; whether it is cosigned, or there is none.
    async fn turn(&mut self) -> bool {
        let position = self.told.borrow_and_update().clone();
        let Some(position) = position else { return true };
        let heard = self.ask(&position).await;
        let trouble = match heard {
            Ok(Heard::Cosigned) => None,
            Ok(Heard::Again) => Some("it says another size each time".to_owned()),
            Ok(Heard::Not(why) | Heard::Conflict(why)) => Some(why),
            Err(Failed(why)) => Some(why),
        };
        // Said when it changes: a witness that is down for a night fills no disk.
        match (&trouble, &self.said) {
            (Some(why), said) if said.as_ref() != Some(why) => {
                tracing::warn!(why, witness = self.url, "a witness does not cosign");
            }
            (None, Some(_)) => tracing::info!(witness = self.url, "a witness cosigns again"),
            _ => {}
        }
        self.said = trouble;
        self.said.is_none()
    }

    async fn ask(&mut self, position: &Position) -> Result<Heard, Failed> {
        for _ in 0..TRIES {
            let asked = self.keeper.ask_witness(self.at, position).await.map_err(words)?;
            let Some(asked) = asked else { return Ok(Heard::Not("the server is sealed".to_owned())) };
            let submission = Submission { body: asked.to_string() };
            let answer = self.courier.ask(submission).await.unwrap_or_else(|Failed(why)| Witnessed::Failed(why));
            let heard = self.keeper.hear_witness(self.at, (position, &asked), answer).await.map_err(words)?;
            if heard != Heard::Again {
                return Ok(heard);
            }
        }
        Ok(Heard::Again)
    }
}
