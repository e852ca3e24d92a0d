//! Relations whose few rows are always the same: access methods, collations, languages, tablespaces.

use super::super::rows::Rows;
use super::super::snapshot::{PG_CATALOG, Snapshot};

pub fn access_methods(_: &Snapshot, rows: &mut Rows) {
    for (oid, name, kind) in [(2u32, "heap", 't'), (403, "btree", 'i'), (405, "hash", 'i')] {
        rows.push([("oid", oid.into()), ("amname", name.into()), ("amtype", kind.into())]);
    }
}

pub fn collations(_: &Snapshot, rows: &mut Rows) {
    for (oid, name, provider, locale) in
        [(100u32, "default", 'd', None), (950, "C", 'c', Some("C")), (951, "POSIX", 'c', Some("POSIX"))]
    {
        rows.push([
            ("oid", oid.into()),
            ("collname", name.into()),
            ("collnamespace", PG_CATALOG.into()),
            ("collowner", 10u32.into()),
            ("collprovider", provider.into()),
            ("collisdeterministic", true.into()),
            ("collencoding", (-1).into()),
            ("collcollate", locale.into()),
            ("collctype", locale.into()),
        ]);
    }
}

pub fn languages(_: &Snapshot, rows: &mut Rows) {
    for (oid, name) in [(12u32, "internal"), (13, "c"), (14, "sql")] {
        rows.push([("oid", oid.into()), ("lanname", name.into()), ("lanowner", 10u32.into())]);
    }
}

pub fn operator_classes(_: &Snapshot, rows: &mut Rows) {
    rows.push([
        ("oid", 10_020u32.into()),
        ("opcmethod", 403u32.into()),
        ("opcname", "any_ops".into()),
        ("opcnamespace", PG_CATALOG.into()),
        ("opcowner", 10u32.into()),
        ("opcintype", 2276u32.into()),
        ("opcdefault", true.into()),
    ]);
}

pub fn tablespaces(_: &Snapshot, rows: &mut Rows) {
    for (oid, name) in [(1663u32, "pg_default"), (1664, "pg_global")] {
        rows.push([("oid", oid.into()), ("spcname", name.into()), ("spcowner", 10u32.into())]);
    }
}
