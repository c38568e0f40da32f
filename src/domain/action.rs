//! Actions that policy decides on, and the roles that hold them: closed lists that policy and tests iterate.

use std::fmt;
use std::str::FromStr;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, in the order of the policy file.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in policy files, the log and the API.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl FromStr for $name {
            type Err = &'static str;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|item| item.word() == word).ok_or(concat!("no such ", $what))
            }
        }
    };
}

words!(
    /// What a request wants to do; every route names one.
    Action, "action", {
        /// See names, sizes, digests, and read bytes.
        RepoRead = "repo.read",
        /// See that repositories exist, in lists.
        RepoList = "repo.list",
        /// Commit, upload, branch, tag.
        RepoWrite = "repo.write",
        /// Make a repository in a namespace.
        RepoCreate = "repo.create",
        /// Change settings, move, squash.
        RepoManage = "repo.manage",
        /// Delete a repository and shred its secret.
        RepoDelete = "repo.delete",
        /// Share some of a repository with a partner, and end it.
        ShareManage = "share.manage",
        /// Know that a repository is there, and ask for access to it. No role has it: it is disclosed to somebody.
        RepoAsk = "repo.ask",
        /// Ask who one is.
        Whoami = "whoami",
        /// Create and remove principals.
        UserManage = "user.manage",
        /// Give and take roles.
        RoleManage = "role.manage",
        /// Create, list and revoke tokens.
        TokenManage = "token.manage",
        /// Stop a principal, a token or a repository.
        LockManage = "lock.manage",
        /// Search, verify and prove the audit log.
        AuditRead = "audit.read",
        /// Read the alerts.
        AlertRead = "alert.read",
        /// Plant decoys, list and remove them.
        DecoyManage = "decoy.manage",
        /// Read the server's numbers; no name is among them.
        MetricsRead = "metrics.read",
        /// Give a sealed server a share of its root key; a share is its own credential, so no role has it.
        SystemUnseal = "system.unseal",
        /// Seal the server, or a repository: no key of it stays in any memory.
        SystemSeal = "system.seal",
        /// Say how much a namespace may store.
        QuotaManage = "quota.manage",
        /// Make partner organisations, say who is one of their people and who stands for them, and end them.
        PartnerManage = "partner.manage",
        /// Look through what was given at a place, confirm it or take it.
        ReviewManage = "review.manage",
        /// Make a new root key.
        KeyRotate = "key.rotate",
        /// Break glass: take out an object with its identity.
        KeyRecover = "key.recover",
    }
);

words!(
    /// A named set of actions that a principal holds in a namespace or a repository.
    Role, "role", {
        /// Reads all but logs.
        Reader = "reader",
        /// Reads and commits.
        Writer = "writer",
        /// Also settings.
        Maintainer = "maintainer",
        /// Also creates, moves and deletes repositories.
        Owner = "owner",
        /// Reads exactly what a share names.
        Partner = "partner",
        /// Reads the log, no content.
        Auditor = "auditor",
        /// Locks and seals, no content.
        Security = "security",
        /// Reads the server's numbers and nothing else.
        Monitor = "monitor",
        /// People and settings, no content.
        Admin = "admin",
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_action_and_role_has_a_word_of_its_own() {
        for action in Action::ALL {
            assert_eq!(action.word().parse(), Ok(*action));
        }
        let words: BTreeSet<_> = Role::ALL.iter().map(|role| role.word()).collect();
        assert_eq!(words.len(), Role::ALL.len());
        assert!("repo.reads".parse::<Action>().is_err() && "root".parse::<Role>().is_err());
    }
}
