//! The pace of a generator: how many of its records are due by the clock.

use std::time::{Duration, SystemTime};

/// So many records per second from a point in time on.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Records per second.
    rate: f64,
    /// When the first record is due, in microseconds since 1970.
    start: i64,
}

impl Pace {
    /// A pace that starts at `start` (microseconds since 1970) or now.
    pub fn new(rate: f64, start: Option<i64>) -> Pace {
        Pace { rate, start: start.unwrap_or_else(now) }
    }

    /// How many records are due.
    pub fn due(&self) -> u64 {
        let elapsed = now().saturating_sub(self.start).max(0);
        (elapsed as f64 * 1e-6 * self.rate) as u64
    }

    /// How long it takes until record `number`, counted from 0, is due; at most as long as a poll may take.
    pub fn wait_for(&self, number: u64) -> Duration {
        const LONGEST: f64 = 0.1;
        const SHORTEST: f64 = 0.001;
        let at = (number + 1) as f64 / self.rate;
        let elapsed = now().saturating_sub(self.start) as f64 * 1e-6;
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
    }
}
