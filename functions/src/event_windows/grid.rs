//! Where windows start and end: a grid of equal steps on civil time, that of a zone or that of UTC.

use crate::temporal::{local_of, moment_of, out_of_range};
use arrow::array::timezone::Tz;
use chrono::{DateTime, Utc};
use millrace_types::Result;

/// How windows lie beside one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// One after the other.
    Tumble,
    /// Of one size, each a slide after the one before.
    Hop,
    /// As tumbling ones, each with all of its beginnings of whole steps.
    Cumulate,
}

/// The windows of a call: everything but the time that they are asked for. Lengths are microseconds.
///
/// ```text
///            offset         step                              step = size of Tumble, slide of Hop, step of Cumulate
///   epoch ------>|-----------|-----------|-----------|
///                [   hop of size 2 steps )
///                            [                       )
/// ```
#[derive(Clone, Debug)]
pub struct EventWindow {
    pub shape: Shape,
    pub size: i64,
    pub step: i64,
    pub offset: i64,
    /// The zone to whose civil time windows are aligned; `None`: UTC.
    pub zone: Option<Tz>,
}

impl PartialEq for EventWindow {
    fn eq(&self, other: &EventWindow) -> bool {
        let lengths = |window: &EventWindow| (window.shape, window.size, window.step, window.offset);
        // Zones have no equality of their own, but a name.
        let zone = |window: &EventWindow| window.zone.map(|zone| format!("{zone:?}"));
        lengths(self) == lengths(other) && zone(self) == zone(other)
    }
}

impl EventWindow {
    /// Calls `f` with start and end of every window that holds a time, the earlier ones first.
    ///
    /// # Errors
    /// `22008` for times without windows: infinite ones, and those at the ends of what a timestamp holds.
    pub fn each(&self, time: i64, f: &mut impl FnMut(i64, i64)) -> Result<()> {
        match self.shape {
            Shape::Tumble => {
                let (start, end) = self.tumbling(time)?;
                f(start, end);
            }
            Shape::Hop => {
                let last = self.floor(time, self.step)?;
                let mut first = last;
                while self.moment(sum(first - self.step, self.size)?)? > time {
                    first -= self.step;
                }
                while first <= last {
                    f(self.moment(first)?, self.moment(sum(first, self.size)?)?);
                    first += self.step;
                }
            }
            Shape::Cumulate => {
                let start = self.floor(time, self.size)?;
                let moment = self.moment(start)?;
                // Without a zone all ends before the time are passed over at once.
                let passed = if self.zone.is_none() { (time - start) / self.step } else { 0 };
                for step in passed + 1..=self.size / self.step {
                    let end = self.moment(sum(start, step * self.step)?)?;
                    if end > time {
                        f(moment, end);
                    }
                }
            }
        }
        Ok(())
    }

    /// Start and end of the one window of the whole size, from the grid of that size, that holds a time.
    pub fn tumbling(&self, time: i64) -> Result<(i64, i64)> {
        let start = self.floor(time, self.size)?;
        Ok((self.moment(start)?, self.moment(sum(start, self.size)?)?))
    }

    /// The last line of the grid of a step that is not after a time, in civil time.
    fn floor(&self, time: i64, step: i64) -> Result<i64> {
        if matches!(time, i64::MIN | i64::MAX) {
            return Err(out_of_range("timestamp"));
        }
        let local = match &self.zone {
            None => time,
            Some(zone) => local_of(zone, time)?,
        };
        let from_origin = local.checked_sub(self.offset).ok_or_else(|| out_of_range("timestamp"))?;
        let mut line = sum(from_origin.div_euclid(step) * step, self.offset)?;
        if self.zone.is_some() {
            // Where clocks are turned, civil time runs twice or not at all: what counts is the order of moments.
            while self.moment(line)? > time {
                line -= step;
            }
            while self.moment(sum(line, step)?)? <= time {
                line += step;
            }
        }
        Ok(line)
    }

    /// The moment of a civil time.
    fn moment(&self, line: i64) -> Result<i64> {
        match &self.zone {
            None => Ok(line),
            Some(zone) => moment_of(zone, line),
        }
    }
}

/// The last and, with its sign changed, about the first moment that a calendar date is known for.
const LAST: i64 = DateTime::<Utc>::MAX_UTC.timestamp_micros();

fn sum(time: i64, length: i64) -> Result<i64> {
    let sum = time.checked_add(length).filter(|sum| (-LAST..=LAST).contains(sum));
    sum.ok_or_else(|| out_of_range("timestamp"))
}
