//! Aggregates over sessions, as sessions of aggregates.
//!
//! A session is found by a window function, which gives each row the sides of its session and keeps all rows in order. Who
//! groups by nothing but these needs no rows: what is kept then is what each session comes to so far.
//!
//! ```text
//!   Aggregate by k, start, end                          Project
//!     Project                                             Aggregate by k in sessions of ts
//!       Window session_start, session_end        ->         Exchange by k
//!         Exchange by k                                       Project k, ts, what aggregates read
//! ```
//!
//! That takes rows that are only added, since a session falls apart when one goes; and that what is over is sealed, so that
//! a key has few sessions at a time.

use super::closing::Emission;
use super::finality::{closings, session_side};
use super::node;
use super::project::projected;
use crate::error::sql_error;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::physical_expr::expressions::{Column, lit};
use datafusion::physical_expr::utils::collect_columns;
use millrace_functions::event_windows::{Side, TimeExpression};
use millrace_ir::{Aggregate, AggregateFunction, Expr, Node, Plan, Reach, Sessions, Window};
use millrace_types::Result;
use std::sync::Arc;

/// The aggregate of `input` by the columns `keys` as one in sessions; `None` where it is not one.
pub fn in_sessions(input: &Node, keys: &[usize], aggregates: &[Aggregate], emission: Emission) -> Result<Option<Node>> {
    let Some(grouped) = Grouped::of(input, keys, aggregates, emission) else { return Ok(None) };
    let rows = grouped.rows()?;
    let columns = rows.schema.fields().len();
    let partition = grouped.partition();
    let time = partition.len();
    let moment = rows.schema.field(time).data_type().clone();
    let mut next = time + 1;
    let mut place = |column: Option<usize>| {
        column.map(|_| {
            next += 1;
            next - 1
        })
    };
    let calls = aggregates.iter().map(|call| Aggregate {
        argument: place(call.argument),
        filter: place(call.filter),
        ..call.clone()
    });
    let calls: Vec<Aggregate> = calls.collect();
    debug_assert_eq!(next, columns);
    let rows = node::partitioned(rows, &(0..time).collect::<Vec<_>>());
    let sides = ["start", "end"].map(|name| Arc::new(Field::new(name, moment.clone(), true)));
    let of_keys = rows.schema.fields()[..time].iter().cloned();
    let fields: Vec<FieldRef> = of_keys.chain(sides).chain(calls.iter().map(|call| call.output.clone())).collect();
    let node = Node {
        schema: Arc::new(Schema::new(fields)),
        append_only: false,
        partitioned_by: rows.partitioned_by.clone(),
        unique_key: Some((0..=time).collect()),
        event_time: None,
        plan: Plan::Aggregate {
            input: Box::new(rows),
            keys: (0..time).collect(),
            sessions: Some(Sessions { time, gap: grouped.gap }),
            aggregates: calls,
            closing: None,
            once: false,
        },
    };
    grouped.as_grouped(node).map(Some)
}

/// Rows that are grouped by the sides of their sessions.
struct Grouped<'a> {
    input: &'a Node,
    window: &'a Window,
    /// The columns of the input over those of the window.
    exprs: Vec<Expr>,
    keys: &'a [usize],
    aggregates: &'a [Aggregate],
    gap: i64,
}

/// What a key is.
enum Key {
    /// A column that the sessions are partitioned by.
    Partition(usize),
    Side,
    /// A time before the end.
    BeforeEnd,
}

