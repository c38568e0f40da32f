//! What the gate's process may still do once it serves: read and write its two stores, and nothing else.

use std::path::Path;

/// What is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// Landlock and seccomp.
    Full,
    /// Seccomp alone: the kernel has no Landlock.
    NoLandlock,
    /// Nothing: not Linux.
    None,
}

/// What of the outside the process could still reach, by name; empty for a sandbox that holds.
pub fn check(data_dir: &Path, root_key: &Path) -> Vec<String> {
    let keeper = data_dir.join("keeper").join("keeper.db");
    let mut open: Vec<String> = [keeper.as_path(), root_key, Path::new("/etc/passwd")]
        .into_iter()
        .filter(|path| std::fs::File::open(path).is_ok())
        .map(|path| format!("open {}", path.display()))
        .collect();
    if std::process::Command::new("/bin/true").spawn().is_ok() {
        open.push("run /bin/true".to_owned());
    }
    if std::net::TcpListener::bind("127.0.0.1:0").is_ok() {
        open.push("open a socket".to_owned());
    }
    open
}

/// Closes the doors. Irrevocable, for this thread and all that it starts: call it before there is any other.
///
/// # Errors
/// What the kernel refused.
#[cfg(not(target_os = "linux"))]
pub fn enter(_: &Path) -> Result<Sandbox, String> {
    Ok(Sandbox::None)
}

#[cfg(target_os = "linux")]
pub use linux::enter;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::path::Path;

    use landlock::{
        ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
        RulesetStatus,
    };
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    use super::Sandbox;

    /// See [`super::check`] for what must fail afterwards.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn enter(data_dir: &Path) -> Result<Sandbox, String> {
        let landlock = landlock(data_dir).map_err(|error| format!("Landlock: {error}"))?;
        let filter = filter().map_err(|error| format!("seccomp: {error}"))?;
        apply_filter(&filter).map_err(|error| format!("seccomp: {error}"))?;
        Ok(if landlock { Sandbox::Full } else { Sandbox::NoLandlock })
    }

    fn landlock(data_dir: &Path) -> Result<bool, landlock::RulesetError> {
        let all = AccessFs::from_all(ABI::V4);
        let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(all)?.create()?;
        for folder in ["objects", "catalog"] {
            if let Ok(folder) = PathFd::new(data_dir.join(folder)) {
                ruleset = ruleset.add_rule(PathBeneath::new(folder, all))?;
            }
        }
        // Randomness, and SQLite's temporary files where it needs one.
        if let Ok(random) = PathFd::new("/dev/urandom") {
            ruleset = ruleset.add_rule(PathBeneath::new(random, AccessFs::ReadFile))?;
        }
        let status = ruleset.restrict_self()?;
        Ok(status.ruleset != RulesetStatus::NotEnforced)
    }

    /// System calls that the gate never makes: to run something, to look into another process, to open a socket, to
    /// change what it is.
    fn filter() -> Result<BpfProgram, seccompiler::Error> {
        let refused = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_kexec_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_userfaultfd,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_pidfd_getfd,
        ];
        let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> =
            refused.into_iter().map(|number| (number, Vec::new())).collect();
        let eperm = 1;
        let arch = std::env::consts::ARCH.try_into()?;
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(eperm), arch)?;
        Ok(filter.try_into()?)
    }
}
