//! Numbers of a process, and their text: Prometheus' exposition format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>). Written here because it is counters and text: the
//! crates for it bring registries, locks and label sets, in which a name could come to stand. A label's value here is of a
//! closed list: it is `&'static str`, or made of the route table.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// From zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of durations, in microseconds: from a fast decision to a client's patience.
pub const DURATIONS: [u64; 11] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];
/// Upper bounds of a group's records.
pub const GROUPS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// How many observations were at most each of `N` bounds.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: [u64; N],
    buckets: [AtomicU64; N],
    count: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// Empty; the bounds ascend.
    pub const fn new(bounds: [u64; N]) -> Self {
        Self { bounds, buckets: [const { AtomicU64::new(0) }; N], count: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// Adds one.
    pub fn observe(&self, value: u64) {
        if let Some(place) = self.bounds.iter().position(|bound| value <= *bound) {
            self.buckets[place].fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds one, in microseconds.
    pub fn observe_time(&self, took: Duration) {
        self.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

/// The text of one process's numbers.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Begins a family: its values follow. `kind` is `counter`, `gauge` or `histogram`.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail; here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A value of the family.
    pub fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// A family of one value.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.value(name, &[], value);
    }

    /// A family of one histogram; what was observed is divided by `unit` (1 for counts, 1e6 for microseconds as seconds).
    pub fn histogram<const N: usize>(&mut self, name: &str, help: &str, held: &Histogram<N>, unit: f64) {
        self.family(name, "histogram", help);
        // First: what is observed meanwhile is in the buckets below and not in here, never the other way round.
        let count = held.count.load(Ordering::Relaxed);
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (bound, held) in held.bounds.iter().zip(&held.buckets) {
            below = (below + held.load(Ordering::Relaxed)).min(count);
            self.value(&bucket, &[("le", &(*bound as f64 / unit).to_string())], below);
        }
        self.value(&bucket, &[("le", "+Inf")], count);
        self.value(&format!("{name}_sum"), &[], held.sum.load(Ordering::Relaxed) as f64 / unit);
        self.value(&format!("{name}_count"), &[], count);
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_at_most_its_bound() {
        let held = Histogram::new([1, 4]);
        [1, 2, 9].into_iter().for_each(|value| held.observe(value));
        let mut text = Text::default();
        text.histogram("x", "What.", &held, 1.0);
        let expected = "# HELP x What.\n# TYPE x histogram\nx_bucket{le=\"1\"} 1\nx_bucket{le=\"4\"} 2\n\
                        x_bucket{le=\"+Inf\"} 3\nx_sum 12\nx_count 3\n";
        assert_eq!(text.finish(), expected);
    }
}
