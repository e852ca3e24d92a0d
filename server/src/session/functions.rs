//! Functions that act on behalf of a session: those of sequences, and those that end what other sessions do.

use super::Session;
use crate::coordinator::Position;
use crate::database::Database;
use arrow::array::{ArrayRef, BooleanArray, Int64Array};
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use millrace_functions::{Call, Overload, of_volatility};
use millrace_planner::FunctionSource;
use millrace_types::{RelationId, Result, SqlError, SqlState, SqlType};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// What a session's functions know of it.
#[derive(Default)]
pub struct Acting {
    search_path: Mutex<Arc<[String]>>,
    /// The last number that the session took of each sequence, and of which one last.
    taken: Mutex<(HashMap<RelationId, i64>, Option<RelationId>)>,
}

/// Words of statements that call such functions, or make columns whose defaults do.
const WORDS: [&str; 8] =
    ["nextval", "currval", "lastval", "setval", "serial", "identity", "pg_cancel_backend", "pg_terminate_backend"];

impl Session {
    /// The functions of a statement with this text, those of this file among them, when the text calls one or a
    /// default may: where there are sequences. None when the database's functions will do.
    pub fn functions(&self, text: &str, has_sequences: bool) -> Option<FunctionSource> {
        let lowercase = text.to_ascii_lowercase();
        if !has_sequences && !WORDS.iter().any(|word| lowercase.contains(word)) {
            return None;
        }
        *self.acting.search_path.lock() = self.settings.search_path().clone();
        let with_own = || {
            let mut state = self.database.functions.state().clone();
            for function in own(&self.database, &self.acting) {
                // A function that is there already is replaced; registering cannot fail otherwise.
                let _ = state.register_udf(Arc::new(function));
            }
            FunctionSource::new(state)
        };
        Some(self.own_functions.get_or_init(with_own).clone())
    }

    /// Forgets the numbers that the session took: DISCARD SEQUENCES.
    pub fn forget_numbers(&self) {
        *self.acting.taken.lock() = Default::default();
    }
}

const TEXT: &[SqlType] = &[SqlType::Text];
const OID: &[SqlType] = &[SqlType::Int8];

fn own(database: &Arc<Database>, acting: &Arc<Acting>) -> Vec<ScalarUDF> {
    let on_sequence = |name, others: &'static [&'static [SqlType]], run: fn(&Sequences, &Call) -> Result<ArrayRef>| {
        let overload = |takes| {
            let sequences = Sequences { database: database.clone(), acting: acting.clone() };
            Overload::new(takes, SqlType::Int8, move |call| run(&sequences, call))
        };
        of_volatility(name, &[], others.iter().map(|takes| overload(takes)).collect(), Volatility::Volatile)
    };
    let ending = |name, ends: bool| {
        let database = database.clone();
        let run = move |call: &Call| Ok(end(&database, call, ends));
        of_volatility(name, &[], vec![Overload::new(&[SqlType::Int4], SqlType::Bool, run)], Volatility::Volatile)
    };
    vec![
        on_sequence("nextval", &[TEXT, OID], Sequences::next),
        on_sequence("currval", &[TEXT, OID], Sequences::current),
        on_sequence("lastval", &[&[]], Sequences::latest),
        on_sequence(
            "setval",
            &[
                &[SqlType::Text, SqlType::Int8],
                &[SqlType::Int8, SqlType::Int8],
                &[SqlType::Text, SqlType::Int8, SqlType::Bool],
                &[SqlType::Int8, SqlType::Int8, SqlType::Bool],
            ],
            Sequences::set,
        ),
        ending("pg_cancel_backend", false),
        ending("pg_terminate_backend", true),
    ]
}

struct Sequences {
    database: Arc<Database>,
    acting: Arc<Acting>,
}

