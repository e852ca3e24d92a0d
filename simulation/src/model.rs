//! What the database must hold, kept beside it by other means than SQL.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How many accounts there are.
pub const ACCOUNTS: i64 = 8;
/// What each of them has at first.
pub const BALANCE: i64 = 100;

/// The contents of the tables, which views there are, and what time it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Balances by account.
    pub accounts: BTreeMap<i64, i64>,
    /// Groups and amounts by item.
    pub items: BTreeMap<i64, (i64, i64)>,
    /// Streams and their numbers.
    pub events: BTreeSet<(i64, i64)>,
    /// The minute of each moment.
    pub moments: BTreeMap<i64, i64>,
    /// The last number of the counter.
    pub counter: i64,
    /// Views that come and go: which query each has.
    pub views: BTreeMap<String, usize>,
    /// Minutes since the clock began.
    pub minute: i64,
    /// Lines of each file that a source reads, if there is one.
    pub lines: Option<BTreeMap<i64, i64>>,
}

/// One change of the contents. A transaction has several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    Balance(i64, i64),
    Item(i64, Option<(i64, i64)>),
    Event(i64, i64),
    Moment(i64, i64),
    Counter(i64),
    View(String, Option<usize>),
    Minute(i64),
}

impl Model {
    /// What the tables hold when they are made.
    pub fn first() -> Model {
        Model { accounts: (0..ACCOUNTS).map(|account| (account, BALANCE)).collect(), ..Model::default() }
    }

    /// The rows of the view `groups`: of each group how many items it has, what they come to, and the largest.
    pub fn groups(&self) -> Vec<Vec<i64>> {
        let mut groups = BTreeMap::<i64, Vec<i64>>::new();
        self.items.values().for_each(|(group, amount)| groups.entry(*group).or_default().push(*amount));
        let of_group = |(group, amounts): (i64, Vec<i64>)| {
            let most = amounts.iter().copied().max().unwrap_or_default();
            vec![group, amounts.len() as i64, amounts.iter().sum(), most]
        };
        groups.into_iter().map(of_group).collect()
    }

    /// The model after some changes.
    pub fn after(&self, effects: &[Effect]) -> Model {
        let mut model = self.clone();
        effects.iter().for_each(|effect| model.apply(effect));
        model
    }

    fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Balance(account, balance) => drop(self.accounts.insert(*account, *balance)),
            Effect::Item(item, Some(row)) => drop(self.items.insert(*item, *row)),
            Effect::Item(item, None) => drop(self.items.remove(item)),
            Effect::Event(stream, number) => drop(self.events.insert((*stream, *number))),
            Effect::Moment(moment, minute) => drop(self.moments.insert(*moment, *minute)),
            Effect::Counter(number) => self.counter = *number,
            Effect::View(view, Some(query)) => drop(self.views.insert(view.clone(), *query)),
            Effect::View(view, None) => drop(self.views.remove(view)),
            Effect::Minute(minute) => self.minute = *minute,
        }
    }
}

/// What one life leaves to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Left {
    /// What was acknowledged.
    pub known: Model,
    /// The changes that were being committed, together or not at all.
    pub under_way: Vec<Effect>,
    /// How many statements were sent in all lives.
    pub sent: u64,
}

impl Left {
    /// What the last life has left; nothing before the first.
    pub fn read(path: &Path) -> Result<Option<Left>> {
        if !path.exists() {
            return Ok(None);
        }
        serde_json::from_slice(&std::fs::read(path)?).map(Some).context("the model of the life before")
    }

    /// Leaves it to the next life.
    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(std::fs::write(path, serde_json::to_vec(self)?)?)
    }
}
