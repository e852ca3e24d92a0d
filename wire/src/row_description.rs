//! Columns as clients see them: names, true type OIDs, widths, modifiers.

use crate::portal::Format;
use arrow::datatypes::{Field, Schema};
use millrace_types::{SqlType, sql_type_of};
use pgwire::messages::data::{FieldDescription, RowDescription};

/// The metadata key under which a field may name the OID of the relation that its column is of.
pub const TABLE_OID_KEY: &str = "millrace.table_oid";

/// The metadata key under which a field may give its column's number in that relation, from 1.
pub const ATTRIBUTE_NUMBER_KEY: &str = "millrace.attnum";

/// The description of rows with these columns in these formats.
pub(crate) fn row_description(schema: &Schema, formats: &[Format]) -> RowDescription {
    let describe = |(field, format): (&std::sync::Arc<Field>, &Format)| {
        let sql_type = match wire_type(&sql_type_of(field)) {
            // What is kept as text has no other binary form.
            SqlType::Record if format.code() == 1 => SqlType::Text,
            sql_type => sql_type,
        };
        FieldDescription::new(
            field.name().replace('\0', ""),
            number::<u32>(field, TABLE_OID_KEY) as i32,
            number(field, ATTRIBUTE_NUMBER_KEY),
            if is_record(field, *format) { RECORD_OID } else { sql_type.oid() },
            sql_type.length(),
            sql_type.typmod(),
            format.code(),
        )
    };
    RowDescription::new(schema.fields().iter().zip(formats).map(describe).collect())
}

/// The OID of `record`.
const RECORD_OID: u32 = 2249;

/// Whether a column is of rows of no relation, in the form that clients read as a record.
fn is_record(field: &Field, format: Format) -> bool {
    let unnamed = !field.metadata().contains_key(millrace_types::TYPE_KEY);
    matches!(field.data_type(), arrow::datatypes::DataType::Struct(_)) && unnamed && format.code() == 0
}

fn number<T: std::str::FromStr + Default>(field: &Field, key: &str) -> T {
    field.metadata().get(key).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The type that a client is told. Postgres resolves a bare NULL to text, and its arrays have one type whatever their
/// dimensions.
pub(crate) fn wire_type(sql_type: &SqlType) -> SqlType {
    match sql_type {
        SqlType::Unknown => SqlType::Text,
        SqlType::Array(element) => match wire_type(element) {
            inner @ SqlType::Array(_) => inner,
            element => SqlType::Array(Box::new(element)),
        },
        other => other.clone(),
    }
}

/// The OID that a client is told; never 0.
pub(crate) fn wire_oid(sql_type: &SqlType) -> u32 {
    wire_type(sql_type).oid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_types::field_of;

    #[test]
    fn every_column_has_a_type_of_postgres() {
        let nested = SqlType::Array(Box::new(SqlType::Array(Box::new(SqlType::Int4))));
        let fields = [
            field_of("n", &SqlType::Numeric(Some((10, 2))), true),
            field_of("u", &SqlType::Unknown, true),
            field_of("a", &nested, true),
            field_of("v", &SqlType::Varchar(Some(7)), true)
                .with_metadata([(TABLE_OID_KEY.to_owned(), "16384".to_owned())].into()),
        ];
        let described = row_description(&Schema::new(fields.to_vec()), &[Format::Text; 4]);
        let seen: Vec<_> = described.fields.iter().map(|f| (f.type_id, f.type_size, f.type_modifier)).collect();
        assert_eq!(seen[..3], [(1700, -1, 655366), (25, -1, -1), (1007, -1, -1)]);
        assert_eq!(described.fields[3].table_id, 16384);
    }
}
