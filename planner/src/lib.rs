//! From SQL text to dataflow plans. Pure: no I/O, no clock of its own, no state.

pub mod parse;
