//! Postgres's types as `pg_type` knows them, read from `types.txt`; arrays follow from their elements.

use std::sync::LazyLock;

/// A function of `pg_proc` by name and OID; `("-", 0)` is none.
pub type Routine = (&'static str, u32);

const NONE: Routine = ("-", 0);

/// A row of `pg_type`.
#[derive(Clone, Debug)]
pub struct PgType {
    /// Its OID.
    pub oid: u32,
    /// Its internal name.
    pub name: String,
    /// Bytes of a value; -1 for varying length, -2 for text that ends in a zero byte.
    pub length: i32,
    /// Whether values are passed by value.
    pub by_value: bool,
    /// `b` for a base type, `p` for a pseudo type.
    pub kind: &'static str,
    /// The category of its conversions.
    pub category: &'static str,
    /// Whether it is the preferred one of its category.
    pub preferred: bool,
    /// The element type of an array or of `name`; 0 for others.
    pub element: u32,
    /// The array over it; 0 for none.
    pub array: u32,
    /// How text and binary values are read and written.
    pub input: Routine,
    /// Writes text.
    pub output: Routine,
    /// Reads binary.
    pub receive: Routine,
    /// Writes binary.
    pub send: Routine,
    /// Reads a modifier.
    pub modifier_in: Routine,
    /// Writes a modifier.
    pub modifier_out: Routine,
    /// Storage alignment.
    pub align: &'static str,
    /// Storage strategy.
    pub storage: &'static str,
    /// The collation of its values; 0 for none.
    pub collation: u32,
}

/// Every type, an array right after its element.
pub static PG_TYPES: LazyLock<Vec<PgType>> = LazyLock::new(|| {
    include_str!("types.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(parse)
        .flat_map(|element| {
            let array = (element.array != 0).then(|| array_of(&element));
            [Some(element), array]
        })
        .flatten()
        .collect()
});

/// The type with this OID.
pub fn pg_type(oid: u32) -> Option<&'static PgType> {
    PG_TYPES.iter().find(|known| known.oid == oid)
}

fn parse(line: &'static str) -> Option<PgType> {
    let mut fields = line.split(' ');
    let mut next = || fields.next();
    Some(PgType {
        oid: next()?.parse().ok()?,
        name: next()?.to_owned(),
        length: next()?.parse().ok()?,
        by_value: next()? == "t",
        kind: next()?,
        category: next()?,
        preferred: next()? == "t",
        element: next()?.parse().ok()?,
        array: next()?.parse().ok()?,
        input: routine(next()?)?,
        output: routine(next()?)?,
        receive: routine(next()?)?,
        send: routine(next()?)?,
        modifier_in: routine(next()?)?,
        modifier_out: routine(next()?)?,
        align: next()?,
        storage: next()?,
        collation: next()?.parse().ok()?,
    })
}

fn routine(text: &'static str) -> Option<Routine> {
    let (name, oid) = text.split_once(':')?;
    Some((name, oid.parse().ok()?))
}

fn array_of(element: &PgType) -> PgType {
    PgType {
        oid: element.array,
        name: format!("_{}", element.name),
        length: -1,
        by_value: false,
        kind: element.kind,
        category: if element.kind == "p" { "P" } else { "A" },
        preferred: false,
        element: element.oid,
        array: 0,
        input: ("array_in", 750),
        output: ("array_out", 751),
        receive: ("array_recv", 2400),
        send: ("array_send", 2401),
        modifier_in: if element.modifier_in == NONE { NONE } else { element.modifier_in },
        modifier_out: element.modifier_out,
        align: if element.align == "d" { "d" } else { "i" },
        storage: "x",
        collation: element.collation,
    }
}

/// Every input, output and modifier function that a type names, once.
pub fn routines() -> Vec<Routine> {
    let of = |t: &PgType| [t.input, t.output, t.receive, t.send, t.modifier_in, t.modifier_out];
    let mut all: Vec<_> = PG_TYPES.iter().flat_map(of).filter(|routine| *routine != NONE).collect();
    all.sort_by_key(|(_, oid)| *oid);
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_types::SqlType;

    #[test]
    fn every_sql_type_and_its_array_is_listed_with_its_own_oid() {
        for sql_type in SqlType::ALL {
            let listed = pg_type(sql_type.oid()).unwrap();
            assert_eq!(listed.name, sql_type.name());
            assert_eq!(listed.length, i32::from(sql_type.length()));
            let array = pg_type(sql_type.array_oid()).unwrap();
            assert_eq!((array.element, array.receive.0), (sql_type.oid(), "array_recv"));
            assert_eq!(listed.array, array.oid);
        }
    }
}
