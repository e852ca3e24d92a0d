//! A few seeds, and the same seed twice.

use millrace_simulation::{Options, run};
use std::path::Path;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_simulate"))
}

#[test]
fn what_is_acknowledged_survives_any_loss_of_power() {
    let mut crashes = 0;
    for seed in 1..=10 {
        crashes += run(binary(), Options { seed, lives: 4, statements: 40, outside: seed % 2 == 0 }).unwrap().crashes;
    }
    assert!(crashes > 10, "only {crashes} losses of power");
}

#[test]
fn a_seed_gives_the_same_history_again() {
    let options = Options { seed: 7, lives: 4, statements: 60, outside: false };
    assert_eq!(run(binary(), options).unwrap().history, run(binary(), options).unwrap().history);
}
