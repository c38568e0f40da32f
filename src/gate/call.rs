//! One request, parsed: what a handler reads, and its one way to ask for a decision.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use strongroom_domain::{RepoKind, RepoName, Revision};
use strongroom_protocol::{Call as Origin, Credential, Grant, SecretText, Target};

use tokio::sync::Mutex;

use crate::gate::Gate;
use crate::http::Peer;
use crate::refused::Refused;
use crate::routes::Route;

/// Bytes of a JSON body, at most: 256 files of a preupload with their samples.
pub const JSON_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What is left of a request's body; outlives the call, so that what the call did not read can be read away.
#[derive(Clone)]
pub struct Rest {
    body: Arc<Mutex<Body>>,
    deadline: Duration,
}

/// Bytes, and time, that are spent on the rest of a body that was refused: a client that is still sending reads the
/// answer only afterwards, and one whose connection is closed meanwhile never does.
const DRAIN_BYTES_MAX: usize = 64 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(10);

impl Rest {
    /// All of it is left; between two pieces a client may take so long.
    pub fn new(body: Body, deadline: Duration) -> Self {
        Self { body: Arc::new(Mutex::new(body)), deadline }
    }

    async fn piece(&self) -> Result<Option<bytes::Bytes>, Refused> {
        let mut body = self.body.lock().await;
        loop {
            let frame = tokio::time::timeout(self.deadline, body.frame()).await;
            let frame = frame.map_err(|_| Refused::new(StatusCode::REQUEST_TIMEOUT, "the body stopped coming"))?;
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(Refused::bad("the body was cut")),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        crate::metrics::RECEIVED.add(data.len() as u64);
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Reads it away, within bounds.
    pub async fn drain(&self) {
        let all = async {
            let mut left = DRAIN_BYTES_MAX;
            while let Ok(Some(piece)) = self.piece().await {
                match left.checked_sub(piece.len()) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        };
        let _ = tokio::time::timeout(DRAIN_TIME, all).await;
    }
}

/// A flag that outlives the call.
pub type Flag = Arc<AtomicBool>;

/// A request.
pub struct Call {
    /// The route that it matched.
    pub route: &'static Route,
    /// The kind of repository that its path names.
    pub kind: Option<RepoKind>,
    /// What the client sees in `X-Request-Id`.
    pub id: String,
    /// Where from.
    pub peer: Peer,
    /// Who says to be asking.
    pub credential: Option<Credential>,
    /// Captured from the path, decoded.
    pub params: Vec<(String, String)>,
    /// From the query string, decoded.
    pub query: Vec<(String, String)>,
    /// All of them.
    pub headers: HeaderMap,
    /// Not read yet.
    pub body: Rest,
    /// `https://HOST`, as the client knows this server.
    pub base: String,
    /// Whether the keeper has recorded something about it.
    pub decided: Flag,
}

impl Call {
    /// Where from, for the record.
    pub fn origin(&self) -> Origin {
        self.decided.store(true, Ordering::Relaxed);
        Origin { request_id: self.id.clone(), address: self.peer.ip, route: self.route.label() }
    }

    /// A part of the path.
    ///
    /// # Errors
    /// 404 for a route without it.
    pub fn param(&self, name: &str) -> Result<&str, Refused> {
        let found = self.params.iter().find(|(held, _)| held == name);
        found.map(|(_, value)| value.as_str()).ok_or_else(Refused::repo)
    }

    /// A part of the path as a value.
    ///
    /// # Errors
    /// 400 with the reason.
    pub fn parse<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<T, Refused> {
        self.param(name)?.parse().map_err(Refused::bad)
    }

    /// The repository in the path.
    ///
    /// # Errors
    /// 400.
    pub fn repo(&self) -> Result<(RepoKind, RepoName), Refused> {
        let (namespace, name) = (self.param("ns")?, self.param("name")?);
        let name = name.strip_suffix(".git").unwrap_or(name);
        // Each part apart: a decoded slash must not make another pair.
        if namespace.contains('/') || name.contains('/') {
            return Err(Refused::bad(strongroom_domain::NameError::Shape));
        }
        let kind = self.kind.ok_or_else(Refused::repo)?;
        Ok((kind, format!("{namespace}/{name}").parse()?))
    }

    /// The revision in the path; `main` where there is none.
    ///
    /// # Errors
    /// 400.
    pub fn revision(&self) -> Result<Revision, Refused> {
        match self.param("rev") {
            Ok(text) => Ok(text.parse()?),
            Err(_) => Ok("main".parse()?),
        }
    }

    /// A value of the query string.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    /// All values of a name in the query string, also under its old spelling `name[]`.
    pub fn queries<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = move |held: &str| held == name || held.strip_suffix("[]") == Some(name);
        self.query.iter().filter(move |(held, _)| named(held)).map(|(_, value)| value.as_str())
    }

    /// A yes or no of the query string, in any client's spelling.
    pub fn flag(&self, name: &str) -> bool {
        self.query(name).is_some_and(|value| matches!(value, "true" | "True" | "1"))
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// 400, 413.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Refused> {
        let bytes = self.bytes(JSON_BYTES_MAX).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Refused::bad(format!("the body is not the JSON expected: {error}")))
    }

    /// The whole body.
    ///
    /// # Errors
    /// 413 for more than `max` bytes, 400 for one that was cut.
    pub async fn bytes(&mut self, max: usize) -> Result<Vec<u8>, Refused> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > max {
                let text = format!("the body has more than {max} bytes");
                return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, text));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// The next piece of the body.
    ///
    /// # Errors
    /// 400 for one that was cut, 408 for one that does not come.
    pub async fn piece(&mut self) -> Result<Option<bytes::Bytes>, Refused> {
        self.body.piece().await
    }

    /// The keeper's decision on this route's action.
    ///
    /// # Errors
    /// The refusal.
    pub async fn authorize(&self, gate: &Gate, target: Target) -> Result<Grant, Refused> {
        let action = self.route.action;
        gate.authorize(self.origin(), self.credential.clone(), action, target).await
    }

    /// The same, about the repository in the path.
    ///
    /// # Errors
    /// The refusal; 400 for a malformed name.
    pub async fn authorize_repo(
        &self,
        gate: &Gate,
        revision: Option<&Revision>,
        path: Option<&str>,
    ) -> Result<Grant, Refused> {
        let (kind, name) = self.repo()?;
        let (revision, path) = (revision.map(ToString::to_string), path.map(str::to_owned));
        self.authorize(gate, Target::Repo { kind, name, revision, path }).await
    }

    /// A header as text.
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The credential of a request: `Bearer`, or `Basic` with the token as password (git, git-lfs). Another scheme, or one
/// that does not decode, is a credential that does not hold.
pub fn credential(headers: &HeaderMap) -> Option<Credential> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let text = if scheme.eq_ignore_ascii_case("basic") {
        let decoded = STANDARD.decode(rest.trim()).unwrap_or_default();
        let decoded = String::from_utf8(decoded).unwrap_or_default();
        decoded.split_once(':').map_or_else(String::new, |(_, password)| password.to_owned())
    } else if scheme.eq_ignore_ascii_case("bearer") {
        rest.trim().to_owned()
    } else {
        String::new()
    };
    Some(Credential::Token(SecretText::new(text)))
}
