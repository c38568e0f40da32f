//! `traces`: what one gate remembers of its last requests.

use std::time::Duration;

use serde_json::Value;

use crate::Failed;
use crate::arguments::Remote;
use crate::client::Client;
use crate::show::{json_text, print};

/// Between two looks for what is new.
const PAUSE: Duration = Duration::from_secs(1);

/// `strongroom traces [--follow]`. Of several servers behind one balancer each has its own: name it by its own URL.
///
/// # Errors
/// The server's reason.
pub fn run(follow: bool, remote: &Remote) -> Result<(), Failed> {
    let client = Client::new(remote)?;
    let mut after = "0".to_owned();
    loop {
        let mut answer = client.send("GET", &format!("/api/strongroom/traces?after={after}"), &Value::Null)?;
        let text = answer.body_mut().read_to_string().map_err(|error| Failed(error.to_string()))?;
        let next = answer.headers().get("x-next-after").and_then(|next| next.to_str().ok());
        after = next.unwrap_or("0").to_owned();
        print(&json_text(&text));
        // This very request is one of the next.
        match (text.lines().count() < strongroom_gate::traces::PAGE_MAX, follow) {
            (true, false) => return Ok(()),
            (true, true) => std::thread::sleep(PAUSE),
            (false, _) => {}
        }
    }
}
