//! Random tables and random changes of their rows.

use super::query::Type;
use rand::Rng;
use rand::rngs::StdRng;
use std::fmt::Write;

/// A table and the type of each of its columns.
#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    /// Names and types; the first is the primary key, if there is one.
    pub columns: Vec<(String, Type)>,
    pub has_key: bool,
    /// The next value of the primary key.
    next_key: u32,
}

impl Table {
    /// A table of random columns.
    pub fn random(name: String, random: &mut StdRng) -> Table {
        let has_key = random.random_bool(0.6);
        let mut columns = vec![("id".to_owned(), Type::Int)];
        for (at, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            let kind = match at {
                0 => Type::Int,
                1 => Type::Text,
                _ => [Type::Int, Type::Bigint, Type::Numeric, Type::Text, Type::Bool, Type::Date]
                    [random.random_range(0..6)],
            };
            if at < 2 || random.random_bool(0.7) {
                columns.push((name.to_owned(), kind));
            }
        }
        Table { name, columns, has_key, next_key: 1 }
    }

    /// The statement that makes it.
    pub fn create(&self) -> String {
        let columns = self.columns.iter().enumerate().map(|(at, (name, kind))| {
            let kind = match kind {
                Type::Int => "int",
                Type::Bigint => "bigint",
                Type::Numeric => "numeric(10,2)",
                Type::Bool => "boolean",
                Type::Date => "date",
                Type::Text => "text",
            };
            format!("{name} {kind}{}", if at == 0 && self.has_key { " PRIMARY KEY" } else { "" })
        });
        format!("CREATE TABLE {} ({})", self.name, columns.collect::<Vec<_>>().join(", "))
    }

    /// A statement that changes some rows.
    pub fn change(&mut self, random: &mut StdRng) -> String {
        match random.random_range(0..10) {
            0..=5 => self.insert(random),
            6 | 7 => {
                let at = random.random_range(1..self.columns.len());
                let (column, kind) = &self.columns[at];
                let value = literal(*kind, 0.15, random);
                format!("UPDATE {} SET {column} = {value} WHERE {}", self.name, self.condition(random))
            }
            _ => format!("DELETE FROM {} WHERE {}", self.name, self.condition(random)),
        }
    }

    fn insert(&mut self, random: &mut StdRng) -> String {
        let mut sql = format!("INSERT INTO {} VALUES ", self.name);
        for row in 0..random.random_range(1..7) {
            sql.push_str(if row == 0 { "(" } else { ", (" });
            for (at, (_, kind)) in self.columns.iter().enumerate() {
                let value = match at {
                    0 if self.has_key => {
                        self.next_key += 1;
                        (self.next_key - 1).to_string()
                    }
                    0 => random.random_range(1..20).to_string(),
                    _ => literal(*kind, 0.15, random),
                };
                // Writing to a string cannot fail.
                let _ = write!(sql, "{}{value}", if at == 0 { "" } else { ", " });
            }
            sql.push(')');
        }
        sql
    }

    fn condition(&self, random: &mut StdRng) -> String {
        let (column, kind) = &self.columns[random.random_range(0..self.columns.len())];
        match random.random_range(0..4) {
            0 => format!("{column} IS NULL"),
            1 if *kind == Type::Int => format!("{column} % 3 = {}", random.random_range(0..3)),
            _ => format!("{column} = {}", literal(*kind, 0.0, random)),
        }
    }
}

/// A value of a type, from few, so that values meet.
pub fn literal(kind: Type, null: f64, random: &mut StdRng) -> String {
    if random.random_bool(null) {
        return "NULL".to_owned();
    }
    match kind {
        Type::Int => random.random_range(-2..8).to_string(),
        Type::Bigint => [-1, 0, 1, 5_000_000_000_i64][random.random_range(0..4)].to_string(),
        Type::Numeric => ["0.00", "1.50", "-2.25", "10.00", "99.99"][random.random_range(0..5)].to_owned(),
        Type::Text => ["'a'", "'b'", "'abc'", "''", "'B a'", "'%_'"][random.random_range(0..6)].to_owned(),
        Type::Bool => ["true", "false"][random.random_range(0..2)].to_owned(),
        Type::Date => {
            ["'2024-01-31'", "'2024-02-29'", "'1969-12-31'", "'2024-03-01'"][random.random_range(0..4)].to_owned()
        }
    }
}
