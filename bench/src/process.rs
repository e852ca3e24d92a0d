//! What a process has used, from `/proc`.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The unit of times in `/proc/PID/stat`: Linux counts in hundredths of a second for every program, whatever its own
/// clock does.
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// A process, by its id.
#[derive(Clone, Copy)]
pub struct Process(pub u32);

/// Bytes of memory.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    pub resident: u64,
    /// The most that was ever resident.
    pub peak: u64,
}

impl Process {
    /// Time on any processor since the process began, of all its threads, also those that have ended.
    pub fn cpu(self) -> Result<Duration> {
        let stat = self.read("stat")?;
        // The name, in parentheses, may hold anything; after it come numbers, the twelfth and thirteenth being these.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u32 =
            after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
        Ok(CLOCK_TICK * ticks)
    }

    /// Memory that is and was in use.
    pub fn memory(self) -> Result<Memory> {
        let status = self.read("status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()
        };
        Ok(Memory { resident: field("VmRSS").unwrap_or(0) << 10, peak: field("VmHWM").unwrap_or(0) << 10 })
    }

    /// Time on any processor of each living thread: by the thread's id its name and the time.
    pub fn threads(self) -> BTreeMap<u32, (String, Duration)> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).into_iter().flatten().flatten();
        let thread = |task: fs::DirEntry| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let schedule = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let time = schedule.split_whitespace().next()?.parse().ok()?;
            let id = task.file_name().to_str()?.parse().ok()?;
            Some((id, (name.trim_end().to_owned(), Duration::from_nanos(time))))
        };
        // A thread that ends meanwhile is left out.
        tasks.filter_map(thread).collect()
    }

    fn read(self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.0);
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}: has the server ended?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_process_and_its_threads_use_time_and_memory() {
        let this = Process(std::process::id());
        let (begun, before) = (Instant::now(), this.cpu().unwrap());
        while this.cpu().unwrap() < before + Duration::from_millis(50) {
            assert!(begun.elapsed() < Duration::from_secs(30), "a busy thread uses no time");
        }
        let memory = this.memory().unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident);
        assert!(this.threads().values().map(|(_, time)| *time).sum::<Duration>() > Duration::from_millis(30));
    }
}
