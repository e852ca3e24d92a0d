//! Figures, their targets, and how they are told: a table for people, a file for programs.

use crate::bench::Bench;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One number that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was done, as in `q0 from JSON files`.
    pub measurement: String,
    /// What is told about it, with its unit.
    pub metric: String,
    pub value: f64,
    pub target: Option<Target>,
    /// Whether the target is met; set when the figures of all runs are in.
    pub met: Option<bool>,
}

/// What a figure must be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Target::AtLeast(least) => value >= least,
            Target::AtMost(most) => value <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Target::AtLeast(least) => format!("at least {}", short(least)),
            Target::AtMost(most) => format!("at most {}", short(most)),
        }
    }
}

impl Figure {
    pub fn new(measurement: impl Into<String>, metric: impl Into<String>, value: f64) -> Figure {
        Figure { measurement: measurement.into(), metric: metric.into(), value, target: None, met: None }
    }

    /// With what it must be.
    pub fn target(self, target: Target) -> Figure {
        Figure { target: Some(target), ..self }
    }
}

/// All that was measured, and where.
#[derive(Serialize)]
pub struct Report {
    /// Seconds since 1970.
    measured_at: u64,
    processors: usize,
    processor: String,
    quick: bool,
    runs: usize,
    /// Medians of the runs.
    figures: Vec<Figure>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
    #[serde(skip)]
    values: BTreeMap<(String, String), Vec<f64>>,
}

impl Report {
    pub fn new(bench: &Bench, runs: usize) -> Report {
        Report {
            measured_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            processors: std::thread::available_parallelism().map_or(1, |processors| processors.get()),
            processor: processor(),
            quick: bench.quick,
            runs,
            figures: vec![],
            failures: vec![],
            values: BTreeMap::new(),
        }
    }

    /// Takes the figures of one run; those of other runs with the same names give the median with them. A target that
    /// depends on the run is that of the last one.
    pub fn add(&mut self, figures: Vec<Figure>) {
        for figure in figures {
            let values = self.values.entry((figure.measurement.clone(), figure.metric.clone())).or_default();
            values.push(figure.value);
            let value = median(values.clone());
            let met = figure.target.map(|target| target.is_met(value));
            let figure = Figure { value, met, ..figure };
            let same =
                |other: &&mut Figure| (&other.measurement, &other.metric) == (&figure.measurement, &figure.metric);
            match self.figures.iter_mut().find(same) {
                Some(known) => *known = figure,
                None => self.figures.push(figure),
            }
        }
    }

    /// The table.
    pub fn markdown(&self) -> String {
        let sizes = if self.quick { "small inputs" } else { "full inputs" };
        let mut text = format!("{} x {}, {sizes}, medians of {} runs\n\n", self.processors, self.processor, self.runs);
        text.push_str("| measurement | metric | value | target | met |\n|---|---|---:|---:|---|\n");
        let mut last = "";
        for figure in &self.figures {
            let name = if figure.measurement == last { "" } else { &figure.measurement };
            let target = figure.target.map(Target::text).unwrap_or_default();
            let met = figure.met.map_or("", |met| if met { "yes" } else { "**no**" });
            let _ = writeln!(text, "| {name} | {} | {} | {target} | {met} |", figure.metric, short(figure.value));
            last = &figure.measurement;
        }
        for failure in &self.failures {
            let _ = writeln!(text, "\nfailed: {failure}");
        }
        text
    }

    /// Writes it all as JSON.
    pub fn store(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")?)
    }
}

/// The middle value, of an even number the mean of the middle two; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len() / 2, values.len() % 2) {
        (0, 0) => 0.0,
        (half, 0) => (values[half - 1] + values[half]) / 2.0,
        (half, _) => values[half],
    }
}

/// The value below which this share of the times is, in microseconds.
pub fn quantile(times: &[Duration], share: f64) -> f64 {
    let mut micros: Vec<f64> = times.iter().map(|time| time.as_nanos() as f64 / 1e3).collect();
    micros.sort_by(f64::total_cmp);
    let place = (micros.len().saturating_sub(1) as f64 * share).round() as usize;
    micros.get(place).copied().unwrap_or(0.0)
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 100.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert_eq!(median(vec![]), 0.0);
    }

    #[test]
    fn quantiles_are_in_microseconds() {
        let times: Vec<_> = (0..=100).rev().map(Duration::from_micros).collect();
        assert_eq!((quantile(&times, 0.5), quantile(&times, 0.99)), (50.0, 99.0));
    }

    #[test]
    fn targets_have_a_side() {
        assert!(Target::AtLeast(1.0).is_met(1.0) && !Target::AtLeast(1.0).is_met(0.9));
        assert!(Target::AtMost(1.0).is_met(1.0) && !Target::AtMost(1.0).is_met(1.1));
    }
}
