//! The incremental engine: it keeps the output of plans up to date as their inputs change.

pub mod operator;