impl Sequences {
    fn next(&self, call: &Call) -> Result<ArrayRef> {
        let ids = (0..call.rows).map(|row| self.id(call, row)).collect::<Result<Vec<_>>>()?;
        let mut numbers: Vec<Option<i64>> = vec![];
        // Rows in a row that take of the same sequence take at once.
        for run in ids.chunk_by(|a, b| a == b) {
            match run[0] {
                None => numbers.extend(run.iter().map(|_| None)),
                Some(id) => {
                    let taken = self.database.coordinator.take_numbers(id, run.len())?;
                    let mut known = self.acting.taken.lock();
                    known.1 = Some(id);
                    known.0.extend(taken.last().map(|last| (id, *last)));
                    numbers.extend(taken.into_iter().map(Some));
                }
            }
        }
        Ok(Arc::new(Int64Array::from(numbers)))
    }

    fn current(&self, call: &Call) -> Result<ArrayRef> {
        let value = |row| {
            let Some(id) = self.id(call, row)? else { return Ok(None) };
            let name = self.database.coordinator.published().catalog.get(id).map(|found| found.name.clone());
            let known = self.acting.taken.lock().0.get(&id).copied();
            known.map(Some).ok_or_else(|| {
                let name = name.unwrap_or_default();
                let message = format!("currval of sequence \"{name}\" is not yet defined in this session");
                SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            })
        };
        Ok(Arc::new((0..call.rows).map(value).collect::<Result<Int64Array>>()?))
    }

    fn latest(&self, call: &Call) -> Result<ArrayRef> {
        let known = self.acting.taken.lock();
        let value = known.1.and_then(|id| known.0.get(&id).copied()).ok_or_else(|| {
            let message = "lastval is not yet defined in this session";
            SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        })?;
        Ok(Arc::new(Int64Array::from(vec![value; call.rows])))
    }

    fn set(&self, call: &Call) -> Result<ArrayRef> {
        let value = |row: usize| {
            let is_null = call.arrays.iter().any(|array| millrace_functions::is_null(array, row));
            let Some(id) = self.id(call, row)?.filter(|_| !is_null) else { return Ok(None) };
            let last = call.value::<Int64Type>(1, row);
            let called = call.arrays.get(2).is_none_or(|flag| arrow::array::AsArray::as_boolean(flag).value(row));
            self.database.coordinator.set_position(id, Position { last, called })?;
            if called {
                self.acting.taken.lock().0.insert(id, last);
            }
            Ok(Some(last))
        };
        Ok(Arc::new((0..call.rows).map(value).collect::<Result<Int64Array>>()?))
    }

    /// The sequence that the first argument means: a name along the search path, or an OID.
    fn id(&self, call: &Call, row: usize) -> Result<Option<RelationId>> {
        if millrace_functions::is_null(&call.arrays[0], row) {
            return Ok(None);
        }
        if *call.arrays[0].data_type() == SqlType::Int8.arrow() {
            return Ok(u32::try_from(call.value::<Int64Type>(0, row)).ok().map(RelationId));
        }
        let name = millrace_planner::parse::parse_name(call.text(0).value(row))?;
        let (schema, name) = match name.as_slice() {
            [name] => (None, name),
            [.., schema, name] => (Some(schema.as_str()), name),
            [] => return Ok(None),
        };
        let catalog = self.database.coordinator.published().catalog.clone();
        let path = self.acting.search_path.lock().clone();
        catalog.resolve(schema, name, &path).map(|relation| Some(relation.id))
    }
}

/// Cancels what sessions do, or ends them.
fn end(database: &Database, call: &Call, ends: bool) -> ArrayRef {
    let one = |row: usize| {
        if millrace_functions::is_null(&call.arrays[0], row) {
            return None;
        }
        let pid = call.value::<Int32Type>(0, row);
        let token = database.sessions.lock().get(&pid).map(|facts| facts.cancel.clone());
        match (&token, ends) {
            (Some(token), true) => token
                .close(SqlError::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")),
            (Some(token), false) => {
                let message = "canceling statement due to user request";
                token.cancel(SqlError::new(SqlState::QUERY_CANCELED, message));
            }
            (None, _) => {}
        }
        Some(token.is_some())
    };
    Arc::new((0..call.rows).map(one).collect::<BooleanArray>())
}
