//! `user`, `role`, `token`, `lock`.

use strongroom_domain::{RepoKind, RepoName};
use strongroom_protocol::admin::{AdminCommand, LockSubject, PlaceName, Scope};

use super::send;
use crate::Failed;
use crate::arguments::{Line, Lock, RoleCommand, Subject, Token, User, Where};

/// `strongroom user …`.
///
/// # Errors
/// The server's reason.
pub fn user(user: User) -> Result<(), Failed> {
    match user {
        User::Create { name, remote } => send(&remote, "user", &AdminCommand::UserCreate { name }),
        User::List { remote } => send(&remote, "user", &AdminCommand::UserList),
        User::Show { name, remote } => send(&remote, "user", &AdminCommand::UserShow { name }),
        User::Recipient { name, recipient, remote } => {
            send(&remote, "user", &AdminCommand::UserRecipient { name, recipient })
        }
        User::Unclaim { name, remote } => send(&remote, "user", &AdminCommand::UserUnclaim { name }),
        User::Remove { name, remote } => send(&remote, "user", &AdminCommand::UserRemove { name }),
    }
}

pub(super) fn place(place: Where, kind: RepoKind) -> PlaceName {
    match (place.namespace, place.repo) {
        (Some(namespace), _) => PlaceName::Namespace(namespace),
        (None, Some(repo)) => PlaceName::Repo(kind, repo),
        (None, None) => PlaceName::System,
    }
}

/// `strongroom role …`.
///
/// # Errors
/// The server's reason.
pub fn role(role: RoleCommand) -> Result<(), Failed> {
    match role {
        RoleCommand::Grant { user, role, place: at, kind, remote } => {
            send(&remote, "role", &AdminCommand::RoleGrant { user, role, place: place(at, kind.kind) })
        }
        RoleCommand::Revoke { user, role, place: at, kind, remote } => {
            send(&remote, "role", &AdminCommand::RoleRevoke { user, role, place: place(at, kind.kind) })
        }
        RoleCommand::Allow(row) => line(row, true),
        RoleCommand::Deny(row) => line(row, false),
        RoleCommand::List { remote } => send(&remote, "role", &AdminCommand::RoleList),
    }
}

fn line(row: Line, allow: bool) -> Result<(), Failed> {
    let Line { user, action, compartment, place: at, kind, remove, remote } = row;
    let place = place(at, kind.kind);
    send(&remote, "role", &AdminCommand::RoleLine { user, action, compartment, place, allow, remove })
}

fn scope(words: &[String]) -> Result<Scope, Failed> {
    let mut scope = Scope::default();
    for word in words {
        let wrong = |error: &dyn std::fmt::Display| Failed(format!("--scope {word}: {error}"));
        match word.split_once(':') {
            Some(("namespace", name)) => scope.namespaces.push(name.to_owned()),
            Some(("repo", name)) => scope.repos.push(name.parse::<RepoName>().map_err(|error| wrong(&error))?),
            Some(("action", name)) => scope.actions.push(name.parse().map_err(|error| wrong(&error))?),
            Some(("compartment", name)) => scope.compartments.push(name.parse().map_err(|error| wrong(&error))?),
            _ => return Err(wrong(&"one of namespace:NS, repo:NS/NAME, action:ACTION, compartment:NAME")),
        }
    }
    Ok(scope)
}

/// `strongroom token …`.
///
/// # Errors
/// The server's reason.
pub fn token(token: Token) -> Result<(), Failed> {
    match token {
        Token::Create { user, name, scopes, expires, remote } => {
            let expires_s = expires.map(|expires| expires.as_secs());
            send(&remote, "token", &AdminCommand::TokenCreate { user, name, scope: scope(&scopes)?, expires_s })
        }
        Token::Claim { name, remote } => send(&remote, "token/claim", &AdminCommand::TokenClaim { name }),
        Token::List { user, remote } => send(&remote, "token", &AdminCommand::TokenList { user }),
        Token::Revoke { id, remote } => send(&remote, "token", &AdminCommand::TokenRevoke { id }),
    }
}

fn subject(subject: Subject, kind: RepoKind) -> LockSubject {
    match (subject.user, subject.token, subject.share, subject.partner, subject.repo) {
        (Some(user), ..) => LockSubject::User(user),
        (None, Some(token), ..) => LockSubject::Token(token),
        (None, None, Some(share), ..) => LockSubject::Share(share),
        (None, None, None, Some(partner), _) => LockSubject::Partner(partner),
        // The arguments name exactly one of the five.
        (None, None, None, None, repo) => LockSubject::Repo(kind, repo.expect("one subject")),
    }
}

/// `strongroom lock …`.
///
/// # Errors
/// The server's reason.
pub fn lock(lock: Lock) -> Result<(), Failed> {
    match lock {
        Lock::Add { subject: what, kind, reason, remote } => {
            send(&remote, "lock", &AdminCommand::LockAdd { subject: subject(what, kind.kind), reason })
        }
        Lock::Remove { subject: what, kind, remote } => {
            send(&remote, "lock", &AdminCommand::LockRemove { subject: subject(what, kind.kind) })
        }
        Lock::List { remote } => send(&remote, "lock", &AdminCommand::LockList),
    }
}