impl<'a> Grouped<'a> {
    fn of(input: &'a Node, keys: &'a [usize], aggregates: &'a [Aggregate], emission: Emission) -> Option<Grouped<'a>> {
        let mut exprs: Vec<Expr> = (0..input.schema.fields().len()).map(|column| node::column(input, column)).collect();
        let mut below = input;
        while let Plan::Project { input: next, exprs: inner } = &below.plan {
            let composed = exprs.iter().map(|expr| super::slices::over(expr, |column| inner[column.index()].clone()));
            exprs = composed.collect::<Result<_>>().ok()?;
            below = next;
        }
        let Plan::Window(window) = &below.plan else { return None };
        let Reach::Session(gap) = window.reach else { return None };
        let grouped = Grouped { input, window, exprs, keys, aggregates, gap };
        let kinds = keys.iter().map(|key| grouped.kind(*key)).collect::<Option<Vec<Key>>>()?;
        let of_partition = |column: &usize| kinds.iter().any(|key| matches!(key, Key::Partition(at) if at == column));
        let is_session = kinds.iter().any(|key| matches!(key, Key::Side));
        let known = is_session && window.partition.iter().all(of_partition) && grouped.is_sealed(emission);
        (known && aggregates.iter().all(|call| grouped.is_mergeable(call))).then_some(grouped)
    }

    fn width(&self) -> usize {
        self.window.input.schema.fields().len()
    }

    fn kind(&self, key: usize) -> Option<Key> {
        let expr = &self.exprs[key];
        if let Some(TimeExpression::Before { column, .. }) = TimeExpression::of(expr) {
            return (self.side(column)? == Side::End).then_some(Key::BeforeEnd);
        }
        let column = expr.downcast_ref::<Column>()?.index();
        match self.side(column) {
            Some(_) => Some(Key::Side),
            None => self.window.partition.contains(&column).then_some(Key::Partition(column)),
        }
    }

    /// The side of a session that a column of the window is.
    fn side(&self, column: usize) -> Option<Side> {
        session_side(self.window.functions.get(column.checked_sub(self.width())?)?)
    }

    /// Whether rows are only added, and none comes to a session that is over.
    fn is_sealed(&self, emission: Emission) -> bool {
        let [order] = self.window.order.as_slice() else { return false };
        let known = closings(&self.window.input).unwrap_or_default();
        let time = known.iter().find(|known| known.closing.column == order.column);
        let sealed = time.and_then(|time| Some((time.sealed?, time.closing.delay)));
        self.window.input.append_only
            && sealed.is_some_and(|(sealed, closing)| match emission {
                Emission::Changes => true,
                Emission::OnClose { .. } => sealed <= closing,
            })
    }

    /// Whether what two sessions come to gives what both come to together.
    fn is_mergeable(&self, call: &Aggregate) -> bool {
        use AggregateFunction::{Avg, BoolAnd, BoolOr, Count, Max, Min, Sum};
        let merges = match &call.function {
            Count | Sum | Avg | BoolAnd | BoolOr => true,
            Min | Max => {
                let moment = |data_type: &DataType| matches!(data_type, DataType::Date32 | DataType::Timestamp(_, _));
                let of = call.output.data_type();
                of.is_numeric() || moment(of) || matches!(of, DataType::Boolean)
            }
            AggregateFunction::Call(_) => false,
        };
        let of_rows = |column: &usize| collect_columns(&self.exprs[*column]).iter().all(|c| c.index() < self.width());
        merges && !call.distinct && call.argument.iter().chain(&call.filter).all(of_rows)
    }

    /// What sessions are of: the columns of the partition, or a constant when there is one partition alone.
    fn partition(&self) -> Vec<Expr> {
        let columns = self.window.partition.iter().map(|column| node::column(&self.window.input, *column));
        let columns: Vec<Expr> = columns.collect();
        if columns.is_empty() { vec![lit(0i64)] } else { columns }
    }

    /// The partition of rows, their time, and what each aggregate reads.
    fn rows(&self) -> Result<Node> {
        let rows = match &self.window.input.plan {
            Plan::Exchange { input, .. } => input.as_ref(),
            _ => &self.window.input,
        };
        let mut exprs = self.partition();
        exprs.extend(self.window.order.iter().map(|order| node::column(rows, order.column)));
        let read = self.aggregates.iter().flat_map(|call| call.argument.iter().chain(&call.filter));
        exprs.extend(read.map(|column| self.exprs[*column].clone()));
        let field = |(at, expr): (usize, &Expr)| {
            let data_type = expr.data_type(&rows.schema).map_err(sql_error)?;
            let name = expr.downcast_ref::<Column>().map_or(format!("#{at}"), |column| column.name().to_owned());
            Ok(Field::new(name, data_type, true))
        };
        let fields = exprs.iter().enumerate().map(field).collect::<Result<Vec<_>>>()?;
        Ok(projected(rows.clone(), exprs, Arc::new(Schema::new(fields))))
    }

    /// The sessions with the columns of the aggregate in whose place they are.
    fn as_grouped(&self, sessions: Node) -> Result<Node> {
        let (partition, calls) = (self.partition().len(), self.aggregates.len());
        let of_window = |column: &Column| {
            let place = match self.side(column.index()) {
                Some(side) => partition + usize::from(side == Side::End),
                None => self.window.partition.iter().position(|at| *at == column.index()).unwrap_or_default(),
            };
            node::column(&sessions, place)
        };
        let keys = self.keys.iter().map(|key| super::slices::over(&self.exprs[*key], of_window));
        let exprs = keys.chain((0..calls).map(|at| Ok(node::column(&sessions, partition + 2 + at))));
        let exprs = exprs.collect::<Result<Vec<Expr>>>()?;
        let keys = self.keys.iter().map(|key| self.input.schema.fields()[*key].clone());
        let fields: Vec<FieldRef> = keys.chain(self.aggregates.iter().map(|call| call.output.clone())).collect();
        let mut node = projected(sessions, exprs, Arc::new(Schema::new(fields)));
        node.unique_key = Some((0..self.keys.len()).collect());
        Ok(node)
    }
}
