//! Coverage: which granules of each object an actor took, a bit for each, and how many unique bytes of a compartment those are.
//! Nothing here knows a database or a clock.
//!
//! For each window there are two bitmaps: of the window that runs and of the one before it. Together they know all that was
//! taken in the length of a window, whenever one looks, and no more than twice that: who waits for a window to end gains nothing.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use strongroom_domain::Window;

use super::spent::{Step, number, seconds_left, step};

/// Bytes of the smallest granule, as a power of two: a chunk of the envelope, below which nothing opens.
const GRANULE_MIN: u8 = 16;
/// Granules of an object, at most: an object has a bitmap of 128 bytes.
const GRANULES_MAX: u64 = 1024;

/// The numbers of the windows of now, in the order of [`Window::ALL`].
pub type Numbers = [i64; 3];

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Bits {
    number: i64,
    now: Vec<u8>,
    before: Vec<u8>,
}

fn is_set(bits: &[u8], at: u64) -> bool {
    bits.get((at / 8) as usize).is_some_and(|byte| byte & (1 << (at % 8)) != 0)
}

fn set(bits: &mut Vec<u8>, at: u64) {
    let byte = (at / 8) as usize;
    if bits.len() <= byte {
        bits.resize(byte + 1, 0);
    }
    bits[byte] |= 1 << (at % 8);
}

/// Unique bytes that were added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grown {
    /// In this window.
    fresh: u64,
    /// In this one and the one before it together.
    both: u64,
}

/// What an actor took of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    size: u64,
    granule: u8,
    windows: [Bits; 3],
}

impl Taken {
    /// Nothing of an object of so many bytes.
    pub fn new(size: u64) -> Self {
        let fits = |granule: &u8| size.div_ceil(1 << granule) <= GRANULES_MAX;
        // 2^54 bytes each: 1024 of them are all that a number can say.
        let granule = (GRANULE_MIN..54).find(fits).unwrap_or(54);
        Self { size, granule, windows: Default::default() }
    }

    /// The same for an object that is said to be larger: what was taken is not known any more where it lay, and counts.
    pub fn of_size(self, size: u64) -> Self {
        if size > self.size { Self::new(size) } else { self }
    }

    /// Outward: a granule of which one byte is taken is taken.
    fn granules(&self, range: &Range<u64>) -> Range<u64> {
        let end = range.end.min(self.size);
        if range.start >= end { 0..0 } else { range.start >> self.granule..((end - 1) >> self.granule) + 1 }
    }

    fn bytes_of(&self, granule: u64) -> u64 {
        let start = granule << self.granule;
        (self.size - start).min(1 << self.granule)
    }

    /// Bytes of a range, outward.
    pub fn rounded(&self, range: &Range<u64>) -> u64 {
        self.granules(range).map(|granule| self.bytes_of(granule)).sum()
    }

    /// Whether a range is taken already in each window of now: taking it again changes nothing.
    pub fn holds(&self, now_ms: i64, range: &Range<u64>) -> bool {
        self.windows.iter().zip(Window::ALL).all(|(bits, window)| {
            step(bits.number, number(window, now_ms)) == Step::Same
                && self.granules(range).all(|granule| is_set(&bits.now, granule))
        })
    }

    /// Takes a range; what that adds in each window.
    pub fn take(&mut self, numbers: Numbers, range: &Range<u64>) -> [Grown; 3] {
        let mut grown = [Grown::default(); 3];
        for (at, number) in numbers.into_iter().enumerate() {
            let bits = &mut self.windows[at];
            match step(bits.number, number) {
                Step::Same => {}
                Step::Next => *bits = Bits { number, before: std::mem::take(&mut bits.now), now: Vec::new() },
                Step::Anew => *bits = Bits { number, ..Bits::default() },
            }
            for granule in self.granules(range) {
                let bytes = self.bytes_of(granule);
                let bits = &mut self.windows[at];
                if is_set(&bits.now, granule) {
                    continue;
                }
                set(&mut bits.now, granule);
                grown[at].fresh += bytes;
                if !is_set(&bits.before, granule) {
                    grown[at].both += bytes;
                }
            }
        }
        grown
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    number: i64,
    fresh: u64,
    both: u64,
    warned: bool,
}

/// What an actor took of a compartment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered([Sum; 3]);

impl Covered {
    /// Goes on to the windows of now; their numbers.
    pub fn roll(&mut self, now_ms: i64) -> Numbers {
        for (sum, window) in self.0.iter_mut().zip(Window::ALL) {
            let number = number(window, now_ms);
            match step(sum.number, number) {
                Step::Same => {}
                Step::Next => *sum = Sum { number, fresh: 0, both: sum.fresh, warned: false },
                Step::Anew => *sum = Sum { number, ..Sum::default() },
            }
        }
        [self.0[0].number, self.0[1].number, self.0[2].number]
    }

    /// Unique bytes in a window, with what would be added; `None` where nothing would.
    pub fn with(&self, window: Window, grown: &[Grown; 3]) -> Option<u64> {
        let at = window as usize;
        (grown[at].both > 0).then(|| self.0[at].both.saturating_add(grown[at].both))
    }

