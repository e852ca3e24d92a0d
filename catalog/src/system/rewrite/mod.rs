//! What clients write about catalogs, turned into what DataFusion plans, on the syntax tree.
//!
//! Each rule is small and keeps Postgres's meaning; [`rewrite()`] applies them in order. A rule goes by constructs that
//! nothing but Postgres's own spelling has (`OPERATOR(pg_catalog.~)`, `'t'::regclass`, `ARRAY(SELECT ...)`), or by the
//! system relations that a query reads, so that other queries pass unchanged.

mod absent;
mod arrays;
mod casts;
mod columns;
mod expressions;
mod names;
mod operators;
mod output;
mod sets;
mod subqueries;

use datafusion::sql::sqlparser::ast::Query;

/// A rule: changes a query in place.
type Rule = fn(&mut Query);

/// The rules, in an order in which each finds what it needs.
const RULES: &[Rule] = &[
    // Plain spellings first, so that the others see bare names and simple operators.
    operators::simplify,
    names::simplify,
    columns::know_table_oids,
    casts::simplify,
    arrays::read_literals,
    // Before the rules for subqueries, which what is left out here could not pass.
    absent::leave_out,
    sets::unnest,
    arrays::from_subqueries,
    subqueries::join,
    // Last, on the select list as it will be planned.
    output::name_objects,
];

/// Turns a query on system relations into one that DataFusion plans, with the same result. Columns that the query does
/// not name should be named before: the expressions that would give them their names may change.
pub fn rewrite(query: &mut Query) {
    for rule in RULES {
        rule(query);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    fn rewritten(sql: &str) -> String {
        let mut query = *Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).unwrap().parse_query().unwrap();
        rewrite(&mut query);
        query.to_string()
    }

    #[test]
    fn each_construct_becomes_what_can_be_planned() {
        for (sql, expected) in [
            ("SELECT a OPERATOR(pg_catalog.~) 'x' COLLATE pg_catalog.default FROM t", "SELECT a ~ 'x' FROM t"),
            ("SELECT pg_catalog.lower(oid) FROM pg_type", "SELECT lower(oid) FROM pg_catalog.pg_type"),
            ("SELECT current_schema, \"current_schema\" FROM t", "SELECT current_schema(), \"current_schema\" FROM t"),
            ("SELECT 1 FROM t WHERE a = 't'::regclass", "SELECT 1 FROM t WHERE a = regclassin('t')"),
            ("SELECT a::regtype::text AS b FROM t", "SELECT regtypeout(regtypein(a)) AS b FROM t"),
            ("SELECT a LIKE 'x/_' ESCAPE '/' FROM t", "SELECT a LIKE like_escape('x/_', '/') FROM t"),
            ("SELECT '{a,\"b c\",NULL}'::text[]", "SELECT ARRAY['a', 'b c', NULL]::TEXT[]"),
            ("SELECT c.tableoid FROM pg_class c", "SELECT 1259 FROM pg_catalog.pg_class c"),
            (
                "SELECT ARRAY(SELECT lower(x) FROM unnest(a) x) FROM t",
                "SELECT array_transform(a, element -> lower(element)) FROM t",
            ),
            (
                "SELECT ARRAY(SELECT b FROM u WHERE u.c = t.c ORDER BY 1) FROM t",
                "SELECT coalesce((SELECT array_agg(b ORDER BY b) FROM u WHERE u.c = t.c), ARRAY[]) FROM t",
            ),
            (
                "SELECT (SELECT d.adbin FROM pg_attrdef d WHERE d.adrelid = a.x) FROM t a",
                "SELECT CASE WHEN d_1.oid IS NOT NULL THEN d_1.adbin END FROM t a LEFT OUTER JOIN pg_catalog.pg_attrdef \
                 AS d_1 ON d_1.adrelid = a.x",
            ),
        ] {
            assert_eq!(rewritten(sql), expected, "{sql}");
        }
    }

    #[test]
    fn queries_on_other_relations_pass_unchanged() {
        for sql in [
            "SELECT a, a, (SELECT max(b) FROM u WHERE u.k = t.k) FROM t WHERE EXISTS (SELECT 1 FROM u) ORDER BY 1",
            "SELECT (SELECT b FROM u WHERE u.k = t.k) FROM t",
            "WITH pg_class AS (SELECT 1 AS oid) SELECT oid FROM pg_class",
            "SELECT coalesce(j, '{}') FROM t WHERE j = '{}' AND k LIKE 'a%'",
            "SELECT n FROM generate_series(1, 3) AS s (n)",
        ] {
            assert_eq!(rewritten(sql), sql);
        }
    }
}
