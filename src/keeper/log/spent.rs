//! Bytes and repositories that an actor asked for in this hour and this day. Nothing here knows a database or a clock.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use strongroom_domain::{Actor, Budget, Counted, Line, Lines, Window};

/// The windows in which bytes and repositories are counted.
const WINDOWS: [Window; 2] = [Window::Hour, Window::Day];

/// How a window that was counted stands to the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is the same one; or the clock is behind that of another keeper.
    Same,
    /// The next one began.
    Next,
    /// It is over for long; or it was of a clock that was wrong.
    Anew,
}

/// From the number that is stored to that of now.
pub(super) fn step(stored: i64, now: i64) -> Step {
    match now.saturating_sub(stored) {
        0 | -1 => Step::Same,
        1 => Step::Next,
        _ => Step::Anew,
    }
}

/// The number of the window that a time, Unix milliseconds, is in.
pub(super) fn number(window: Window, now_ms: i64) -> i64 {
    now_ms.div_euclid(window.ms())
}

/// Seconds until the window of this number ends, at least one.
pub(super) fn seconds_left(window: Window, number: i64, now_ms: i64) -> u64 {
    let left = number.saturating_add(1).saturating_mul(window.ms()).saturating_sub(now_ms);
    u64::try_from(left).unwrap_or(0).div_ceil(1000).max(1)
}

/// A hard line that would be crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossed {
    /// Which.
    pub budget: Budget,
    /// Seconds until there is room for the same again; `None` where there will never be.
    pub retry_s: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    number: i64,
    bytes: u64,
    repos: BTreeSet<u64>,
    warned_bytes: bool,
    warned_repos: bool,
}

/// What an actor used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent([Counts; 2]);

impl Spent {
    /// Goes on to the windows of now.
    pub fn roll(&mut self, now_ms: i64) {
        for (counts, window) in self.0.iter_mut().zip(WINDOWS) {
            let number = number(window, now_ms);
            if step(counts.number, number) != Step::Same {
                *counts = Counts { number, ..Counts::default() };
            }
        }
    }

    /// The hard line that so many more bytes of a repository would cross. After [`Spent::roll`].
    pub fn over(&self, of: Actor, lines: &Lines, now_ms: i64, bytes: u64, repo: Option<u64>) -> Option<Crossed> {
        for (at, within) in WINDOWS.into_iter().enumerate() {
            let counts = &self.0[at];
            let crossed = |what, fits: bool| {
                let retry_s = fits.then(|| seconds_left(within, counts.number, now_ms));
                Some(Crossed { budget: Budget { of, what, within }, retry_s })
            };
            if let Some(hard) = lines.bytes[at].hard
                && counts.bytes.saturating_add(bytes) > hard
                && bytes > 0
            {
                return crossed(Counted::Bytes, bytes <= hard);
            }
            if let Some(hard) = lines.repositories[at].hard
                && repo.is_some_and(|repo| !counts.repos.contains(&repo))
                && counts.repos.len() as u64 >= hard
            {
                return crossed(Counted::Repositories, hard > 0);
            }
        }
        None
    }

    /// Counts them; the soft lines that are crossed for the first time in their window.
    pub fn add(&mut self, of: Actor, lines: &Lines, bytes: u64, repo: Option<u64>, warned: &mut Vec<Budget>) {
        for (at, within) in WINDOWS.into_iter().enumerate() {
            let counts = &mut self.0[at];
            counts.bytes = counts.bytes.saturating_add(bytes);
            // Without a line their number has no bound.
            if lines.repositories[at] != Line::default() {
                counts.repos.extend(repo);
            }
            let mut warn = |what, line: Line, now: u64, already: &mut bool| {
                if line.soft.is_some_and(|soft| now > soft) && !std::mem::replace(already, true) {
                    warned.push(Budget { of, what, within });
                }
            };
            warn(Counted::Bytes, lines.bytes[at], counts.bytes, &mut counts.warned_bytes);
            let repos = counts.repos.len() as u64;
            warn(Counted::Repositories, lines.repositories[at], repos, &mut counts.warned_repos);
        }
    }
}
