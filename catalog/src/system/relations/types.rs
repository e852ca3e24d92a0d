//! `pg_type`: the scalar types, their arrays and the pseudo types.

use super::super::pg_types::PG_TYPES;
use super::super::rows::Rows;
use super::super::snapshot::{PG_CATALOG, Snapshot};

pub fn fill(_: &Snapshot, rows: &mut Rows) {
    for listed in PG_TYPES.iter() {
        rows.push([
            ("oid", listed.oid.into()),
            ("typname", listed.name.as_str().into()),
            ("typnamespace", PG_CATALOG.into()),
            ("typowner", 10u32.into()),
            ("typlen", listed.length.into()),
            ("typbyval", listed.by_value.into()),
            ("typtype", listed.kind.into()),
            ("typcategory", listed.category.into()),
            ("typispreferred", listed.preferred.into()),
            ("typisdefined", true.into()),
            ("typdelim", ','.into()),
            ("typelem", listed.element.into()),
            ("typarray", listed.array.into()),
            ("typinput", listed.input.1.into()),
            ("typoutput", listed.output.1.into()),
            ("typreceive", listed.receive.1.into()),
            ("typsend", listed.send.1.into()),
            ("typmodin", listed.modifier_in.1.into()),
            ("typmodout", listed.modifier_out.1.into()),
            ("typalign", listed.align.into()),
            ("typstorage", listed.storage.into()),
            ("typtypmod", (-1).into()),
            ("typcollation", listed.collation.into()),
        ]);
    }
}
