//! `review`: what was given to whom, confirmed or taken.

use serde_json::json;
use strongroom_protocol::admin::AdminCommand;
use strongroom_protocol::{Given, ReviewCommand};

use super::people::place;
use super::send;
use crate::Failed;
use crate::arguments::Review;
use crate::client::Client;
use crate::show::show;

/// `strongroom review …`.
///
/// # Errors
/// The server's reason.
pub fn run(review: Review) -> Result<(), Failed> {
    let (command, remote) = match review {
        Review::List { repo, kind, user, stale, remote } => {
            let (repo, stale_s) = (repo.map(|repo| (kind.kind, repo)), stale.map(|stale| stale.as_secs()));
            let client = Client::new(&remote)?;
            let (mut rows, mut after) = (Vec::new(), None::<Given>);
            loop {
                let command = ReviewCommand::List { repo: repo.clone(), user: user.clone(), stale_s, after };
                let page = client.admin("review", &AdminCommand::Review(command))?;
                rows.extend(page["given"].as_array().into_iter().flatten().cloned());
                let Some(next) = page["next"].as_str() else {
                    show(&json!({"given": rows, "partners": page["partners"]}), remote.json);
                    return Ok(());
                };
                after = Some(next.parse().map_err(|error| Failed(format!("the server's answer: {error}")))?);
            }
        }
        Review::Confirm { ids, reason, remote } => (ReviewCommand::Confirm { given: ids, reason }, remote),
        Review::Revoke { ids, reason, remote } => (ReviewCommand::Revoke { given: ids, reason }, remote),
        Review::Start { place: at, kind, within, remote } => {
            (ReviewCommand::Start { place: place(at, kind.kind), within_s: within.as_secs() }, remote)
        }
        Review::Rounds { remote } => (ReviewCommand::Rounds, remote),
        Review::Show { id, remote } => (ReviewCommand::Show { id }, remote),
    };
    send(&remote, "review", &AdminCommand::Review(command))
}
