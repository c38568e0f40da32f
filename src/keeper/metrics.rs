//! The keeper's numbers since it started. They say how much, never who or what.

use std::sync::OnceLock;
use std::time::Instant;

use strongroom_protocol::Refusal;
use strongroom_protocol::metrics::{Counter, DURATIONS, GROUPS, Histogram, Text};

use crate::log::{LogError, Record};
use crate::server::now_ms;

/// Outcomes that have a line of their own.
const OUTCOMES: [&str; 7] = ["allowed", "denied", "malformed", "absent", "done", "cut", "other"];

static APPENDED: [Counter; OUTCOMES.len()] = [const { Counter::new() }; OUTCOMES.len()];
static LATE: Counter = Counter::new();
static FAILED: Counter = Counter::new();
static GROUP: Histogram<9> = Histogram::new(GROUPS);
static APPEND: Histogram<11> = Histogram::new(DURATIONS);
static OVER_BUDGET: Counter = Counter::new();
static LOGINS: Counter = Counter::new();
static STARTED_MS: OnceLock<i64> = OnceLock::new();

/// The process begins.
pub fn start() {
    STARTED_MS.get_or_init(now_ms);
}

/// A group is durable.
pub fn group<'a>(records: impl Iterator<Item = &'a Record>) {
    let mut size = 0;
    for record in records {
        let place = OUTCOMES.iter().position(|outcome| *outcome == record.outcome).unwrap_or(OUTCOMES.len() - 1);
        APPENDED[place].add(1);
        size += 1;
    }
    GROUP.observe(size);
}

/// An answer has waited for its record.
pub fn appended(since: Instant, result: Result<&u64, &LogError>) {
    APPEND.observe_time(since.elapsed());
    match result {
        Err(LogError::Late) => LATE.add(1),
        Err(LogError::Failed(_) | LogError::Fenced) => FAILED.add(1),
        // Decided again, or a conflict that the client hears of: the log is well.
        Ok(_) | Err(LogError::Stale | LogError::Taken | LogError::OverBudget(_)) => {}
    }
}

/// Answers that were withheld so far.
pub fn unwritten() -> u64 {
    FAILED.get() + LATE.get()
}

/// A decision is recorded and about to be released.
pub fn decided(refusal: Option<&Refusal>) {
    match refusal {
        Some(Refusal::OverBudget(..) | Refusal::ShareSpent) => OVER_BUDGET.add(1),
        Some(Refusal::Credential) => LOGINS.add(1),
        _ => {}
    }
}

/// All of it; what only the core knows is given.
pub fn text(log_size: u64, generation: u64, grants: usize, (age_s, conflicts): (u64, usize)) -> String {
    let mut text = Text::default();
    let counter = "counter";
    let name = "strongroom_log_records_total";
    text.family(name, counter, "Records appended to the audit log, by the outcome of what they are about.");
    for (outcome, held) in OUTCOMES.iter().zip(&APPENDED) {
        text.value(name, &[("outcome", outcome)], held.get());
    }
    let name = "strongroom_log_append_failures_total";
    text.family(name, counter, "Answers withheld because their record was not durable: the log failed, or was late.");
    text.value(name, &[("why", "failed")], FAILED.get());
    text.value(name, &[("why", "late")], LATE.get());
    text.histogram("strongroom_log_group_records", "Records of one durable transaction.", &GROUP, 1.0);
    text.histogram("strongroom_log_append_seconds", "How long answers waited for their record.", &APPEND, 1e6);
    text.single("strongroom_log_size", "gauge", "Records in the audit log.", log_size);
    let what = "Since the witness that was longest away cosigned the log; since the start, where it did not yet.";
    text.single("strongroom_witness_age_seconds", "gauge", what, age_s);
    let what = "Witnesses that have seen of the log what can't be.";
    text.single("strongroom_witness_conflicts", "gauge", what, conflicts);
    text.single("strongroom_policy_generation", "gauge", "Changes of policy so far.", generation);
    text.single("strongroom_grants_live", "gauge", "Grants that hold.", grants);
    text.single("strongroom_budget_refusals_total", counter, "Readings refused by a budget.", OVER_BUDGET.get());
    text.single("strongroom_failed_logins_total", counter, "Credentials that did not hold.", LOGINS.get());
    let started = *STARTED_MS.get_or_init(now_ms) as f64 / 1000.0;
    text.single("strongroom_keeper_start_time_seconds", "gauge", "When the keeper started, Unix time.", started);
    text.finish()
}
