//! `review`: what was given to whom, confirmed or taken.

use serde_json::json;
use strongroom_protocol::admin::AdminCommand;
use strongroom_protocol::{Given, ReviewCommand};

use super::people::place;
use super::send;
use crate::Failed;
use crate::arguments::{Listed, Review, Reviews};
use crate::client::Client;
use crate::show::show;

/// `strongroom review …`.
///
/// # Errors
/// The server's reason.
pub fn run(Reviews { verb, list: bare }: Reviews) -> Result<(), Failed> {
    let (command, remote) = match verb {
        None => return list(bare),
        Some(Review::List(listed)) => return list(listed),
        Some(Review::Confirm { ids, reason, remote }) => (ReviewCommand::Confirm { given: ids, reason }, remote),
        Some(Review::Revoke { ids, reason, remote }) => (ReviewCommand::Revoke { given: ids, reason }, remote),
        Some(Review::Start { place: at, kind, within, remote }) => {
            (ReviewCommand::Start { place: place(at, kind.kind), within_s: within.as_secs() }, remote)
        }
        Some(Review::Rounds { remote }) => (ReviewCommand::Rounds, remote),
        Some(Review::Show { id, remote }) => (ReviewCommand::Show { id }, remote),
    };
    send(&remote, "review", &AdminCommand::Review(command))
}

/// Page after page.
fn list(Listed { repo, kind, user, stale, remote }: Listed) -> Result<(), Failed> {
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
