//! A keeper of a test's own, and gates that speak to it.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use strongroom_domain::{Action, RepoKind};
use strongroom_envelope::Identity;
use strongroom_keeper::root::RootSource;
use strongroom_keeper::{Authority, Keeper as Trusted, Settings, create, serve};
use strongroom_protocol::{Call, Credential, Grant, Keeper, SecretText, Target};
use tokio::net::UnixStream;

/// A keeper with one principal, who administers.
pub struct House {
    /// It.
    pub keeper: Arc<Trusted>,
    /// Of the principal.
    pub token: SecretText,
    folder: PathBuf,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A fresh one.
pub async fn house(name: &str) -> House {
    let folder = std::env::temp_dir().join(format!("strongroom-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("keeper")).expect("a folder");
    let settings = Settings {
        data_dir: folder.clone(),
        database: None,
        root: RootSource::File(folder.join("root.key")),
        origin: "test".to_owned(),
        recovery: Vec::new(),
        next_root: None,
        token_life_max_s: 3600,
        share_life_max_s: 3600,
        recertify_max_s: 3600,
        model: include_str!("../../../../policies/model.conf").to_owned(),
        roles: include_str!("../../../../policies/roles.csv").to_owned(),
        dual_control: include_str!("../../../../policies/dual-control.toml").to_owned(),
        budgets: include_str!("../../../../policies/budgets.toml").to_owned(),
        alerts: include_str!("../../../../policies/alerts.toml").to_owned(),
        witness: include_str!("../../../../policies/witness.toml").to_owned(),
        witnesses: Vec::new(),
    };
    let authority = Authority { certificate: String::new(), key_sealed: Vec::new() };
    let root = Identity::generate();
    settings.root.create(&root, None).expect("a root key");
    let (_, token) = create(settings.clone(), root, "admin", &authority).await.expect("a fresh keeper");
    let keeper = Trusted::start(settings).await.expect("the same keeper");
    House { keeper, token, folder }
}

impl House {
    pub fn socket(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        tokio::spawn(serve(self.keeper.clone(), theirs));
        ours
    }

    pub async fn gate(&self) -> Keeper {
        let gate = Keeper::new(self.socket());
        gate.hello(Action::ALL.to_vec()).await.expect("a greeting");
        gate
    }

    pub fn credential(&self) -> Option<Credential> {
        Some(Credential::Token(self.token.clone()))
    }

    pub async fn repo(&self, gate: &Keeper, name: &str) -> Grant {
        let made = gate.create_repo(call(), self.credential(), RepoKind::Model, None, name.to_owned());
        made.await.expect("a repository")
    }

    pub async fn grant(&self, gate: &Keeper, action: Action, name: &str) -> Grant {
        let name = format!("admin/{name}").parse().expect("a name");
        let target = Target::Repo { kind: RepoKind::Model, name, revision: None, path: None };
        gate.authorize(call(), self.credential(), action, target).await.expect("a grant")
    }
}

/// From nowhere.
pub fn call() -> Call {
    Call { request_id: "test".to_owned(), address: Ipv4Addr::LOCALHOST.into(), route: "GET /test".to_owned() }
}
