//! The schema of a relation in few bytes: a one-row insert should not carry half a kilobyte of schema.
//!
//! Each column is its type's OID (u32), the type's modifier (i32), whether it is nullable (u8), the length of its name
//! (u16) and the name. A schema that says more than this is refused; the caller then writes it as Arrow does.

use arrow::datatypes::{Field, Schema};
use millrace_types::{SqlType, field_of, sql_type_of};

/// Bytes of a column before its name.
const COLUMN_BYTES: usize = 11;

/// The bytes of a schema; `None` when its columns are not exactly those that [`decode`] would give back.
pub fn encode(schema: &Schema) -> Option<Vec<u8>> {
    if !schema.metadata().is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(schema.fields().len() * (COLUMN_BYTES + 8));
    for field in schema.fields() {
        let sql_type = sql_type_of(field);
        bytes.extend_from_slice(&sql_type.oid().to_le_bytes());
        bytes.extend_from_slice(&sql_type.typmod().to_le_bytes());
        bytes.push(field.is_nullable().into());
        bytes.extend_from_slice(&u16::try_from(field.name().len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(field.name().as_bytes());
        if modified(sql_type.oid(), sql_type.typmod())
            .is_none_or(|t| field_of(field.name(), &t, field.is_nullable()) != **field)
        {
            return None;
        }
    }
    Some(bytes)
}

/// The schema in these bytes, which must be all of it.
pub fn decode(mut bytes: &[u8]) -> Option<Schema> {
    let mut fields: Vec<Field> = Vec::new();
    while let Some((column, rest)) = bytes.split_first_chunk::<COLUMN_BYTES>() {
        let [o0, o1, o2, o3, m0, m1, m2, m3, nullable, n0, n1] = *column;
        let sql_type = modified(u32::from_le_bytes([o0, o1, o2, o3]), i32::from_le_bytes([m0, m1, m2, m3]))?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes([n0, n1]).into())?;
        fields.push(field_of(str::from_utf8(name).ok()?, &sql_type, nullable != 0));
        bytes = rest;
    }
    bytes.is_empty().then(|| Schema::new(fields))
}

/// The type with this OID and modifier.
fn modified(oid: u32, modifier: i32) -> Option<SqlType> {
    let limit = u32::try_from(modifier - 4).ok();
    Some(match SqlType::from_oid(oid)? {
        SqlType::Array(element) => SqlType::Array(Box::new(modified(element.oid(), modifier)?)),
        SqlType::Varchar(_) => SqlType::Varchar(limit),
        SqlType::Bpchar(_) => SqlType::Bpchar(limit),
        SqlType::Numeric(_) => SqlType::Numeric(limit.map(precision_and_scale)),
        other => other,
    })
}

fn precision_and_scale(packed: u32) -> (u8, i8) {
    // The scale has eleven bits, the topmost of which is its sign.
    ((packed >> 16) as u8, (((packed & 0x7ff) << 21) as i32 >> 21) as i8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::DataType;

    #[test]
    fn every_type_with_and_without_a_modifier_is_given_back() {
        let limited = [
            SqlType::Varchar(Some(7)),
            SqlType::Bpchar(Some(1)),
            SqlType::Numeric(Some((38, 18))),
            SqlType::Numeric(Some((5, -3))),
        ];
        let types = SqlType::ALL.iter().chain(&limited).cloned();
        let with_arrays = types.flat_map(|t| [t.clone(), SqlType::Array(Box::new(t))]);
        let fields: Vec<_> =
            with_arrays.enumerate().map(|(n, t)| field_of(format!("Zeile {n}ß"), &t, n % 3 == 0)).collect();
        let schema = Schema::new(fields);
        assert_eq!(decode(&encode(&schema).unwrap()), Some(schema));
        assert_eq!(decode(&[]), Some(Schema::empty()));
    }

    #[test]
    fn what_would_not_be_given_back_is_refused() {
        assert_eq!(encode(&Schema::new(vec![Field::new("c", DataType::Utf8, true)])), None);
        let noted = Field::new("c", DataType::Int32, true).with_metadata([("note".into(), "x".into())].into());
        assert_eq!(encode(&Schema::new(vec![noted])), None);
        let whole = encode(&Schema::new(vec![field_of("c", &SqlType::Int4, true)])).unwrap();
        assert!((1..whole.len()).all(|cut| decode(&whole[..cut]).is_none()));
    }
}
