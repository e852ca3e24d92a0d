//! Avro schemas, laid out for decoding: nodes that name each other by number, so that recursive ones are no different.

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, NamespaceRef, UuidSchema};
use millrace_types::{Result, SqlError, SqlState, SqlType};
use std::collections::HashMap;

/// The number of a node.
pub(super) type Id = usize;

/// What stands in the bytes.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Boolean,
    Integer,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    /// Sixteen bytes.
    Uuid,
    Enum(Vec<String>),
    Array(Id),
    Map(Id),
    Union(Vec<Id>),
    Record(Vec<Field>),
    Decimal {
        precision: usize,
        scale: u8,
        fixed: Option<usize>,
    },
    Date,
    /// Microseconds in the unit that is counted.
    Time(i64),
    /// How many of the unit that is counted are a second.
    Moment {
        per_second: i64,
        zoned: bool,
    },
    Duration,
}

/// A field of a record.
#[derive(Debug)]
pub(super) struct Field {
    pub name: String,
    pub aliases: Vec<String>,
    pub default: Option<serde_json::Value>,
    pub node: Id,
}

/// A schema, as that of a record. Another one stands for a record whose only field has no name, which has the same bytes.
#[derive(Debug)]
pub(crate) struct AvroSchema {
    nodes: Vec<Node>,
    root: Id,
}

