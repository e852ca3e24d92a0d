//! The sink that takes everything and keeps nothing but a count: for measuring, and for running a query for its effects.

use crate::options::{OptionInfo, Options};
use crate::sink::Sink;
use arrow::datatypes::SchemaRef;
use millrace_types::{Delta, Result, Tick};

/// It has no options.
pub static OPTIONS: &[OptionInfo] = &[];

/// Counts rows.
#[derive(Debug, Default)]
pub struct Blackhole {
    rows: u64,
}

impl Blackhole {
    /// How many rows were delivered, retractions counted like insertions.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

pub(crate) fn create_sink(_: &Options, _: &SchemaRef) -> Result<Box<dyn Sink>> {
    Ok(Box::new(Blackhole::default()))
}

impl Sink for Blackhole {
    fn write(&mut self, _: Tick, deltas: &[Delta]) -> Result<()> {
        self.rows += deltas.iter().map(|delta| delta.len() as u64).sum::<u64>();
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn accepts_retractions(&self) -> bool {
        true
    }

    fn position(&self) -> Option<String> {
        Some(String::new())
    }

    /// Nothing is there of what was delivered.
    fn undoes(&self) -> bool {
        true
    }
}
