//! Errors become HTTP here, in one table.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use strongroom_domain::{Commit, NameError, PathError, RevisionError};
use strongroom_protocol::Refusal;
use strongroom_storage::{CatalogError, ObjectError};

/// A refusal as the client sees it: a status, a word that stock clients turn into their own exception, a reason.
#[derive(Debug)]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    code: Option<&'static str>,
    /// The reason; ASCII, without the input.
    pub message: String,
    commit: Option<Commit>,
    body: Option<serde_json::Value>,
    headers: Vec<(header::HeaderName, String)>,
}

impl Refused {
    /// A refusal with a reason and no word.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: None, message: message.into(), commit: None, body: None, headers: Vec::new() }
    }

    /// Bad input: 400.
    pub fn bad(message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message.to_string())
    }

    /// No such repository, or no right to it.
    pub fn repo() -> Self {
        Self { code: Some("RepoNotFound"), ..Self::new(StatusCode::NOT_FOUND, "Repository not found") }
    }

    /// No such revision.
    pub fn revision() -> Self {
        Self { code: Some("RevisionNotFound"), ..Self::new(StatusCode::NOT_FOUND, "Invalid rev id") }
    }

    /// No such file; with the commit in which it was looked for, which clients remember.
    pub fn entry(commit: Option<Commit>) -> Self {
        Self { code: Some("EntryNotFound"), commit, ..Self::new(StatusCode::NOT_FOUND, "Entry not found") }
    }

    /// The namespace may store no more.
    pub fn over_quota(bytes: u64) -> Self {
        let mend = "ask an administrator for more, or delete a repository";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the quota of this namespace is {bytes} bytes: {mend}"))
    }

    /// The branch moved: the exact text that stock clients know.
    pub fn moved() -> Self {
        let text = "The branch was updated since you opened this page. Please refresh and try again.";
        Self::new(StatusCode::PRECONDITION_FAILED, text)
    }

    /// With another body than `{"error": …}`.
    pub fn with_body(self, body: serde_json::Value) -> Self {
        Self { body: Some(body), ..self }
    }

    /// With another reason.
    pub fn with_message(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }

    /// With a header.
    pub fn with_header(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The response.
    pub fn into_response(self) -> Response<Body> {
        let body = self.body.unwrap_or_else(|| serde_json::json!({"error": self.message}));
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(code) = self.code {
            headers.insert("x-error-code", HeaderValue::from_static(code));
        }
        let text: String = self.message.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(512).collect();
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert("x-error-message", value);
        }
        if let Some(commit) = self.commit.and_then(|commit| HeaderValue::from_str(&commit.to_string()).ok()) {
            headers.insert("x-repo-commit", commit);
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            // To a stranger every repository is one that is not there.
            Refusal::Anonymous => Self { code: Some("RepoNotFound"), ..Self::new(StatusCode::UNAUTHORIZED, text) }
                .with_header(header::WWW_AUTHENTICATE, "Basic realm=\"Strongroom\""),
            Refusal::Credential => Self::new(StatusCode::UNAUTHORIZED, "Invalid credentials in Authorization header")
                .with_header(header::WWW_AUTHENTICATE, "Basic realm=\"Strongroom\""),
            // A right that was taken in the middle of a request is one that was not there.
            Refusal::NotFound | Refusal::Over => Self::repo(),
            Refusal::Forbidden(_) => Self::new(StatusCode::FORBIDDEN, text),
            Refusal::Pending(id, _) => Self {
                code: Some("ApprovalPending"),
                body: Some(serde_json::json!({"error": &text, "approval": id})),
                ..Self::new(StatusCode::FORBIDDEN, text)
            },
            Refusal::Gated(_) => Self { code: Some("GatedRepo"), ..Self::new(StatusCode::FORBIDDEN, text) },
            Refusal::Conflict(_) => Self::new(StatusCode::CONFLICT, text),
            Refusal::Invalid(_) => Self::bad(text),
            Refusal::OverBudget(budget, seconds) => {
                let body = serde_json::json!({"error": text, "budget": budget, "retry_after": seconds});
                let refused = Self { code: Some("OverBudget"), ..Self::new(StatusCode::TOO_MANY_REQUESTS, text) };
                let refused = refused.with_body(body);
                match seconds {
                    Some(seconds) => refused.with_header(header::RETRY_AFTER, seconds.to_string()),
                    None => refused,
                }
            }
            Refusal::ShareSpent => Self { code: Some("ShareSpent"), ..Self::new(StatusCode::TOO_MANY_REQUESTS, text) },
            Refusal::Later(seconds) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, text).with_header(header::RETRY_AFTER, seconds.to_string())
            }
            Refusal::WitnessStale(_, seconds) => {
                let body = serde_json::json!({"error": &text, "reason": "witness_stale", "retry_after": seconds});
                let refused = Self { code: Some("WitnessStale"), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text) };
                refused.with_body(body).with_header(header::RETRY_AFTER, seconds.to_string())
            }
            Refusal::WitnessConflict(_) => {
                let body = serde_json::json!({"error": &text, "reason": "witness_conflict"});
                let refused = Self::new(StatusCode::SERVICE_UNAVAILABLE, text);
                Self { code: Some("WitnessConflict"), ..refused }.with_body(body)
            }
            Refusal::Sealed => Self::new(StatusCode::SERVICE_UNAVAILABLE, text),
            Refusal::Unavailable(why) => {
                tracing::error!(why, "keeper unavailable");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server can't answer now; try again")
            }
        }
    }
}

impl From<CatalogError> for Refused {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Full => full(),
            CatalogError::OverQuota(bytes) => Self::over_quota(bytes),
            CatalogError::Object(error) => error.into(),
            CatalogError::Refused(why) => Self::new(StatusCode::BAD_REQUEST, why),
            CatalogError::Moved => Self::moved(),
            // A grant of before; the next one may be refused, or is for the copy.
            CatalogError::Closed => Refusal::Later(1).into(),
            CatalogError::Taken => Self::new(StatusCode::CONFLICT, "it is there already"),
            CatalogError::Database(why) => {
                tracing::error!(why, "the catalogue does not answer");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the catalogue can't answer now; try again")
            }
            error => {
                tracing::error!(%error, "catalogue");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the catalogue is damaged")
            }
        }
    }
}

impl From<ObjectError> for Refused {
    fn from(error: ObjectError) -> Self {
        crate::metrics::OBJECTS_FAILED.add(1);
        tracing::error!(%error, "object store");
        match error {
            ObjectError::Full => full(),
            ObjectError::Store(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the object store can't answer now; try again")
            }
            ObjectError::Missing | ObjectError::Randomness => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the object store is damaged")
            }
        }
    }
}

fn full() -> Refused {
    Refused::new(StatusCode::INSUFFICIENT_STORAGE, "the server's disk is full; nothing was changed")
}

macro_rules! bad_input {
    ($($error:ty),*) => { $(
        impl From<$error> for Refused {
            fn from(error: $error) -> Self {
                Self::bad(error)
            }
        }
    )* };
}

bad_input!(NameError, PathError, RevisionError);
