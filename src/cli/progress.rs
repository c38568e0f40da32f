//! How far a long command is, on standard error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines.
const EVERY: Duration = Duration::from_millis(500);

/// Shows how far it is, at most twice a second. A terminal sees one line that changes; a file gets a line each time.
pub struct Progress {
    shown: bool,
    terminal: bool,
    last: Option<Instant>,
}

impl Progress {
    /// On a terminal, or where it was asked for.
    pub fn new(asked: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { shown: asked || terminal, terminal, last: None }
    }

    /// Shows a line, unless one was shown just now.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.shown && self.last.is_none_or(|last| last.elapsed() >= EVERY) {
            self.last = Some(Instant::now());
            self.write(&line());
        }
    }

    /// Shows the last line.
    pub fn end(&mut self, line: impl FnOnce() -> String) {
        if self.shown {
            self.write(&line());
            if self.terminal {
                // Whoever does not read what is shown misses nothing.
                let _ = writeln!(std::io::stderr());
            }
        }
    }

    fn write(&self, line: &str) {
        let mut out = std::io::stderr();
        let _ = if self.terminal { write!(out, "\r{line}\x1b[K") } else { writeln!(out, "{line}") };
    }
}