impl AvroSchema {
    /// Reads a schema, which may name others.
    ///
    /// # Errors
    /// `22023` when the text is no schema.
    pub fn parse(text: &str, others: &[String]) -> Result<AvroSchema> {
        let invalid = |error: &dyn std::fmt::Display| {
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid Avro schema: {error}"))
        };
        let (root, named) = match others {
            [] => (Schema::parse_str(text).map_err(|error| invalid(&error))?, vec![]),
            others => Schema::parse_str_with_list(text, others).map_err(|error| invalid(&error))?,
        };
        let mut builder = Builder { nodes: vec![], names: HashMap::new() };
        for schema in &named {
            builder.add(schema, None).map_err(|error| invalid(&error))?;
        }
        let root = builder.add(&root, None).map_err(|error| invalid(&error))?;
        let root = match builder.nodes[root] {
            Node::Record(_) => root,
            _ => {
                let field = Field { name: String::new(), aliases: vec![], default: None, node: root };
                builder.push(Node::Record(vec![field]))
            }
        };
        Ok(AvroSchema { nodes: builder.nodes, root })
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// The fields of the record.
    pub(super) fn fields(&self) -> &[Field] {
        match self.node(self.root) {
            Node::Record(fields) => fields,
            _ => &[],
        }
    }

    /// The fields of the record that a field holds, or may hold.
    pub(super) fn fields_in(&self, name: &str) -> Option<&[Field]> {
        let field = self.fields().iter().find(|field| field.name == name)?;
        let branches = match self.node(field.node) {
            Node::Union(branches) => &branches[..],
            _ => std::slice::from_ref(&field.node),
        };
        branches.iter().find_map(|branch| match self.node(*branch) {
            Node::Record(fields) => Some(&fields[..]),
            _ => None,
        })
    }

    /// The columns that the fields are.
    pub fn columns(&self) -> Vec<(String, SqlType)> {
        let name = |field: &Field| if field.name.is_empty() { "value".to_owned() } else { field.name.clone() };
        self.fields().iter().map(|field| (name(field), self.sql_type(field.node))).collect()
    }

    fn sql_type(&self, id: Id) -> SqlType {
        match self.node(id) {
            Node::Boolean => SqlType::Bool,
            Node::Integer => SqlType::Int8,
            Node::Float => SqlType::Float4,
            Node::Double => SqlType::Float8,
            Node::Bytes | Node::Fixed(_) => SqlType::Bytea,
            Node::Null | Node::String | Node::Enum(_) => SqlType::Text,
            Node::Uuid => SqlType::Uuid,
            Node::Array(items) => match self.sql_type(*items) {
                SqlType::Array(_) | SqlType::Jsonb => SqlType::Jsonb,
                element => SqlType::Array(Box::new(element)),
            },
            Node::Map(_) | Node::Record(_) => SqlType::Jsonb,
            Node::Union(branches) => {
                let mut others = branches.iter().filter(|id| !matches!(self.node(**id), Node::Null));
                match (others.next(), others.next()) {
                    (Some(only), None) => self.sql_type(*only),
                    (None, _) => SqlType::Text,
                    _ => SqlType::Jsonb,
                }
            }
            Node::Decimal { precision, scale, .. } if *precision <= 38 => {
                SqlType::Numeric(Some((*precision as u8, *scale as i8)))
            }
            Node::Decimal { .. } => SqlType::Numeric(None),
            Node::Date => SqlType::Date,
            Node::Time(_) => SqlType::Time,
            Node::Moment { zoned: true, .. } => SqlType::Timestamptz,
            Node::Moment { zoned: false, .. } => SqlType::Timestamp,
            Node::Duration => SqlType::Interval,
        }
    }
}

struct Builder {
    nodes: Vec<Node>,
    names: HashMap<String, Id>,
}

impl Builder {
    fn push(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Keeps the name of a node that is to be laid out.
    fn named(&mut self, name: &Name, within: NamespaceRef<'_>) -> Id {
        let id = self.push(Node::Null);
        self.names.insert(name.fullname(within), id);
        id
    }

    fn add(&mut self, schema: &Schema, within: NamespaceRef<'_>) -> std::result::Result<Id, String> {
        let second = |per_second, zoned| Node::Moment { per_second, zoned };
        let node = match schema {
            Schema::Null => Node::Null,
            Schema::Boolean => Node::Boolean,
            Schema::Int | Schema::Long => Node::Integer,
            Schema::Float => Node::Float,
            Schema::Double => Node::Double,
            // A decimal that carries its scale is kept as its bytes.
            Schema::Bytes | Schema::BigDecimal => Node::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Node::String,
            Schema::Uuid(UuidSchema::Bytes) => Node::Bytes,
            Schema::Uuid(UuidSchema::Fixed(fixed)) => return Ok(self.fixed(&fixed.name, within, Node::Uuid)),
            Schema::Fixed(fixed) => return Ok(self.fixed(&fixed.name, within, Node::Fixed(fixed.size))),
            Schema::Duration(fixed) => return Ok(self.fixed(&fixed.name, within, Node::Duration)),
            Schema::Decimal(decimal) => {
                let node = |fixed| Node::Decimal { precision: decimal.precision, scale: decimal.scale as u8, fixed };
                if decimal.scale > 38 {
                    return Err(format!("a decimal of scale {}", decimal.scale));
                }
                match &decimal.inner {
                    InnerDecimalSchema::Bytes => node(None),
                    InnerDecimalSchema::Fixed(fixed) => {
                        return Ok(self.fixed(&fixed.name, within, node(Some(fixed.size))));
                    }
                }
            }
            Schema::Date => Node::Date,
            Schema::TimeMillis => Node::Time(1000),
            Schema::TimeMicros => Node::Time(1),
            Schema::TimestampMillis => second(1_000, true),
            Schema::TimestampMicros => second(1_000_000, true),
            Schema::TimestampNanos => second(1_000_000_000, true),
            Schema::LocalTimestampMillis => second(1_000, false),
            Schema::LocalTimestampMicros => second(1_000_000, false),
            Schema::LocalTimestampNanos => second(1_000_000_000, false),
            Schema::Enum(symbols) => {
                return Ok(self.fixed(&symbols.name, within, Node::Enum(symbols.symbols.clone())));
            }
            Schema::Array(array) => Node::Array(self.add(&array.items, within)?),
            Schema::Map(map) => Node::Map(self.add(&map.types, within)?),
            Schema::Union(union) => {
                let branches = union.variants().iter().map(|branch| self.add(branch, within));
                Node::Union(branches.collect::<std::result::Result<_, _>>()?)
            }
            Schema::Ref { name } => {
                let name = name.fullname(within);
                return self.names.get(&name).copied().ok_or_else(|| format!("type \"{name}\" is not defined"));
            }
            Schema::Record(record) => {
                let id = self.named(&record.name, within);
                let inside = record.name.namespace().or(within);
                let mut fields = Vec::with_capacity(record.fields.len());
                for field in &record.fields {
                    fields.push(Field {
                        name: field.name.clone(),
                        aliases: field.aliases.clone(),
                        default: field.default.clone(),
                        node: self.add(&field.schema, inside)?,
                    });
                }
                self.nodes[id] = Node::Record(fields);
                return Ok(id);
            }
        };
        Ok(self.push(node))
    }

    fn fixed(&mut self, name: &Name, within: NamespaceRef<'_>, node: Node) -> Id {
        let id = self.named(name, within);
        self.nodes[id] = node;
        id
    }
}
