//! What travels on timely's channels: a delta with its address.

use crate::exchange;
use millrace_types::{Delta, Result, SqlError};
use std::cell::OnceCell;
use std::io::Write;
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};

/// A delta on its way to a worker. Between threads it stays what it is; between processes it is bytes, which the
/// receiver decodes when it wants the delta.
#[derive(Clone, Default)]
pub struct Parcel {
    /// The worker that it goes to, if the channel is an exchange.
    to: usize,
    /// Rows, as progress tracking counts them: the same on both sides of a channel.
    rows: usize,
    load: Load,
}

#[derive(Clone, Default)]
enum Load {
    #[default]
    Nothing,
    /// Sent in this process; `encoded` is made when it has to leave it.
    Delta { delta: Delta, encoded: OnceCell<Envelope> },
    /// Received from another process.
    Bytes(Bytes),
}

/// The bytes of a parcel, or why there are none.
type Envelope = Result<Vec<u8>, String>;

/// Bytes before the payload: rows, payload length with the top bit set for an error message.
const HEAD: usize = 16;
const ERROR: u64 = 1 << 63;

impl Parcel {
    /// A delta for worker `to`.
    pub fn new(to: usize, delta: Delta) -> Parcel {
        Parcel { to, rows: delta.len(), load: Load::Delta { delta, encoded: OnceCell::new() } }
    }

    /// The delta inside, if there is one.
    ///
    /// # Errors
    /// `XX000` when another process could not encode it, or what it sent cannot be decoded.
    pub fn open(self) -> Result<Option<Delta>> {
        match self.load {
            Load::Nothing => Ok(None),
            Load::Delta { delta, .. } => Ok(Some(delta)),
            Load::Bytes(bytes) => match payload(&bytes) {
                Some((_, false, payload)) => exchange::decode(payload).map(Some),
                Some((_, true, message)) => Err(SqlError::internal(String::from_utf8_lossy(message))),
                None => Err(SqlError::internal("a parcel from another worker is malformed")),
            },
        }
    }

    fn envelope(&self) -> Option<&Envelope> {
        match &self.load {
            Load::Delta { delta, encoded } => {
                Some(encoded.get_or_init(|| exchange::encode(delta).map_err(|error| error.message().to_owned())))
            }
            _ => None,
        }
    }
}

/// Rows, whether the rest is an error message, and the rest.
fn payload(bytes: &[u8]) -> Option<(usize, bool, &[u8])> {
    let (rows, rest) = bytes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let length = u64::from_le_bytes(*length);
    let payload = rest.get(..(length & !ERROR) as usize)?;
    Some((u64::from_le_bytes(*rows) as usize, length & ERROR != 0, payload))
}

impl Accountable for Parcel {
    fn record_count(&self) -> i64 {
        self.rows as i64
    }
}

impl ContainerBytes for Parcel {
    fn from_bytes(bytes: Bytes) -> Parcel {
        let rows = payload(&bytes).map_or(0, |(rows, ..)| rows);
        Parcel { to: 0, rows, load: Load::Bytes(bytes) }
    }

    fn length_in_bytes(&self) -> usize {
        match (&self.load, self.envelope()) {
            (Load::Bytes(bytes), _) => bytes.len(),
            (_, Some(Ok(payload))) => HEAD + payload.len().next_multiple_of(8),
            (_, Some(Err(message))) => HEAD + message.len().next_multiple_of(8),
            (_, None) => HEAD,
        }
    }

    /// # Panics
    /// When timely's send buffer refuses bytes, which memory does not do.
    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let (flag, payload) = match (&self.load, self.envelope()) {
            (Load::Bytes(bytes), _) => return writer.write_all(bytes).expect("a send buffer takes every byte"),
            (_, Some(Ok(payload))) => (0, payload.as_slice()),
            (_, Some(Err(message))) => (ERROR, message.as_bytes()),
            (_, None) => (0, &[][..]),
        };
        let padding = payload.len().next_multiple_of(8) - payload.len();
        let length = payload.len() as u64 | flag;
        for part in [&(self.rows as u64).to_le_bytes()[..], &length.to_le_bytes(), payload, &[0; 8][..padding]] {
            writer.write_all(part).expect("a send buffer takes every byte");
        }
    }
}

/// Delivers parcels as they are addressed. Splitting is the producer's work, where an error has somewhere to go.
pub struct Delivery;

impl Distributor<Parcel> for Delivery {
    fn partition<T: Clone, P: Push<Message<T, Parcel>>>(&mut self, parcel: &mut Parcel, time: &T, workers: &mut [P]) {
        let to = parcel.to;
        Message::push_at(parcel, time.clone(), &mut workers[to]);
    }

    fn flush<T: Clone, P: Push<Message<T, Parcel>>>(&mut self, _: &T, _: &mut [P]) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{RecordBatch, StringViewArray, StructArray};
    use std::sync::Arc;
    use timely::bytes::arc::BytesMut;

    fn over_the_wire(parcel: &Parcel) -> Parcel {
        let mut bytes = Vec::new();
        parcel.into_bytes(&mut bytes);
        assert_eq!(bytes.len(), parcel.length_in_bytes());
        assert_eq!(bytes.len() % 8, 0);
        Parcel::from_bytes(BytesMut::from(bytes).freeze())
    }

    #[test]
    fn a_parcel_arrives_with_its_rows_also_when_it_is_passed_on() {
        let text = StringViewArray::from_iter_values(["a", "b", "something longer than that"]);
        let delta = Delta::retractions(RecordBatch::try_from_iter([("t", Arc::new(text) as _)]).unwrap());
        let arrived = over_the_wire(&over_the_wire(&Parcel::new(1, delta.clone())));
        assert_eq!(arrived.record_count(), 3);
        let opened = arrived.open().unwrap().unwrap();
        assert_eq!((opened.rows(), opened.weights()), (delta.rows(), delta.weights()));
    }

    #[test]
    fn an_empty_parcel_and_a_torn_one_do_no_harm() {
        assert_eq!(over_the_wire(&Parcel::default()).record_count(), 0);
        let structs = StructArray::new_empty_fields(2, None);
        let rows = RecordBatch::try_from_iter([("s", Arc::new(structs) as _)]).unwrap();
        let mut bytes = Vec::new();
        Parcel::new(0, Delta::inserts(rows)).into_bytes(&mut bytes);
        bytes.truncate(HEAD + 8);
        assert!(Parcel::from_bytes(BytesMut::from(bytes).freeze()).open().is_err());
    }
}