    /// Adds it.
    pub fn grow(&mut self, grown: &[Grown; 3]) {
        for (sum, grown) in self.0.iter_mut().zip(grown) {
            sum.fresh = sum.fresh.saturating_add(grown.fresh);
            sum.both = sum.both.saturating_add(grown.both);
        }
    }

    /// Whether that it crossed its soft line is news in this window.
    pub fn warn(&mut self, window: Window) -> bool {
        !std::mem::replace(&mut self.0[window as usize].warned, true)
    }

    /// Seconds after which so many bytes, of which `grown` are new, cross no line at `hard`; `None` where they always will.
    pub fn retry_s(&self, window: Window, grown: &[Grown; 3], asked: u64, hard: u64, now_ms: i64) -> Option<u64> {
        let at = window as usize;
        let sum = &self.0[at];
        if sum.fresh.saturating_add(grown[at].fresh) <= hard {
            Some(seconds_left(window, sum.number, now_ms))
        } else {
            (asked <= hard).then(|| seconds_left(window, sum.number.saturating_add(1), now_ms))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn take(taken: &mut Taken, covered: &mut Covered, now_ms: i64, range: Range<u64>) -> [u64; 3] {
        let numbers = covered.roll(now_ms);
        let grown = taken.take(numbers, &range);
        covered.grow(&grown);
        [0, 1, 2].map(|at| covered.0[at].both)
    }

    #[test]
    fn bytes_are_counted_once_outward_and_never_beyond_the_object() {
        let (mut taken, mut covered) = (Taken::new(100_000), Covered::default());
        assert_eq!(take(&mut taken, &mut covered, 0, 70_000..70_001), [100_000 - 65_536; 3]);
        assert_eq!(take(&mut taken, &mut covered, 0, 65_536..100_000), [100_000 - 65_536; 3]);
        assert_eq!(take(&mut taken, &mut covered, 0, 0..1), [100_000; 3]);
        assert_eq!(take(&mut taken, &mut covered, 0, 0..100_000), [100_000; 3]);
        assert_eq!(take(&mut taken, &mut covered, 0, 0..u64::MAX), [100_000; 3]);
        assert_eq!(take(&mut Taken::new(0), &mut covered, 0, 0..0), [100_000; 3]);
    }

    #[test]
    fn an_object_of_any_size_has_a_small_bitmap() {
        for size in [0, 1, 64 << 20, 10 << 30, 1 << 50, u64::MAX] {
            let mut taken = Taken::new(size);
            taken.take([1; 3], &(0..size));
            assert!(taken.windows.iter().all(|bits| bits.now.len() <= 128), "{size}");
            assert_eq!(taken.rounded(&(0..size)), size);
        }
    }

    #[test]
    fn what_was_taken_within_a_window_is_known_across_its_end_and_forgotten_after_the_next() {
        let hour = Window::Hour.ms();
        let (mut taken, mut covered) = (Taken::new(4 * MIB), Covered::default());
        take(&mut taken, &mut covered, hour - 1, 0..MIB);
        assert_eq!(take(&mut taken, &mut covered, hour, MIB..2 * MIB)[0], 2 * MIB, "a millisecond later, another hour");
        assert_eq!(
            take(&mut taken, &mut covered, 2 * hour, 0..1)[0],
            MIB + 65_536,
            "what was taken two hours ago is not"
        );
        assert_eq!(take(&mut taken, &mut covered, 9 * hour, 0..1)[0], 65_536);
        assert_eq!(take(&mut taken, &mut covered, 9 * hour, 0..1)[1..], [2 * MIB; 2], "in a day, each once");
    }

    #[test]
    fn a_clock_that_is_behind_counts_in_the_window_of_the_other_one() {
        let hour = Window::Hour.ms();
        let (mut taken, mut covered) = (Taken::new(4 * MIB), Covered::default());
        take(&mut taken, &mut covered, hour, 0..MIB);
        assert_eq!(take(&mut taken, &mut covered, hour - 1, MIB..2 * MIB)[0], 2 * MIB);
        assert!(taken.holds(hour, &(0..2 * MIB)) && !taken.holds(hour, &(0..2 * MIB + 1)));
        assert!(!taken.holds(2 * hour, &(0..MIB)), "it counts again in the next hour");
    }

    #[test]
    fn the_sum_is_that_of_all_objects_whenever_each_was_taken() {
        // Against a list of all that was taken, object by object and granule by granule.
        let hour = Window::Hour.ms();
        let (mut covered, mut objects) = (Covered::default(), [(); 5].map(|()| Taken::new(8 * 65_536)));
        let (mut list, mut seed) = (Vec::new(), 7_u64);
        for turn in 0..2000_i64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (object, granule) = ((seed >> 33) as usize % 5, (seed >> 40) % 8);
            let now = turn * hour / 7;
            let both = take(&mut objects[object], &mut covered, now, granule * 65_536..granule * 65_536 + 1)[0];
            list.push((now / hour, object, granule));
            let recent = list.iter().filter(|(number, ..)| now / hour - number <= 1);
            let unique: std::collections::BTreeSet<_> = recent.map(|(_, object, granule)| (object, granule)).collect();
            assert_eq!(both, unique.len() as u64 * 65_536, "turn {turn}");
        }
    }
}
