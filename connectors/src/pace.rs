//! The pace of a generator: how many of its records are due by the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// So many records per second from a point in time on.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Records per second.
    rate: f64,
    /// When the first record is due, in microseconds since 1970. All readers of a source share it.
    start: Arc<AtomicI64>,
    /// Whether that was said, so that nothing moves it.
    fixed: bool,
}

impl Pace {
    /// A pace that starts at `start` (microseconds since 1970) or now.
    pub fn new(rate: f64, start: Option<i64>) -> Pace {
        Pace { rate, start: Arc::new(AtomicI64::new(start.unwrap_or_else(now))), fixed: start.is_some() }
    }

    /// How many records are due.
    pub fn due(&self) -> u64 {
        (self.elapsed().max(0) as f64 * 1e-6 * self.rate) as u64
    }

    /// The first `records` are due at once, and those after them in their pace from now on: they were read before.
    pub fn resume(&self, records: u64) {
        if !self.fixed {
            let spent = (records as f64 / self.rate * 1e6) as i64;
            self.start.fetch_min(now().saturating_sub(spent), Ordering::Relaxed);
        }
    }

    fn elapsed(&self) -> i64 {
        now().saturating_sub(self.start.load(Ordering::Relaxed))
    }

    /// How long it takes until record `number`, counted from 0, is due; at most as long as a poll may take.
    pub fn wait_for(&self, number: u64) -> Duration {
        const LONGEST: f64 = 0.1;
        const SHORTEST: f64 = 0.001;
        let at = (number + 1) as f64 / self.rate;
        let elapsed = self.elapsed() as f64 * 1e-6;
        Duration::from_secs_f64((at - elapsed).clamp(SHORTEST, LONGEST))
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_follows_the_clock() {
        let started = Pace::new(1000.0, Some(now() - 2_000_000));
        assert!((2000..2500).contains(&started.due()));
        assert_eq!(Pace::new(1000.0, Some(now() + 60_000_000)).due(), 0);
        assert_eq!(Pace::new(1.0, None).wait_for(100), Duration::from_millis(100));
        let resumed = Pace::new(10.0, None);
        resumed.resume(1_000);
        assert!((1000..1005).contains(&resumed.due()));
        let fixed = Pace::new(10.0, Some(now()));
        fixed.resume(1_000);
        assert!(fixed.due() < 5);
    }
}
