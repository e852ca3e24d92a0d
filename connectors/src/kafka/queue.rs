//! The queue in which the records of all partitions of a connection arrive.
//!
//! The client library's way to take them hands out one at a time, with a lock, an event and an allocation each, which
//! costs more than decoding one. Its C interface hands out all that are there: this file is what is needed of that.
//!
//! ```text
//!   partition 0's queue --\
//!   partition 1's queue ---+--> this queue --take--> lanes      statistics, errors --> the client's own queue --poll-->
//! ```

use rdkafka::bindings::*;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_void};
use std::ptr::{NonNull, null, null_mut};
use std::slice;
use std::time::Duration;

/// A client, and the queue of what it fetches.
pub(super) struct RecordQueue<C: ConsumerContext> {
    queue: NonNull<rd_kafka_queue_t>,
    /// Outlives the queue, which is one of its parts.
    client: BaseConsumer<C>,
}

// SAFETY: the library's queues may be used from all threads at once: each has a lock of its own.
unsafe impl<C: ConsumerContext> Send for RecordQueue<C> {}
// SAFETY: as above.
unsafe impl<C: ConsumerContext> Sync for RecordQueue<C> {}

/// What arrives.
pub(super) enum Arrival<'a> {
    Record(Record<'a>),
    /// A partition has no more records at the moment.
    End(i32),
    Trouble(KafkaError),
}

/// A record, as long as it is looked at.
pub(super) struct Record<'a>(&'a rd_kafka_message_t);

impl<C: ConsumerContext> RecordQueue<C> {
    /// A queue in which nothing arrives yet.
    pub fn new(client: BaseConsumer<C>) -> Option<RecordQueue<C>> {
        // SAFETY: the client is there, and stays there longer than the queue.
        let queue = unsafe { rd_kafka_queue_new(client.client().native_ptr()) };
        Some(RecordQueue { queue: NonNull::new(queue)?, client })
    }

    /// The client.
    pub fn client(&self) -> &BaseConsumer<C> {
        &self.client
    }

    /// From now on the records of a partition arrive here. To be called before the partition is assigned, or its first
    /// records would arrive in the client's own queue.
    pub fn route(&self, topic: &str, partition: i32) -> Option<()> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client and this queue are there, and `topic` is until the call returns. The handle that the first
        // call gives is given back; the partition and its forwarding stay.
        unsafe {
            let from = rd_kafka_queue_get_partition(self.client.client().native_ptr(), topic.as_ptr(), partition);
            let from = NonNull::new(from)?;
            rd_kafka_queue_forward(from.as_ptr(), self.queue.as_ptr());
            rd_kafka_queue_destroy(from.as_ptr());
        }
        Some(())
    }

    /// Hands all that has arrived to `each`, until this answers false; waits so long for the first.
    pub fn take(&self, timeout: Duration, mut each: impl FnMut(Arrival<'_>) -> bool) {
        let mut state = Taking { client: self.client.client().native_ptr(), each: &mut each };
        let millis = timeout.as_millis().try_into().unwrap_or(i32::MAX);
        let state: *mut Taking<'_> = &mut state;
        // SAFETY: the queue is there. `state` is there until the call returns, and nobody else uses it meanwhile: the
        // library calls `arrived` with it on this thread, before the call returns.
        unsafe { rd_kafka_consume_callback_queue(self.queue.as_ptr(), millis, Some(arrived), state.cast()) };
    }
}

impl<C: ConsumerContext> Drop for RecordQueue<C> {
    fn drop(&mut self) {
        // SAFETY: the queue was made by `new`, is given back once, and before the client.
        unsafe { rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// What [`arrived`] is told.
struct Taking<'a> {
    client: *mut rd_kafka_t,
    each: &'a mut dyn FnMut(Arrival<'_>) -> bool,
}

/// Called by the library for each message that has arrived.
unsafe extern "C" fn arrived(message: *mut rd_kafka_message_t, state: *mut c_void) {
    // SAFETY: `take` handed over a `Taking` that nobody else uses. The library owns the message, and frees it only after
    // this function has returned; what `each` is given cannot outlive that.
    let (state, message) = unsafe { (&mut *state.cast::<Taking<'_>>(), &*message) };
    let arrival = match message.err {
        rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Arrival::Record(Record(message)),
        rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => Arrival::End(message.partition),
        error => Arrival::Trouble(KafkaError::MessageConsumption(error.into())),
    };
    if !(state.each)(arrival) {
        // SAFETY: the client is there while its queue is served. What is not looked at stays in the queue.
        unsafe { rd_kafka_yield(state.client) };
    }
}

impl Record<'_> {
    pub fn partition(&self) -> i32 {
        self.0.partition
    }

    pub fn offset(&self) -> i64 {
        self.0.offset
    }

    /// `None` is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        // SAFETY: the library says that these bytes belong to the message, which outlives `self`.
        unsafe { bytes(self.0.payload, self.0.len) }
    }

    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: as for the value.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    /// Milliseconds since 1970.
    pub fn timestamp(&self) -> Option<i64> {
        // SAFETY: the message is there; what kind of time it is is not asked for.
        let millis = unsafe { rd_kafka_message_timestamp(self.0, null_mut()) };
        (millis >= 0).then_some(millis)
    }

    /// By name; of equal names the last one counts. `None` if there are none.
    pub fn headers(&self) -> Option<BTreeMap<Cow<'_, str>, Option<&[u8]>>> {
        let mut headers = null_mut();
        // SAFETY: the message is there, and owns what it gives.
        let found = unsafe { rd_kafka_message_headers(self.0, &mut headers) };
        if found != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let mut all = BTreeMap::new();
        for index in 0.. {
            let (mut name, mut value, mut length) = (null(), null(), 0);
            // SAFETY: `headers` are those of the message. After the last one nothing is written.
            let found = unsafe { rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length) };
            if found != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            // SAFETY: a name is a C string, a value so many bytes; both belong to the message.
            let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value, length)) };
            all.insert(name.to_string_lossy(), value);
        }
        Some(all)
    }
}

/// So many bytes at a place; `None` when it is null.
///
/// # Safety
/// A place that is not null holds so many bytes, which nobody changes for as long as the caller says that they live.
unsafe fn bytes<'a>(place: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's.
    (!place.is_null()).then(|| unsafe { slice::from_raw_parts(place.cast(), length) })
}
