//! Random queries: names in scope go down, typed expressions come up.

use super::data::{Table, literal};
use super::query::{Body, Expr, From, Limit, Query, Select, Type};
use rand::Rng;
use rand::rngs::StdRng;

/// A column that an expression may name.
#[derive(Clone, Debug)]
struct Column {
    sql: String,
    kind: Type,
}

/// A relation that FROM may name: a table or a CTE.
#[derive(Clone)]
struct Relation {
    name: String,
    columns: Vec<(String, Type)>,
}

/// Makes queries over tables.
pub struct Generator<'a> {
    random: &'a mut StdRng,
    relations: Vec<Relation>,
    aliases: usize,
}

const VALUES: [Type; 6] = [Type::Int, Type::Bigint, Type::Numeric, Type::Text, Type::Bool, Type::Date];

impl Generator<'_> {
    /// A generator of queries over `tables`.
    pub fn new<'a>(tables: &[Table], random: &'a mut StdRng) -> Generator<'a> {
        let relation = |table: &Table| Relation { name: table.name.clone(), columns: table.columns.clone() };
        Generator { random, relations: tables.iter().map(relation).collect(), aliases: 0 }
    }

    /// A query.
    pub fn query(&mut self) -> Query {
        let depth = self.random.random_range(1..4);
        let known = self.relations.len();
        let mut with = vec![];
        if self.chance(0.15) {
            let name = self.alias("w");
            let (query, kinds) = self.any_query(1, &[]);
            let columns = kinds.into_iter().enumerate().map(|(at, kind)| (format!("c{at}"), kind)).collect();
            self.relations.push(Relation { name: name.clone(), columns });
            with.push((name, query));
        }
        let (query, _) = self.any_query(depth, &[]);
        self.relations.truncate(known);
        Query { with, ..query }
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.random.random_range(0..of.len())].clone()
    }

    fn alias(&mut self, prefix: &str) -> String {
        self.aliases += 1;
        format!("{prefix}{}", self.aliases)
    }

    fn any_query(&mut self, depth: u32, outer: &[Column]) -> (Query, Vec<Type>) {
        let width = self.random.random_range(1..5);
        let kinds: Vec<Type> = (0..width).map(|_| self.pick(&VALUES)).collect();
        let query = self.query_of(&kinds, depth, outer);
        (query, kinds)
    }

    /// A query with columns of these types; `outer` may be named in its conditions.
    fn query_of(&mut self, kinds: &[Type], depth: u32, outer: &[Column]) -> Query {
        let body = if depth > 0 && self.chance(0.15) {
            let operators = ["UNION", "UNION ALL", "INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL"];
            let operator = self.pick(&operators);
            let left = Box::new(self.query_of(kinds, depth - 1, outer));
            Body::Set { operator, left, right: Box::new(self.query_of(kinds, depth - 1, outer)) }
        } else {
            Body::Select(Box::new(self.select(kinds, depth, outer)))
        };
        let limit = self.chance(0.12).then(|| Limit {
            rows: self.random.random_range(0..6),
            offset: self.random.random_range(0..3),
            descending: self.random.random_bool(0.5),
        });
        Query { with: vec![], body, limit }
    }

    fn select(&mut self, kinds: &[Type], depth: u32, outer: &[Column]) -> Select {
        let (from, scope) = self.from(depth);
        let named = [&scope[..], outer].concat();
        let filter = self.chance(0.6).then(|| self.condition(&named, depth));
        let mut select = Select {
            distinct: self.chance(0.15),
            items: vec![],
            from,
            filter,
            group: vec![],
            grouping: "",
            having: None,
        };
        match self.random.random_range(0..10) {
            0..=3 => self.group(&mut select, kinds, &scope, depth),
            4 | 5 => {
                let partition = self.pick(&scope).sql;
                select.items = kinds.iter().map(|kind| self.windowed(*kind, &scope, &partition)).collect();
            }
            _ => select.items = kinds.iter().map(|kind| self.item(*kind, &scope, depth)).collect(),
        }
        select
    }

    fn group(&mut self, select: &mut Select, kinds: &[Type], scope: &[Column], depth: u32) {
        let keys: Vec<Column> = (0..self.random.random_range(0..3)).map(|_| self.pick(scope)).collect();
        select.group = keys.iter().map(|key| Expr::Leaf(key.sql.clone())).collect();
        let different = keys.iter().all(|key| keys.iter().filter(|other| other.sql == key.sql).count() == 1);
        if !keys.is_empty() && different && self.chance(0.2) {
            select.grouping = self.pick(&["ROLLUP", "CUBE"]);
        }
        for kind in kinds {
            let fitting: Vec<Column> = keys.iter().filter(|key| key.kind == *kind).cloned().collect();
            select.items.push(match fitting.is_empty() || self.chance(0.4) {
                false => Expr::Leaf(self.pick(&fitting).sql),
                true => self.aggregate(*kind, scope, depth),
            });
        }
        if self.chance(0.25) {
            let operands = vec![self.aggregate(Type::Bigint, scope, 0), Expr::Leaf("1".to_owned())];
            select.having = Some(Expr::Call("({} >= {})".to_owned(), operands));
        }
    }

    fn from(&mut self, depth: u32) -> (From, Vec<Column>) {
        let (mut from, mut scope) = self.relation(depth, &[]);
        let mut items = 1;
        while items < 3 && self.chance(if depth > 1 { 0.45 } else { 0.25 }) {
            items += 1;
            let lateral = depth > 0 && self.chance(0.15);
            let outer = if lateral { scope.clone() } else { vec![] };
            let (right, columns) = self.relation(depth, &outer);
            let kinds: &[&'static str] = if lateral {
                &["INNER", "LEFT", "CROSS"]
            } else {
                &["INNER", "INNER", "LEFT", "RIGHT", "FULL", "CROSS"]
            };
            let mut kind = self.pick(kinds);
            if kind == "CROSS" && !lateral && self.chance(0.7) {
                kind = "INNER";
            }
            let on = self.on(&scope, &columns, kind);
            if on.is_none() {
                kind = "CROSS";
            }
            from = From::Join { kind, left: Box::new(from), right: Box::new(right), on };
            scope.extend(columns);
        }
        (from, scope)
    }

    /// A join condition. Postgres takes full joins on equalities only.
    fn on(&mut self, left: &[Column], right: &[Column], kind: &str) -> Option<Expr> {
        let pairs: Vec<(&Column, &Column)> =
            left.iter().flat_map(|l| right.iter().filter(|r| r.kind == l.kind).map(move |r| (l, r))).collect();
        if kind == "CROSS" || pairs.is_empty() {
            return None;
        }
        let (l, r) = self.pick(&pairs);
        let equal = Expr::Call(format!("({} = {})", l.sql, r.sql), vec![]);
        match self.random.random_range(0..6) {
            0 if kind != "FULL" => Some(Expr::Call(format!("({} < {})", l.sql, r.sql), vec![])),
            1 | 2 if kind != "FULL" => {
                let both = [left, right].concat();
                Some(Expr::Call("({} AND {})".to_owned(), vec![equal, self.expr(Type::Bool, &both, 1)]))
            }
            _ => Some(equal),
        }
    }

    fn relation(&mut self, depth: u32, outer: &[Column]) -> (From, Vec<Column>) {
        let alias = self.alias("r");
        let column = |(name, kind): (String, Type)| Column { sql: format!("{alias}.{name}"), kind };
        if depth > 0 && (!outer.is_empty() || self.chance(0.25)) {
            let (query, kinds) = self.any_query(depth - 1, outer);
            let columns = kinds.iter().enumerate().map(|(at, kind)| column((format!("c{at}"), *kind))).collect();
            return (From::Derived { query: Box::new(query), alias, lateral: !outer.is_empty() }, columns);
        }
        let relation = self.pick(&self.relations.clone());
        let columns = relation.columns.into_iter().map(column).collect();
        (From::Table { name: relation.name, alias }, columns)
    }

    fn condition(&mut self, scope: &[Column], depth: u32) -> Expr {
        if depth == 0 || self.chance(0.65) {
            return self.expr(Type::Bool, scope, 2);
        }
        let subquery = self.subquery_condition(scope, depth);
        match self.random.random_range(0..4) {
            0 => Expr::Call("({} OR {})".to_owned(), vec![subquery, self.expr(Type::Bool, scope, 1)]),
            1 => Expr::Call("({} AND {})".to_owned(), vec![subquery, self.expr(Type::Bool, scope, 1)]),
            _ => subquery,
        }
    }

    fn subquery_condition(&mut self, scope: &[Column], depth: u32) -> Expr {
        let outer = if self.chance(0.6) { scope } else { &[] };
        if self.chance(0.5) {
            let (query, _) = self.any_query(depth - 1, outer);
            let template = self.pick(&["EXISTS ({})", "NOT EXISTS ({})"]);
            return Expr::Query(template, vec![], Box::new(query));
        }
        let kind = self.pick(&VALUES);
        let value = self.expr(kind, scope, 1);
        // Never a set operation: after ANY, two parentheses are read as an array's.
        let body = Body::Select(Box::new(self.select(&[kind], depth - 1, outer)));
        let query = Query { with: vec![], body, limit: None };
        let template =
            self.pick(&["({} IN ({}))", "({} NOT IN ({}))", "({} = ANY ({}))", "({} < ALL ({}))", "({} >= ANY ({}))"]);
        Expr::Query(template, vec![value], Box::new(query))
    }

    fn item(&mut self, kind: Type, scope: &[Column], depth: u32) -> Expr {
        if depth > 0 && kind != Type::Bool && self.chance(0.08) {
            return self.scalar_subquery(kind, scope, depth);
        }
        if depth > 0 && kind == Type::Bool && self.chance(0.15) {
            return self.subquery_condition(scope, depth);
        }
        self.expr(kind, scope, 2)
    }

    /// A subquery of exactly one row.
    fn scalar_subquery(&mut self, kind: Type, outer: &[Column], depth: u32) -> Expr {
        let (from, scope) = self.from(depth - 1);
        let named = [&scope[..], outer].concat();
        let filter = Some(self.expr(Type::Bool, &named, 2));
        let items = vec![self.aggregate(kind, &scope, 0)];
        let select = Select { distinct: false, items, from, filter, group: vec![], grouping: "", having: None };
        let query = Query { with: vec![], body: Body::Select(Box::new(select)), limit: None };
        Expr::Query("({})", vec![], Box::new(query))
    }

    fn aggregate(&mut self, kind: Type, scope: &[Column], depth: u32) -> Expr {
        let (template, operand) = match (kind, self.random.random_range(0..4)) {
            (Type::Int, 0 | 1) => ("count(*){}::int", None),
            (Type::Bigint, 0) => ("count(*){}", None),
            (Type::Bigint, 1) => ("count({}){}", Some(self.pick(&VALUES))),
            (Type::Bigint, 2) => ("count(DISTINCT {}){}", Some(self.pick(&VALUES))),
            (Type::Bigint, _) => ("sum({}){}", Some(Type::Int)),
            (Type::Numeric, 0) => ("sum({}){}", Some(Type::Numeric)),
            (Type::Numeric, 1) => ("sum(DISTINCT {}){}", Some(Type::Numeric)),
            (Type::Numeric, 2) => ("round(avg({}){}, 4)", Some(Type::Int)),
            (Type::Text, 0) => ("string_agg({}, ',' ORDER BY 1){}", Some(Type::Text)),
            (Type::Text, 1) => ("string_agg(DISTINCT {}, ','){}", Some(Type::Text)),
            (Type::Bool, 0 | 1) => ("bool_and({}){}", Some(Type::Bool)),
            (Type::Bool, _) => ("bool_or({}){}", Some(Type::Bool)),
            (kind, 3) => ("max({}){}", Some(kind)),
            (kind, _) => ("min({}){}", Some(kind)),
        };
        let mut operands: Vec<Expr> = operand.into_iter().map(|kind| self.expr(kind, scope, depth.min(1))).collect();
        let mut template = template.to_owned();
        if template.starts_with("string_agg({}, ") {
            // ORDER BY 1 would be a constant: the order is that of the value.
            template = template.replace("ORDER BY 1", &format!("ORDER BY {}", operands[0]));
        }
        let filter = if self.chance(0.2) {
            Expr::Call(" FILTER (WHERE {})".to_owned(), vec![self.expr(Type::Bool, scope, 1)])
        } else {
            Expr::Leaf(String::new())
        };
        operands.push(filter);
        Expr::Call(template, operands)
    }

    /// A window function, ordered by all columns, so that only equal rows are interchangeable. All of a SELECT have one
    /// partition: in two windows equal rows may stand in different orders.
    fn windowed(&mut self, kind: Type, scope: &[Column], partition: &str) -> Expr {
        if kind == Type::Bool || self.chance(0.3) {
            return self.expr(kind, scope, 1);
        }
        let all: Vec<_> = scope.iter().map(|column| column.sql.as_str()).collect();
        let over = format!("OVER (PARTITION BY {partition} ORDER BY {})", all.join(", "));
        let value = self.expr(kind, scope, 1);
        let call = |template: &str, operands| Expr::Call(format!("{template} {over}"), operands);
        let frames = ["ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING", "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW"];
        match (kind, self.random.random_range(0..6)) {
            (Type::Bigint, 0) => call("row_number()", vec![]),
            (Type::Bigint, 1) => call("dense_rank()", vec![]),
            (Type::Bigint, 2) => call("rank()", vec![]),
            (Type::Bigint, 3) => {
                let frame = self.pick(&frames);
                let over = over.replace(')', &format!(" {frame})"));
                Expr::Call(format!("sum({{}}) {over}"), vec![self.expr(Type::Int, scope, 0)])
            }
            (Type::Bigint, _) => Expr::Call(format!("count(*) OVER (PARTITION BY {partition})"), vec![]),
            (Type::Numeric, 0 | 1) => Expr::Call(format!("sum({{}}) OVER (PARTITION BY {partition})"), vec![value]),
            (_, 0) => call("lag({})", vec![value]),
            (_, 1) => call("lead({}, 2)", vec![value]),
            (_, 2) => call("first_value({})", vec![value]),
            (_, 3) => Expr::Call(format!("max({{}}) OVER (PARTITION BY {partition})"), vec![value]),
            _ => value,
        }
    }

    /// An expression of a type over columns in scope.
    fn expr(&mut self, kind: Type, scope: &[Column], depth: u32) -> Expr {
        let fitting: Vec<Column> = scope.iter().filter(|column| column.kind == kind).cloned().collect();
        if depth == 0 || self.chance(0.25) {
            if fitting.is_empty() || self.chance(0.15) {
                let value = literal(kind, 0.05, self.random);
                return Expr::Leaf(format!("{value}::{}", type_name(kind)));
            }
            return Expr::Leaf(self.pick(&fitting).sql);
        }
        let (template, operands) = self.template(kind);
        let operands = operands.iter().map(|kind| self.expr(*kind, scope, depth - 1)).collect();
        Expr::Call(template.to_owned(), operands)
    }

    fn template(&mut self, kind: Type) -> (&'static str, Vec<Type>) {
        use Type::*;
        let any = self.pick(&VALUES);
        let templates: &[(&'static str, &[Type])] = match kind {
            Int => &[
                ("({} + {})", &[Int, Int]),
                ("({} - {})", &[Int, Int]),
                ("({} * {})", &[Int, Int]),
                ("({} / nullif({}, 0))", &[Int, Int]),
                ("({} % nullif({}, 0))", &[Int, Int]),
                ("abs({})", &[Int]),
                ("length({})", &[Text]),
                ("coalesce({}, {})", &[Int, Int]),
                ("CASE WHEN {} THEN {} ELSE {} END", &[Bool, Int, Int]),
                ("extract(day FROM {})::int", &[Date]),
                ("greatest({}, {})", &[Int, Int]),
                ("({} - {})", &[Date, Date]),
            ],
            Bigint => &[
                ("({} + {})", &[Bigint, Int]),
                ("{}::bigint", &[Int]),
                ("coalesce({}, {})", &[Bigint, Bigint]),
                ("CASE WHEN {} THEN {} END", &[Bool, Bigint]),
            ],
            Numeric => &[
                ("({} + {})", &[Numeric, Numeric]),
                ("({} - {})", &[Numeric, Int]),
                ("round({}, 1)", &[Numeric]),
                ("{}::numeric(10,2)", &[Int]),
                ("nullif({}, {})", &[Numeric, Numeric]),
                ("CASE WHEN {} THEN {} ELSE {} END", &[Bool, Numeric, Numeric]),
            ],
            Text => &[
                ("({} || {})", &[Text, Text]),
                ("upper({})", &[Text]),
                ("substr({}, 1, 2)", &[Text]),
                ("{}::text", &[Int]),
                ("{}::text", &[Date]),
                ("coalesce({}, {})", &[Text, Text]),
                ("CASE WHEN {} THEN {} ELSE {} END", &[Bool, Text, Text]),
                ("replace({}, 'a', 'zz')", &[Text]),
                ("concat({}, {})", &[Text, Int]),
            ],
            Bool => {
                let compared = [("({} = {})"), "({} < {})", "({} <> {})", "({} >= {})", "({} IS NOT DISTINCT FROM {})"];
                match self.random.random_range(0..10) {
                    0..=4 => return (self.pick(&compared), vec![any, any]),
                    5 => return ("({} IS NULL)", vec![any]),
                    6 => return ("({} IN ({}, {}))", vec![any; 3]),
                    _ => &[
                        ("({} AND {})", &[Bool, Bool]),
                        ("({} OR {})", &[Bool, Bool]),
                        ("(NOT {})", &[Bool]),
                        ("({} LIKE 'a%')", &[Text]),
                        ("({} BETWEEN {} AND {})", &[Int, Int, Int]),
                        ("({} IS TRUE)", &[Bool]),
                    ],
                }
            }
            Date => &[
                ("({} + 1)", &[Date]),
                ("coalesce({}, {})", &[Date, Date]),
                ("date_trunc('month', {})::date", &[Date]),
                ("least({}, {})", &[Date, Date]),
            ],
        };
        let (template, operands) = self.pick(templates);
        (template, operands.to_vec())
    }
}

fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::Int => "int",
        Type::Bigint => "bigint",
        Type::Numeric => "numeric(10,2)",
        Type::Text => "text",
        Type::Bool => "boolean",
        Type::Date => "date",
    }
}
