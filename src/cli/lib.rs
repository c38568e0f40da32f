//! The command line: serve, init, and a verb for each thing that an operator or an analyst does.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 usage.

mod arguments;
mod backup;
mod certificates;
mod check;
mod client;
mod collector;
mod command;
mod config;
mod courier;
mod doctor;
mod init;
mod logs;
mod progress;
mod root;
mod rotate;
mod serve;
mod show;
mod witness;

use std::process::ExitCode;

use clap::Parser;

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    match command::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What a server says may be what somebody else wrote.
            eprintln!("strongroom: {}", show::inert_lines(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// What went wrong, in words for the one who typed the command.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// An error in its own words.
pub fn words(error: impl std::fmt::Display) -> Failed {
    Failed(error.to_string())
}

impl Failed {
    /// With what it was about.
    pub fn about(what: impl std::fmt::Display) -> impl FnOnce(&dyn std::fmt::Display) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}
