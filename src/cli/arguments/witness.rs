//! What may be typed about a witness.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// A witness of logs, on another machine than theirs.
#[derive(Args)]
pub struct Witness {
    /// Address and port to listen on, by https
    #[arg(long, required_unless_present_any = ["print_key", "forget"])]
    pub listen: Option<SocketAddr>,
    /// Its name in cosignatures, as witness.example.org/w1; from the first start on its key's
    #[arg(long)]
    pub name: Option<String>,
    /// File of its private key; made at the first start. Never beside a server's data
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Folder of what it remembers of each log; made with the key. Whoever rolls it back, or loses it, needs another key
    #[arg(long, value_name = "FOLDER")]
    pub state: PathBuf,
    /// The key of a log that it cosigns (NAME+ID+KEY, as `audit checkpoint --json` shows it); repeat for more: each replica writes one
    #[arg(long = "log", value_name = "KEY")]
    pub logs: Vec<String>,
    /// File with such keys, a line each
    #[arg(long = "logs", value_name = "FILE")]
    pub logs_file: Option<PathBuf>,
    /// File of its certificate for TLS, with those between it and a CA (PEM)
    #[arg(long, value_name = "FILE", required_unless_present_any = ["print_key", "forget"])]
    pub cert: Option<PathBuf>,
    /// File of the certificate's key (PEM)
    #[arg(long, value_name = "FILE", required_unless_present_any = ["print_key", "forget"])]
    pub tls_key: Option<PathBuf>,
    /// Print its verifier key, which servers and auditors are given, and end
    #[arg(long)]
    pub print_key: bool,
    /// Forget what it cosigned of this log, and end: after its server was restored from a backup, and you know why
    #[arg(long, value_name = "KEY", conflicts_with = "print_key")]
    pub forget: Option<String>,
}
