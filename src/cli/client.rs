//! The command line's way to the server: HTTPS with the private CA, nothing else.

use std::fs;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use strongroom_protocol::admin::AdminCommand;
use ureq::Agent;
use ureq::http::{Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::Failed;
use crate::arguments::Remote;
use crate::show::inert;

/// A server and a credential for it.
pub struct Client {
    agent: Agent,
    url: String,
    token: String,
}

impl Client {
    /// From flags and environment.
    ///
    /// # Errors
    /// What is missing, and where to get it.
    pub fn new(remote: &Remote) -> Result<Self, Failed> {
        let token = std::env::var("STRONGROOM_TOKEN").or_else(|_| std::env::var("HF_TOKEN"));
        let token = token.map_err(|_| Failed("set STRONGROOM_TOKEN to an access token".to_owned()))?;
        Self::with_token(remote, token)
    }

    /// For what needs no token.
    ///
    /// # Errors
    /// What is missing.
    pub fn anonymous(remote: &Remote) -> Result<Self, Failed> {
        Self::with_token(remote, String::new())
    }

    fn with_token(remote: &Remote, token: String) -> Result<Self, Failed> {
        let url = remote.url.clone().unwrap_or_else(|| "https://localhost:8443".to_owned());
        if !url.starts_with("https://") {
            return Err(Failed("STRONGROOM_URL begins with https://".to_owned()));
        }
        let roots = match &remote.ca {
            None => RootCerts::PlatformVerifier,
            Some(path) => {
                let pem = fs::read(path).map_err(|error| Failed(format!("{}: {error}", path.display())))?;
                let certificate = Certificate::from_pem(&pem);
                RootCerts::new_with_certs(&[
                    certificate.map_err(|error| Failed(format!("{}: {error}", path.display())))?
                ])
            }
        };
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let agent = Agent::config_builder().tls_config(tls).https_only(true).http_status_as_error(false).build();
        Ok(Self { agent: agent.into(), url: url.trim_end_matches('/').to_owned(), token: token.trim().to_owned() })
    }

    fn answer(&self, answer: Result<Response<ureq::Body>, ureq::Error>) -> Result<Response<ureq::Body>, Failed> {
        let mut answer = answer.map_err(|error| match error {
            ureq::Error::Rustls(error) => {
                Failed(format!("{}: {error}; is STRONGROOM_CA the server's ca.pem?", self.url))
            }
            error => Failed(format!("{}: {error}", self.url)),
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body: Value = answer.body_mut().read_json().unwrap_or_default();
        // On one line: it may repeat what somebody else wrote.
        let reason = inert(body["error"].as_str().unwrap_or(status.as_str()));
        Err(Failed(if status == StatusCode::UNAUTHORIZED { format!("{reason} (STRONGROOM_TOKEN)") } else { reason }))
    }

    /// Sends JSON.
    ///
    /// # Errors
    /// The server's reason.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Result<Response<ureq::Body>, Failed> {
        let (url, token) = (format!("{}{path}", self.url), format!("Bearer {}", self.token));
        self.answer(match method {
            "GET" => self.agent.get(url).header("authorization", token).call(),
            "DELETE" => self.agent.delete(url).header("authorization", token).force_send_body().send_json(body),
            _ => self.agent.post(url).header("authorization", token).send_json(body),
        })
    }

    /// The same, for an answer that is JSON.
    ///
    /// # Errors
    /// The server's reason, or that its answer is something else.
    pub fn json(&self, method: &str, path: &str, body: &Value) -> Result<Value, Failed> {
        self.json_as(method, path, body)
    }

    fn json_as<T: DeserializeOwned>(&self, method: &str, path: &str, body: &Value) -> Result<T, Failed> {
        let mut answer = self.send(method, path, body)?;
        let limit = 64 * 1024 * 1024;
        let wrong = |error: &dyn std::fmt::Display| Failed(format!("{path}: {error}"));
        let body = answer.body_mut().with_config().limit(limit).read_to_vec().map_err(|error| wrong(&error))?;
        // From all of it: megabytes are read many times faster so than byte by byte.
        serde_json::from_slice(&body).map_err(|error| wrong(&error))
    }

    /// A command of an operator or an analyst.
    ///
    /// # Errors
    /// The server's reason.
    pub fn admin(&self, noun: &str, command: &AdminCommand) -> Result<Value, Failed> {
        self.admin_as(noun, command)
    }

    /// The same, for an answer of a type.
    ///
    /// # Errors
    /// The server's reason, or that its answer is something else.
    pub fn admin_as<T: DeserializeOwned>(&self, noun: &str, command: &AdminCommand) -> Result<T, Failed> {
        let body = serde_json::to_value(command).map_err(|error| Failed(error.to_string()))?;
        self.json_as("POST", &format!("/api/strongroom/v1/{noun}"), &body)
    }
}
