//! An object store that fails: requests that do not arrive, whose answers are lost, that leave half of an object, that
//! are slow, and lists that are behind.

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::*;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What happens to the request that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not arrive.
    Lost,
    /// It has its effect, and nobody is told.
    Unanswered,
    /// Half of the object is there afterwards.
    Torn,
}

/// The store. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct FaultyStore {
    inner: Arc<InMemory>,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Debug, Default)]
struct Faults {
    /// Requests that change something until one fails, and all after it are lost.
    left: Option<(u64, Fault)>,
    changes: u64,
    delay: Duration,
    /// What lists show instead of what is there.
    stale: Option<Arc<InMemory>>,
}

impl FaultyStore {
    /// Fails the request after `changes` more that change something, and every one after it; `None`: none any more.
    pub fn fail_after(&self, changes: Option<(u64, Fault)>) {
        self.faults.lock().left = changes;
    }

    /// Requests so far that changed something.
    pub fn changes(&self) -> u64 {
        self.faults.lock().changes
    }

    /// Lets each request take this long.
    pub fn set_delay(&self, delay: Duration) {
        self.faults.lock().delay = delay;
    }

    /// Lets lists show what is there now, whatever happens, or again what is there then.
    pub fn set_stale(&self, stale: bool) {
        self.faults.lock().stale = stale.then(|| Arc::new(self.inner.fork()));
    }

    async fn wait(&self) {
        let delay = self.faults.lock().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }

    /// What is to happen to a request that changes something.
    fn fate(&self) -> Option<Fault> {
        let mut faults = self.faults.lock();
        faults.changes += 1;
        match &mut faults.left {
            Some((0, fault)) => Some(std::mem::replace(fault, Fault::Lost)),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }

    fn listed(&self) -> Arc<InMemory> {
        self.faults.lock().stale.clone().unwrap_or_else(|| self.inner.clone())
    }
}

fn unreachable() -> Error {
    Error::Generic { store: "faulty", source: "connection refused".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.wait().await;
        match self.fate() {
            None => self.inner.put_opts(location, payload, options).await,
            Some(Fault::Lost) => Err(unreachable()),
            Some(Fault::Unanswered) => self.inner.put_opts(location, payload, options).await.and(Err(unreachable())),
            Some(Fault::Torn) => {
                let whole: bytes::Bytes = payload.into();
                let half = whole.slice(..whole.len() / 2);
                self.inner.put_opts(location, half.into(), options).await.and(Err(unreachable()))
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        match self.fate() {
            None => self.inner.put_multipart_opts(location, options).await,
            Some(_) => Err(unreachable()),
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.wait().await;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Path| {
            let store = store.clone();
            async move {
                match store.fate() {
                    Some(Fault::Lost) => Err(unreachable()),
                    Some(_) => store.inner.delete(&location).await.and(Err(unreachable())),
                    None => store.inner.delete(&location).await.map(|()| location),
                }
            }
        };
        locations.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (listed, prefix) = (self.listed(), prefix.cloned());
        stream::once(async move { listed.list(prefix.as_ref()).try_collect::<Vec<_>>().await })
            .map_ok(|objects| stream::iter(objects.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.wait().await;
        self.listed().list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
