//! A catalog with one relation of every kind, for the tests of the system relations.

use super::snapshot::{Session, Setting, Snapshot};
use crate::catalog::Catalog;
use crate::change::Change;
use crate::definition::{Check, Column, Key, Relation, RelationKind, TableDefinition};
use millrace_types::{RelationId, SqlType};
use std::sync::Arc;

/// A relation of the schema `public`, with the next free id.
pub fn relation(catalog: &Catalog, name: &str, kind: RelationKind, columns: Vec<Column>) -> Relation {
    Relation {
        id: catalog.next_id(),
        schema: "public".to_owned(),
        name: name.to_owned(),
        sql: format!("CREATE {} {name}", kind.noun()),
        kind,
        columns,
        depends_on: Vec::new(),
        seen: Vec::new(),
        owner: "postgres".to_owned(),
        comment: None,
        watermark: None,
        event_time: None,
        time_zone: None,
        append_only: false,
        created_at: 0,
        indexes: vec![],
    }
}

/// The table `orders` with keys, a check, a default and comments.
pub fn orders(catalog: &Catalog) -> Relation {
    let id = catalog.next_id().0;
    let key = |name: &str, index, column| Key { name: name.to_owned(), index, columns: vec![column] };
    let table = TableDefinition {
        primary_key: Some(key("orders_pkey", RelationId(id + 1), 0)),
        unique: vec![key("orders_version_key", RelationId(id + 2), 2)],
        checks: vec![Check { name: "orders_amount_check".to_owned(), sql: "amount > 0".to_owned() }],
        foreign_keys: vec![],
        options: Vec::new(),
        storage: None,
        fed: false,
    };
    let mut columns = vec![
        Column::new("id", SqlType::Int8).not_null(),
        Column::new("state", SqlType::Text).not_null(),
        Column::new("version", SqlType::Int4),
        Column::new("amount", SqlType::Numeric(Some((12, 2)))),
        Column::new("tags", SqlType::Array(Box::new(SqlType::Text))),
    ];
    columns[1].default = Some("'new'".to_owned());
    columns[1].comment = Some("where the order is".to_owned());
    let mut orders = relation(catalog, "orders", RelationKind::Table(table), columns);
    orders.comment = Some("orders of customers".to_owned());
    orders
}

/// A catalog with `orders`, the source `bids`, the view `open_orders`, the materialized view `totals` and the sink `out`.
pub fn catalog() -> Catalog {
    let mut catalog = Catalog::new("postgres");
    let mut create = |make: &dyn Fn(&Catalog) -> Relation, needs: &[&str]| {
        let mut made = make(&catalog);
        made.depends_on = needs.iter().map(|name| catalog.find("public", name).unwrap().id).collect();
        catalog = catalog.apply(&Change::Create(made)).unwrap();
    };
    let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let columns = || vec![Column::new("id", SqlType::Int8), Column::new("state", SqlType::Text)];
    create(&orders, &[]);
    let options = vec![option("connector", "nexmark"), option("rate", "1000")];
    let bid = vec![Column::new("auction", SqlType::Int8), Column::new("ts", SqlType::Timestamp)];
    create(&|c| relation(c, "bids", RelationKind::Source { options: options.clone() }, bid.clone()), &[]);
    let query = "SELECT id, state FROM orders WHERE state = 'open'".to_owned();
    create(&|c| relation(c, "open_orders", RelationKind::View { query: query.clone() }, columns()), &["orders"]);
    let kind = || RelationKind::MaterializedView {
        query: "SELECT state, count(*) AS id FROM open_orders GROUP BY state".to_owned(),
        options: Vec::new(),
    };
    create(&|c| relation(c, "totals", kind(), columns()), &["open_orders"]);
    let options = vec![option("connector", "blackhole")];
    let sink = || RelationKind::Sink { query: "SELECT * FROM totals".to_owned(), options: options.clone() };
    create(&|c| relation(c, "out", sink(), columns()), &["totals"]);
    catalog
}

/// A snapshot of [`catalog`].
pub fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::new(Arc::new(catalog()), "millrace", "postgres");
    snapshot.backend_pid = 7;
    let setting = |name: &str, value: &str| Setting {
        name: name.to_owned(),
        value: value.to_owned(),
        reset_value: value.to_owned(),
        kind: "string",
        context: "user",
        description: "",
    };
    snapshot.settings = vec![setting("max_index_keys", "32"), setting("server_version", "15.0"), setting("jit", "off")];
    snapshot.sessions = vec![Session { pid: 7, user: "postgres".to_owned(), state: "active", ..Session::default() }];
    snapshot
}
