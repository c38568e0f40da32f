//! What a process that meets the outside may still do once it serves: read and write its own folders, and nothing else.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// Where the process may still connect to.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    /// TCP ports.
    pub ports: Vec<u16>,
    /// Whether hosts are named and must be looked up.
    pub names: bool,
    /// Certificates that must be read for each connection.
    pub certificates: Vec<PathBuf>,
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
        open.push("listen".to_owned());
    }
    let elsewhere = SocketAddr::from((Ipv4Addr::LOCALHOST, ELSEWHERE));
    let connected = TcpStream::connect_timeout(&elsewhere, Duration::from_secs(1));
    if connected.map_or_else(|error| error.kind() != std::io::ErrorKind::PermissionDenied, |_| true) {
        open.push("connect elsewhere".to_owned());
    }
    open
}

/// A port that nothing is configured to use (tcpmux, RFC 1078).
const ELSEWHERE: u16 = 1;

/// Closes the doors, but to what is in these folders. Irrevocable, for this thread and all that it starts: call it before there is any other.
///
/// # Errors
/// What the kernel refused.
#[cfg(not(target_os = "linux"))]
pub fn enter(_: &[PathBuf], _: &Outgoing) -> Result<Sandbox, String> {
    Ok(Sandbox::None)
}

#[cfg(target_os = "linux")]
pub use linux::enter;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreatedAttr, RulesetStatus,
    };
    use seccompiler::SeccompCmpArgLen::Dword;
    use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
    use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, apply_filter};

    use super::{Outgoing, Sandbox};

    /// What the C library reads to look up a host's name.
    const RESOLVER: [&str; 5] =
        ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"];

    /// See [`super::check`] for what must fail afterwards.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn enter(folders: &[PathBuf], outgoing: &Outgoing) -> Result<Sandbox, String> {
        let landlock = landlock(folders, outgoing).map_err(|error| format!("Landlock: {error}"))?;
        let filter = filter(outgoing).map_err(|error| format!("seccomp: {error}"))?;
        apply_filter(&filter).map_err(|error| format!("seccomp: {error}"))?;
        Ok(if landlock { Sandbox::Full } else { Sandbox::NoLandlock })
    }

    fn landlock(folders: &[PathBuf], outgoing: &Outgoing) -> Result<bool, landlock::RulesetError> {
        let all = AccessFs::from_all(ABI::V4);
        let net = AccessNet::from_all(ABI::V4);
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        let mut ruleset = ruleset.handle_access(all)?.handle_access(net)?.create()?;
        for port in &outgoing.ports {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
        let names = RESOLVER.iter().map(Path::new).filter(|_| outgoing.names);
        for file in outgoing.certificates.iter().map(AsRef::as_ref).chain(names) {
            if let Ok(file) = PathFd::new(file) {
                ruleset = ruleset.add_rule(PathBeneath::new(file, AccessFs::ReadFile))?;
            }
        }
        for folder in folders {
            if let Ok(folder) = PathFd::new(folder) {
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

    /// System calls that none of them makes once it serves: to run something, to look into another process, to open a socket, to
    /// change what it is.
    fn filter(outgoing: &Outgoing) -> Result<BpfProgram, seccompiler::Error> {
        let refused = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_bind,
            libc::SYS_listen,
            // Their requests are not seen by this filter.
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
            libc::SYS_open_by_handle_at,
            libc::SYS_chroot,
            libc::SYS_pivot_root,
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
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            refused.into_iter().map(|number| (number, Vec::new())).collect();
        if outgoing.ports.is_empty() {
            rules.extend([(libc::SYS_socket, Vec::new()), (libc::SYS_connect, Vec::new())]);
        } else {
            rules.insert(libc::SYS_socket, sockets(outgoing)?);
        }
        let eperm = 1;
        let arch = std::env::consts::ARCH.try_into()?;
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(eperm), arch)?;
        Ok(filter.try_into()?)
    }

    /// The sockets that are refused to a process that may connect: of any family but the internet's, and of any type but
    /// TCP, or UDP where names are looked up. Where TCP may go is Landlock's.
    fn sockets(outgoing: &Outgoing) -> Result<Vec<SeccompRule>, seccompiler::Error> {
        let number = |value: libc::c_int| u64::from(value.cast_unsigned());
        let (families, types) =
            ([libc::AF_INET, libc::AF_INET6], [libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET]);
        let other = families.map(|family| SeccompCondition::new(0, Dword, Ne, number(family)));
        let mut rules = vec![SeccompRule::new(other.into_iter().collect::<Result<_, _>>()?)?];
        for kind in types.into_iter().filter(|kind| !outgoing.names || *kind != libc::SOCK_DGRAM) {
            // The low four bits; above them are flags (socket(2)).
            let kind = SeccompCondition::new(1, Dword, MaskedEq(0xf), number(kind))?;
            rules.push(SeccompRule::new(vec![kind])?);
        }
        // Any protocol but the type's own: MPTCP and the like are not seen by Landlock.
        for protocol in [libc::IPPROTO_MPTCP, libc::IPPROTO_SCTP, libc::IPPROTO_DCCP] {
            rules.push(SeccompRule::new(vec![SeccompCondition::new(2, Dword, Eq, number(protocol))?])?);
        }
        Ok(rules)
    }
}
