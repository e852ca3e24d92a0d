//! Statements and their errors.

use super::*;
use crate::testing::{golden, show};
use millrace_types::{SqlState, SqlType};

fn parsed(sql: &str) -> Statement {
    match parse(sql) {
        Ok(Some(statement)) => statement,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn texts_are_split_at_semicolons_outside_of_quotes_and_comments() {
    let sql = " select 1; ; select 'a;b' -- c;d\n; select $x$ ; $x$ /* ; */;\nselect \"a;ü\" ;select 2";
    let expected =
        [(1, "select 1"), (13, "select 'a;b'"), (35, "select $x$ ; $x$"), (61, "select \"a;ü\""), (75, "select 2")];
    let expected: Vec<_> = expected.map(|(at, text)| (at, text.to_owned())).into();
    let found = split(sql).expect("it splits");
    assert_eq!(
        found.iter().map(|(_, text)| text).collect::<Vec<_>>(),
        expected.iter().map(|(_, t)| t).collect::<Vec<_>>()
    );
    for (at, text) in &found {
        assert!(sql.chars().skip(*at).collect::<String>().starts_with(text.as_str()), "{at} {text}");
    }
    assert_eq!(split(" -- nothing\n ;; ").expect("it splits"), vec![]);
    assert_eq!(parse("  ; -- nothing").expect("it parses"), None);
}

#[test]
fn errors_are_worded_and_placed_as_postgres_does() {
    golden("parse.txt", |sql| match parse(sql) {
        Ok(Some(_)) => "ok".to_owned(),
        Ok(None) => "empty".to_owned(),
        Err(error) => show(&error),
    });
}

#[test]
fn a_table_has_columns_constraints_and_options() {
    let Statement::CreateTable(table) = parsed(
        "CREATE TABLE IF NOT EXISTS s.t (id bigint PRIMARY KEY, name varchar(10) NOT NULL DEFAULT 'x' UNIQUE, \
         n numeric(10,2) DEFAULT 1 + 2 NOT NULL CHECK (n > 0), \"Ts\" timestamp(3), tags text[], \
         CONSTRAINT positive CHECK (id > 0), UNIQUE (name, n)) \
         WITH (connector = 'kafka', properties.bootstrap.server = 'a:1', 'Quoted.Key' = 5, fast) \
         FORMAT PLAIN ENCODE JSON",
    ) else {
        panic!("not a table")
    };
    assert_eq!(name_parts(&table.name), ["s", "t"]);
    let types: Vec<_> = table.columns.iter().map(|column| column.sql_type.clone()).collect();
    let tags = SqlType::Array(Box::new(SqlType::Text));
    let numeric = SqlType::Numeric(Some((10, 2)));
    assert_eq!(types, [SqlType::Int8, SqlType::Varchar(Some(10)), numeric, SqlType::Timestamp, tags]);
    assert_eq!(
        table.columns.iter().map(|column| column.not_null).collect::<Vec<_>>(),
        [true, true, true, false, false]
    );
    assert_eq!(table.columns[1].default.as_deref(), Some("'x'"));
    assert_eq!(table.columns[2].default.as_deref(), Some("1 + 2"));
    assert_eq!(fold(&table.columns[3].name), "Ts");
    assert_eq!(table.primary_key.iter().flat_map(|key| &key.columns).map(fold).collect::<Vec<_>>(), ["id"]);
    assert_eq!(table.unique.len(), 2);
    assert_eq!(table.checks.iter().map(|check| check.expression.as_str()).collect::<Vec<_>>(), ["n > 0", "id > 0"]);
    let options = [
        ("connector", "kafka"),
        ("properties.bootstrap.server", "a:1"),
        ("Quoted.Key", "5"),
        ("fast", "true"),
        ("format", "json"),
    ];
    assert_eq!(table.options, options.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

#[test]
fn storage_parameters_of_postgres_mean_nothing() {
    let options = |text: &str| match parsed(text) {
        Statement::CreateTable(table) => table.options,
        Statement::CreateTableAs(table) => table.options,
        _ => panic!("not a table"),
    };
    assert_eq!(options("CREATE TABLE t (a int) WITH (fillfactor = 100, toast.autovacuum_enabled = off)"), []);
    assert_eq!(options("CREATE TABLE t WITH (autovacuum_enabled) AS SELECT 1 AS a"), []);
    assert_eq!(options("CREATE TABLE t (a int) WITH (fillfactor = 100, connector = 'blackhole')").len(), 2);
}

#[test]
fn sources_views_and_sinks_keep_their_texts() {
    let Statement::CreateSource(source) =
        parsed("CREATE SOURCE n WITH (connector = 'nexmark', events = 100, seed = -1)")
    else {
        panic!("not a source")
    };
    assert_eq!(source.options[2], ("seed".to_owned(), "-1".to_owned()));
    let Statement::CreateMaterializedView(view) =
        parsed("CREATE MATERIALIZED VIEW v (a) WITH (on_error = 'skip') AS SELECT  x -- why\n FROM t")
    else {
        panic!("not a view")
    };
    assert_eq!(view.query, "SELECT  x -- why\n FROM t");
    let Statement::CreateSink(sink) =
        parsed("CREATE SINK s AS SELECT 1 AS x WITH (connector = 'file') FORMAT UPSERT ENCODE CSV (delimiter = ';')")
    else {
        panic!("not a sink")
    };
    assert_eq!(
        sink.from,
        SinkInput::Query { query: "SELECT 1 AS x".to_owned(), ast: parse_query("SELECT 1 AS x").expect("a query") }
    );
    assert_eq!(sink.options.len(), 4);
    let Statement::CreateSink(sink) =
        parsed("CREATE SINK s AS WITH c AS (SELECT 1) SELECT a FROM c WITH (connector = 'blackhole')")
    else {
        panic!("not a sink")
    };
    assert!(matches!(sink.from, SinkInput::Query { query, .. } if query == "WITH c AS (SELECT 1) SELECT a FROM c"));
    assert_eq!(sink.options.len(), 1);
}

#[test]
fn sessions_are_set_in_postgres_s_many_ways() {
    let set = |local, name: &str, values: Option<&[&str]>| {
        let values = values.map(|values| values.iter().map(|value| (*value).to_owned()).collect());
        Statement::Set(Set { local, name: name.to_owned(), values })
    };
    assert_eq!(parsed("SET search_path TO a, \"B\", 'c'"), set(false, "search_path", Some(&["a", "B", "c"])));
    assert_eq!(parsed("set local Work_Mem = 64"), set(true, "work_mem", Some(&["64"])));
    assert_eq!(parsed("SET SESSION my.setting = on"), set(false, "my.setting", Some(&["on"])));
    assert_eq!(parsed("SET TIME ZONE 'UTC'"), set(false, "timezone", Some(&["UTC"])));
    assert_eq!(parsed("SET timezone TO DEFAULT"), set(false, "timezone", None));
    assert_eq!(parsed("SET NAMES 'utf8'"), set(false, "client_encoding", Some(&["utf8"])));
    assert_eq!(parsed("SHOW TRANSACTION ISOLATION LEVEL"), Statement::Show("transaction_isolation".to_owned()));
    assert_eq!(parsed("SHOW ALL"), Statement::Show("all".to_owned()));
    assert_eq!(parsed("RESET ALL"), Statement::ResetAll);
}

#[test]
fn transactions_know_their_modes() {
    let modes = TransactionModes {
        isolation: Some("repeatable read".to_owned()),
        read_only: Some(true),
        deferrable: Some(false),
    };
    let sql = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY NOT DEFERRABLE";
    assert_eq!(parsed(sql), Statement::Begin { modes, start: false });
    assert_eq!(parsed("START TRANSACTION"), Statement::Begin { modes: TransactionModes::default(), start: true });
    assert_eq!(parsed("end work"), Statement::Commit { chain: false });
    assert_eq!(parsed("ROLLBACK AND CHAIN"), Statement::Rollback { chain: true });
    assert!(matches!(parsed("ROLLBACK TO SAVEPOINT s"), Statement::RollbackTo(_)));
    assert!(matches!(parsed("RELEASE s"), Statement::Release(_)));
}

#[test]
fn copy_understands_old_and_new_options() {
    let options = |sql| match parsed(sql) {
        Statement::Copy(copy) => copy.options,
        other => panic!("not a COPY: {other:?}"),
    };
    let new = options("COPY t (a, b) FROM STDIN WITH (FORMAT csv, HEADER, DELIMITER ';', NULL 'x')");
    let old = options("COPY t FROM STDIN WITH CSV HEADER DELIMITER ';' NULL AS 'x'");
    assert_eq!(new, old);
    assert_eq!((new.format, new.delimiter, new.header, new.quote), (CopyFormat::Csv, ';', true, '"'));
    let text = options("COPY (SELECT 1) TO STDOUT");
    assert_eq!((text.format, text.delimiter, text.null.as_str()), (CopyFormat::Text, '\t', "\\N"));
    assert_eq!(options("copy t from stdin with (freeze on)").format, CopyFormat::Text);
}

#[test]
fn cursors_and_prepared_statements_keep_their_statements() {
    let Statement::Prepare(prepare) = parsed("PREPARE p (int, text) AS INSERT INTO t VALUES ($1, $2)") else {
        panic!("not a PREPARE")
    };
    assert_eq!(prepare.types, [SqlType::Int4, SqlType::Text]);
    assert_eq!(prepare.text, "INSERT INTO t VALUES ($1, $2)");
    let Statement::Declare(declare) = parsed("DECLARE c NO SCROLL CURSOR WITH HOLD FOR SUBSCRIBE v WITH (progress)")
    else {
        panic!("not a DECLARE")
    };
    assert!(declare.hold && !declare.scroll && matches!(declare.source, CursorSource::Subscribe(_)));
    let direction = |sql| match parsed(sql) {
        Statement::Fetch(fetch) => fetch.direction,
        other => panic!("not a FETCH: {other:?}"),
    };
    assert_eq!(direction("FETCH 10 FROM c WITH (timeout = '1s')"), FetchDirection::Forward(10));
    assert_eq!(direction("FETCH FORWARD ALL IN c"), FetchDirection::All);
    assert_eq!(direction("FETCH next"), FetchDirection::Forward(1));
    assert_eq!(direction("FETCH BACKWARD 2 c"), FetchDirection::Forward(-2));
}

#[test]
fn deep_statements_are_refused_and_never_crash() {
    let nested =
        |open: &str, inner: &str, close: &str, n: usize| format!("SELECT {}{inner}{}", open.repeat(n), close.repeat(n));
    for n in [1_000, 10_000, 100_000] {
        let statements = [
            nested("(", "1", ")", n),
            nested("NOT ", "true", "", n),
            nested("- ", "1", "", n),
            nested("CASE WHEN true THEN ", "1", " END", n),
            nested("ARRAY[", "1", "]", n),
            nested("f(", "1", ")", n),
            nested("(SELECT ", "1", ")", n),
            nested("1 + ", "1", "", 10 * n),
            nested("a OR ", "a", "", 10 * n),
            nested("", "a", " IS NULL", 10 * n),
            nested("", "1", " UNION ALL SELECT 1", n),
            nested("", "a", "::int", 10 * n),
            format!("SELECT * FROM t {}", "JOIN t USING (a) ".repeat(10 * n)),
        ];
        for sql in statements {
            let error = parse(&sql).expect_err(&sql[..40]);
            assert_eq!(error.state(), SqlState::STATEMENT_TOO_COMPLEX, "{}: {}", &sql[..40], error.message());
        }
    }
    assert!(parse(&format!("{}SELECT 1", "EXPLAIN ".repeat(100_000))).is_err());
    let list = format!("SELECT a IN ({}1)", "1, ".repeat(100_000));
    assert!(parse(&list).is_ok());
}

#[test]
fn statements_within_the_limits_parse_on_a_small_stack() {
    let check = || {
        for sql in [
            format!("SELECT {}1{}", "(".repeat(55), ")".repeat(55)),
            format!("SELECT {}1{}", "(SELECT ".repeat(25), ")".repeat(25)),
            format!("SELECT 1 {}", "OR true ".repeat(240)),
            format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(95)),
        ] {
            let statement = parsed(&sql);
            assert_eq!(statement, statement.clone());
        }
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(check).expect("a thread");
    thread.join().expect("no overflow");
}

#[test]
fn the_right_side_of_is_distinct_from_ends_before_and_and_or() {
    for (written, meant) in [
        ("a IS NOT DISTINCT FROM b AND c", "(a IS NOT DISTINCT FROM b) AND c"),
        ("a AND b IS DISTINCT FROM (c AND d) OR e", "(a AND (b IS DISTINCT FROM (c AND d))) OR e"),
        ("a IS DISTINCT FROM CASE WHEN b AND c THEN d END", "a IS DISTINCT FROM (CASE WHEN b AND c THEN d END)"),
        ("f(a IS DISTINCT FROM b, c AND d)", "f((a IS DISTINCT FROM b), (c AND d))"),
    ] {
        let plain = |sql: &str| parse_expression(sql).unwrap().to_string().replace(['(', ')'], "");
        let shape = |sql: &str| format!("{:?}", std::mem::discriminant(&unnested(parse_expression(sql).unwrap())));
        assert_eq!(plain(written), plain(meant));
        assert_eq!(shape(written), shape(meant), "{written}");
    }
}

fn unnested(expression: sqlparser::ast::Expr) -> sqlparser::ast::Expr {
    match expression {
        sqlparser::ast::Expr::Nested(inner) => unnested(*inner),
        other => other,
    }
}
