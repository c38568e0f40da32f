//! `Delivered`, `Absent`, `Wrote`, `Reject`, `Ticket`, `Renew`: what happens around a grant.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use strongroom_domain::{Action, Compartment};
use strongroom_protocol::{Call, GrantId, Purpose, Refusal, Reply};

use super::authorize::writes;
use super::object::describe;
use super::rotate_repo::{MOMENT_S, is_of_now};
use super::{about, cut};
use crate::server::{Core, now_ms};
use crate::ticket::{LIFE_S, Ticket};

/// With the gate's period (250 ms) a stream stops within a second.
const RENEW: Duration = Duration::from_millis(650);

impl Core {
    pub(super) async fn answer_delivered(
        &self,
        grant: GrantId,
        path: Option<String>,
        range: Range<u64>,
        bytes: u64,
        complete: bool,
    ) -> Result<Reply, Refusal> {
        let recorded = self.recorded(|state, record| {
            // What was sent is recorded even where the grant ended meanwhile: that is when it matters.
            let live = self.grants.lock().get(grant).cloned().ok_or(Refusal::Over)?;
            describe(state, &live, record, "object.deliver");
            record.path = path.as_deref().map(|path| cut(path, 1024));
            record.range = Some((range.start, range.end));
            // As its opening says it, so that it can be told without that one.
            if let Some((part, commit)) = live.opened {
                record.compartments = vec![part.to_string()];
                record.revision = commit.map(|commit| commit.to_string()).or(record.revision.take());
            }
            record.bytes = Some(bytes);
            record.outcome = if complete { "done" } else { "cut" }.to_owned();
            Ok(Reply::Done)
        });
        let recorded = recorded.await;
        self.grants.lock().remove(grant);
        recorded
    }

    pub(super) async fn answer_absent(&self, grant: GrantId, path: &str) -> Result<Reply, Refusal> {
        let recorded = self.recorded(|state, record| {
            let live = self.grants.lock().get(grant).cloned().ok_or(Refusal::Over)?;
            describe(state, &live, record, "object.absent");
            record.path = Some(cut(path, 1024));
            record.outcome = "absent".to_owned();
            Ok(Reply::Done)
        });
        let recorded = recorded.await;
        self.grants.lock().remove(grant);
        recorded
    }

    pub(super) async fn answer_wrote(
        &self,
        grant: GrantId,
        (what, subject, digest): (String, String, Option<String>),
        compartments: Vec<Compartment>,
        moved_ms: Option<i64>,
        added: BTreeMap<Compartment, u64>,
    ) -> Result<Reply, Refusal> {
        self.recorded(|state, record| {
            let live = self.live(state, grant)?;
            describe(state, &live, record, &cut(&what, 64));
            record.subject = Some(cut(&subject, 1024));
            record.digest = digest.as_deref().map(|digest| cut(digest, 128));
            record.compartments = compartments.iter().map(ToString::to_string).collect();
            if !writes(live.action)
                || live.action == Action::RepoWrite && !compartments.iter().all(|part| live.compartments.contains(part))
                || !added.keys().all(|part| compartments.contains(part))
            {
                return Err(Refusal::NotFound);
            }
            // What it wrote under the keys of before would not be there.
            if live.repo.and_then(|id| state.repos.get(&id)).is_some_and(|repo| !is_of_now(repo, &live)) {
                return Err(Refusal::Later(MOMENT_S));
            }
            // Nobody's list begins with what is to come.
            record.added = added.clone();
            record.moved_ms = moved_ms.map(|moved| moved.min(record.time_ms));
            Ok(Reply::Done)
        })
        .await
    }

    pub(super) async fn answer_reject(&self, call: Call, reason: String, status: u16) -> Result<Reply, Refusal> {
        self.recorded(|_, record| {
            about(record, &call, "request");
            record.outcome = "malformed".to_owned();
            record.reason = format!("{status} {}", cut(&reason, 256));
            Ok(Reply::Done)
        })
        .await
    }

    pub(super) fn answer_ticket(&self, grant: GrantId, purpose: Purpose) -> Result<Reply, Refusal> {
        let live = self.live(&self.state.read(), grant)?;
        let needed = match purpose {
            Purpose::LfsUpload { .. } | Purpose::Xet => Action::RepoWrite,
            Purpose::LfsDownload { .. } => Action::RepoRead,
        };
        // A ticket makes no tickets; nor does a share, for a ticket names an object of any commit.
        if live.action != needed || live.purpose.is_some() || live.share.is_some() {
            return Err(Refusal::NotFound);
        }
        let end = now_ms() / 1000 + LIFE_S;
        let ticket = Ticket { token: live.token, repo: live.repo.ok_or(Refusal::NotFound)?, purpose, end };
        Ok(Reply::Ticket(ticket.sign(&self.keys.ticket), end))
    }

    /// Other keepers may have taken a right away; where they can't be asked in time, every grant is over.
    pub(super) async fn answer_renew(&self, grants: &[GrantId]) -> Result<Reply, Refusal> {
        let asked = async { self.follow.refresh().await.is_ok() && self.end_reviews().await.is_ok() };
        if !matches!(tokio::time::timeout(RENEW, asked).await, Ok(true)) {
            return Ok(Reply::Dead(grants.to_vec()));
        }
        let state = self.state.read();
        let over = |grant: &GrantId| match self.live(&state, *grant) {
            Ok(live) => !self.still_witnessed(&live),
            Err(_) => true,
        };
        Ok(Reply::Dead(grants.iter().copied().filter(over).collect()))
    }
}
