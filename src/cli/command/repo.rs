//! `repo`: through the same API as stock clients.

use std::io::Write;

use serde_json::{Value, json};

use crate::Failed;
use crate::arguments::Repo;
use crate::client::Client;
use crate::show::show;

/// `strongroom repo …`.
///
/// # Errors
/// The server's reason.
pub fn run(repo: Repo) -> Result<(), Failed> {
    match repo {
        Repo::Create { name, kind, remote } => {
            let body = json!({"name": name.name(), "organization": name.namespace(), "type": kind.kind.word()});
            show(&Client::new(&remote)?.json("POST", "/api/repos/create", &body)?, remote.json);
        }
        Repo::List { kind, remote } => {
            let rows = Client::new(&remote)?.json("GET", &format!("/api/{}s", kind.kind), &Value::Null)?;
            let short = |row: &Value| json!({"id": row["id"], "sha": row["sha"], "lastModified": row["lastModified"]});
            let rows: Vec<Value> = rows.as_array().into_iter().flatten().map(short).collect();
            show(&json!({"repos": rows}), remote.json);
        }
        Repo::Show { name, kind, remote } => {
            let path = format!("/api/{}s/{name}?blobs=true", kind.kind);
            show(&Client::new(&remote)?.json("GET", &path, &Value::Null)?, remote.json);
        }
        Repo::Move { from, to, kind, remote } => {
            let body = json!({"fromRepo": from.as_str(), "toRepo": to.as_str(), "type": kind.kind.word()});
            Client::new(&remote)?.json("POST", "/api/repos/move", &body)?;
            show(&json!({"moved": from.as_str(), "to": to.as_str()}), remote.json);
        }
        Repo::Remove { name, kind, yes, remote } => {
            if !yes && !confirmed(&format!("Delete {name}? Its secret is shredded; no backup of the data opens again"))
            {
                return Err(Failed("nothing was deleted".to_owned()));
            }
            let body = json!({"name": name.name(), "organization": name.namespace(), "type": kind.kind.word()});
            Client::new(&remote)?.json("DELETE", "/api/repos/delete", &body)?;
            show(&json!({"removed": name.as_str()}), remote.json);
        }
    }
    Ok(())
}

/// Whether the one at the terminal says yes.
pub fn confirmed(question: &str) -> bool {
    eprint!("{question} [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && answer.trim().eq_ignore_ascii_case("y")
}
