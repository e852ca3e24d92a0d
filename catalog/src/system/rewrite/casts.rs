//! Casts to Postgres's own types: `'t'::regclass` becomes `regclassin('t')`, and from there to text `regclassout`;
//! other types get the spelling that DataFusion knows.

use super::expressions::{call, called, cast, inside, oid, parts, take};
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType, Expr, Query};
use millrace_functions::each_expression;

/// The types of names that stand for OIDs.
const NAME_TYPES: &[&str] = &["regclass", "regtype", "regproc", "regprocedure", "regnamespace", "regrole"];

/// The rule.
pub fn simplify(query: &mut Query) {
    each_expression(query, |expr| {
        if let Expr::Cast { expr: inner, data_type, .. } = expr
            && let Some(replaced) = replaced(inner, data_type)
        {
            *expr = replaced;
        }
    });
}

fn replaced(inner: &mut Expr, data_type: &mut DataType) -> Option<Expr> {
    let name = type_name(data_type)?;
    if NAME_TYPES.contains(&name.as_str()) {
        return Some(call(&format!("{name}in"), vec![take(inner)]));
    }
    let reader = called(inside(inner)).and_then(|function| function.strip_suffix("in").map(str::to_owned));
    let from_name = reader.filter(|reader| NAME_TYPES.contains(&reader.as_str()));
    if let ("text" | "varchar" | "name", Some(reader)) = (name.as_str(), from_name) {
        return Some(call(&format!("{reader}out"), vec![take(inner)]));
    }
    let spelled = spelled(&name)?;
    (spelled != *data_type).then(|| cast(take(inner), spelled))
}

/// The bare name of a type, `_name` being the array of `name`; none for types that need no other spelling.
fn type_name(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Regclass => Some("regclass".to_owned()),
        DataType::Text => Some("text".to_owned()),
        DataType::Varchar(None) | DataType::CharacterVarying(None) => Some("varchar".to_owned()),
        DataType::Custom(name, modifiers) if modifiers.is_empty() => match parts(name).as_slice() {
            [name] | ["pg_catalog" | "information_schema", name] => Some(name.to_lowercase()),
            _ => None,
        },
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => {
            type_name(element).map(|element| format!("_{element}"))
        }
        _ => None,
    }
}

/// The type as DataFusion spells it.
fn spelled(name: &str) -> Option<DataType> {
    if let Some(element) = name.strip_prefix('_') {
        return Some(DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(spelled(element)?), None)));
    }
    Some(match name {
        "oid" | "xid" | "cid" | "regclass" | "regtype" | "regproc" | "regnamespace" => oid(),
        "int2vector" => return spelled("_int2"),
        "oidvector" => return spelled("_oid"),
        "text" | "varchar" | "name" | "char" | "bpchar" | "cstring" | "sql_identifier" | "character_data" => {
            DataType::Text
        }
        "yes_or_no" | "aclitem" | "pg_node_tree" | "inet" => DataType::Text,
        "int2" => DataType::SmallInt(None),
        "int4" | "cardinal_number" => DataType::Integer(None),
        "int8" => DataType::BigInt(None),
        "bool" => DataType::Boolean,
        "float4" => DataType::Real,
        "float8" => DataType::DoublePrecision,
        _ => return None,
    })
}

/// Whether a call gives the OID that a name stands for, and the function that gives the name back.
pub fn writer(function: &str) -> Option<String> {
    let kind = function.strip_suffix("in").or_else(|| function.strip_prefix("to_"))?;
    NAME_TYPES.contains(&kind).then(|| format!("{kind}out"))
}
