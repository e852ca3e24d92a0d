//! The wall clock: that of the machine, or in test mode one that only statements move.
//!
//! In test mode it stands still, at first at the beginning of the year 2000, and survives restarts in a file beside the
//! data. So whatever depends on time is tested exactly and without sleeping.

use millrace_types::{EventTime, Result, SqlError, SqlState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The beginning of the year 2000.
const BEGINNING: i64 = 946_684_800_000_000;

/// What time it is. Shared by all threads.
#[derive(Debug)]
pub struct WallClock(Option<TestClock>);

#[derive(Debug)]
struct TestClock {
    now: AtomicI64,
    file: PathBuf,
}

impl WallClock {
    /// The clock of a server over a data folder.
    pub fn open(test_mode: bool, folder: &Path) -> WallClock {
        WallClock(test_mode.then(|| {
            let file = folder.join("test-clock");
            let kept = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
            TestClock { now: AtomicI64::new(kept.unwrap_or(BEGINNING)), file }
        }))
    }

    /// The present moment.
    pub fn now(&self) -> EventTime {
        match &self.0 {
            Some(test) => EventTime(test.now.load(Ordering::Acquire)),
            None => machine_now(),
        }
    }

    /// Moves the clock on.
    ///
    /// # Errors
    /// `55000` outside of test mode; `22023` for a moment that has passed.
    pub fn set(&self, to: EventTime) -> Result<()> {
        let test = self.test()?;
        if to < self.now() {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "the clock does not go back"));
        }
        std::fs::write(&test.file, to.0.to_string())?;
        test.now.store(to.0, Ordering::Release);
        Ok(())
    }

    /// Checks that statements may say what time it is.
    ///
    /// # Errors
    /// `55000` outside of test mode.
    pub fn check_test_mode(&self) -> Result<()> {
        self.test().map(drop)
    }

    fn test(&self) -> Result<&TestClock> {
        self.0.as_ref().ok_or_else(|| {
            let message = "clock and watermarks can only be set by a server in test mode";
            SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .with_hint("Start it with --test-clock; its clock then stands still until a statement moves it.")
        })
    }
}

/// The machine's clock, for what is about the machine.
pub fn machine_now() -> EventTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EventTime(since.as_micros() as i64)
}
