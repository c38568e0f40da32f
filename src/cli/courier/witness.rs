//! A witness (C2SP `tlog-witness`): it is asked, and its answer is brought back as it is. Whether it is to be believed the keeper sees
//! by its signature.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_audit::note::NOTE_BYTES_MAX;
use strongroom_audit::witness::SIZE_TYPE;
use strongroom_domain::Network;
use strongroom_gate::Outgoing;
use strongroom_protocol::{Submission, Witnessed};
use ureq::Agent;

use super::https::{agent, outgoing};
use crate::{Failed, words};

/// All of one exchange.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Of a refusal, so many characters are told.
const WORDS_MAX: usize = 200;

/// Where a witness is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WitnessUrl {
    /// `https://…`, before `/add-checkpoint`.
    pub url: String,
    /// Whom its certificate is of; by default whoever the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Networks of the inside that it may be in.
    pub allow: Vec<Network>,
}

/// What asks it.
pub struct Asker {
    agent: Agent,
    url: String,
}

impl WitnessUrl {
    /// Reads what it needs.
    ///
    /// # Errors
    /// What can't be read.
    pub fn asker(&self) -> Result<Asker, Failed> {
        let url = format!("{}/add-checkpoint", self.url.trim_end_matches('/'));
        Ok(Asker { agent: agent(self.ca_file.as_deref(), &self.allow, DEADLINE)?, url })
    }

    /// What its courier still reaches.
    ///
    /// # Errors
    /// A URL without a host.
    pub fn outgoing(&self) -> Result<Outgoing, Failed> {
        outgoing(&self.url)
    }
}

impl Asker {
    /// Asks.
    pub fn ask(&self, submission: &Submission) -> Witnessed {
        self.answer(submission).unwrap_or_else(|Failed(why)| Witnessed::Failed(why))
    }

    fn answer(&self, submission: &Submission) -> Result<Witnessed, Failed> {
        let request = self.agent.post(&self.url).header("content-type", "text/plain; charset=utf-8");
        let mut answer = request.send(submission.body.as_str()).map_err(words)?;
        let status = answer.status().as_u16();
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_size = kind.split(';').next().is_some_and(|kind| kind.trim() == SIZE_TYPE);
        let body = answer.body_mut().with_config().limit(NOTE_BYTES_MAX as u64).read_to_string().map_err(words)?;
        let size = body.strip_suffix('\n').and_then(|text| text.parse::<u64>().ok().filter(|n| n.to_string() == text));
        Ok(match (status, size.filter(|_| is_size)) {
            (200, _) => Witnessed::Cosigned(body),
            (409, Some(size)) => Witnessed::Size(size),
            _ => {
                let text = body.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_MAX).collect();
                Witnessed::Refused(status, text)
            }
        })
    }
}
