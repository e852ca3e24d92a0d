//! A small catalog and golden files for tests.
//!
//! A golden file holds cases: a statement, a line `----`, what it gives, an empty line. `UPDATE=1` rewrites them.

use crate::{Catalog, FunctionSource, Relation, RelationKey, RelationKind};
use arrow::datatypes::{Field, Schema};
use datafusion::datasource::empty::EmptyTable;
use millrace_types::{RelationId, Result, SqlError, SqlType, field_of};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

/// Relations by name.
pub struct TestCatalog(HashMap<String, Arc<Relation>>);

impl Catalog for TestCatalog {
    fn relation(&self, name: &[String]) -> Result<Option<Arc<Relation>>> {
        Ok(match name {
            [name] => self.0.get(name).cloned(),
            [schema, name] if schema == "public" => self.0.get(name).cloned(),
            _ => None,
        })
    }
}

/// The catalog of the tests: a source, two tables, a materialized view and a plain view.
pub fn catalog() -> TestCatalog {
    use SqlType::*;
    let mut catalog = TestCatalog(HashMap::new());
    let bids = [("auction", Int8), ("bidder", Int8), ("price", Int8), ("channel", Text), ("ts", Timestamp)];
    catalog.add(RelationKind::Source, "bids", &bids, None, true);
    let users = [("id", Int8), ("name", Varchar(Some(10))), ("age", Int4), ("active", Bool)];
    catalog.add(RelationKind::Table, "users", &users, Some(vec![0]), false);
    let items = [("id", Int4), ("user_id", Int8), ("price", Numeric(Some((10, 2)))), ("tags", Array(Box::new(Text)))];
    catalog.add(RelationKind::Table, "items", &items, Some(vec![0]), false);
    catalog.add(RelationKind::MaterializedView, "totals", &[("user_id", Int8), ("total", Int8)], Some(vec![0]), false);
    let adults = [("id", Int8), ("label", Varchar(Some(10)))];
    catalog.add(RelationKind::View, "adults", &adults, None, false);
    catalog.add(RelationKind::System, "pg_class", &[("oid", Oid), ("relname", Name)], None, false);
    catalog.change("adults", |view| view.view_query = Some("SELECT id, name FROM users WHERE age >= 18".to_owned()));
    catalog.change("users", |users| {
        users.defaults = vec![None, None, Some("18".to_owned()), Some("true".to_owned())];
        users.checks = vec![("users_age_check".to_owned(), "age > 0".to_owned())];
    });
    catalog
}

impl TestCatalog {
    fn add(
        &mut self,
        kind: RelationKind,
        name: &str,
        columns: &[(&str, SqlType)],
        unique_key: Option<Vec<usize>>,
        append_only: bool,
    ) {
        let is_key = |index: usize| unique_key.as_ref().is_some_and(|key| key.contains(&index));
        let fields: Vec<Field> =
            columns.iter().enumerate().map(|(i, (name, t))| field_of(*name, t, !is_key(i))).collect();
        let schema = Arc::new(Schema::new(fields));
        let relation = Relation {
            id: RelationId(RelationId::FIRST_USER.0 + self.0.len() as u32),
            schema_name: "public".to_owned(),
            name: name.to_owned(),
            kind,
            schema: schema.clone(),
            append_only,
            keys: unique_key.iter().map(|columns| key(name, columns)).collect(),
            unique_key,
            event_time: None,
            watermarked: false,
            hidden: None,
            view_query: None,
            provider: Arc::new(EmptyTable::new(schema)),
            defaults: vec![],
            generated: vec![],
            checks: vec![],
        };
        self.0.insert(name.to_owned(), Arc::new(relation));
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Relation)) {
        let mut relation = self.0.remove(name).expect("a relation of the catalog");
        change(Arc::get_mut(&mut relation).expect("nobody else holds it"));
        self.0.insert(name.to_owned(), relation);
    }
}

/// The primary key of a table.
fn key(table: &str, columns: &[usize]) -> RelationKey {
    RelationKey {
        name: format!("{table}_pkey"),
        model: RelationId(0),
        columns: columns.to_vec(),
        ordered: false,
        unique: true,
    }
}

/// Postgres's functions.
pub fn functions() -> &'static FunctionSource {
    static FUNCTIONS: LazyLock<FunctionSource> = LazyLock::new(|| FunctionSource::postgres().expect("functions"));
    &FUNCTIONS
}

/// An error as a golden file shows it.
pub fn show(error: &SqlError) -> String {
    let mut text = format!("{}: {}", error.state(), error.message());
    if let Some(position) = error.position() {
        text += &format!(" at {position}");
    }
    for (word, line) in [("detail", error.detail()), ("hint", error.hint())] {
        if let Some(line) = line {
            text += &format!("\n{word}: {line}");
        }
    }
    text
}

/// Runs every case of a golden file.
pub fn golden(file: &str, run: impl Fn(&str) -> String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goldens").join(file);
    let text = std::fs::read_to_string(&path).expect("the golden file");
    let mut rewritten = vec![];
    for case in text.split("\n\n").map(str::trim).filter(|case| !case.is_empty()) {
        let statement = case.split("\n----").next().unwrap_or_default().trim();
        rewritten.push(format!("{statement}\n----\n{}", run(statement).trim_end()));
    }
    let rewritten = rewritten.join("\n\n") + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, rewritten).expect("the golden file is writable");
    } else {
        assert!(rewritten == text, "{file} differs; UPDATE=1 rewrites it:\n{rewritten}");
    }
}
