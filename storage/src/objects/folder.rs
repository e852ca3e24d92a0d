//! A folder in an object store, by its URL: `s3://bucket/prefix`, or `file:///path` for one that is mounted.

use super::waiting::{self, Answer};
use crate::blob::{Blob, BlobWriter};
use crate::files::sync_folder;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use millrace_types::{Result, SqlError, SqlState};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Objects beyond this are sent in parts of it, and read in pieces of it.
const PART: usize = 8 << 20;
/// Parts and objects on their way at the same time.
pub(super) const AT_ONCE: usize = 4;
/// How long one request is tried before its failure is told.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder in an object store.
#[derive(Clone)]
pub struct ObjectFolder {
    store: Arc<dyn ObjectStore>,
    path: ObjectPath,
    url: String,
    /// Where the store is a mounted folder: what is written there has to be synced.
    local: Option<PathBuf>,
}

/// An object of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When it was written.
    pub modified: SystemTime,
}

/// Whether a text names an object store, not a folder of the local disk.
pub fn is_url(text: &str) -> bool {
    text.contains("://")
}

impl ObjectFolder {
    /// The folder that a URL names. What a store needs to be reached (region, endpoint, credentials) is taken from the
    /// environment: `AWS_*`. Nothing is sent yet.
    ///
    /// # Errors
    /// `22023` when the URL names none, or the environment lacks what its store needs.
    pub fn open(url: &str) -> Result<ObjectFolder> {
        let url = url.trim_end_matches('/');
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid(url, "it has no scheme"))?;
        if rest.contains(['@', '?', '#']) {
            return Err(invalid(url.split(['@', '?', '#']).next().unwrap_or(scheme), "it holds more than a path")
                .with_detail("Credentials are taken from the environment."));
        }
        match scheme {
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let path = ObjectPath::parse(prefix).map_err(|error| invalid(url, &error.to_string()))?;
                let store = s3(bucket).map_err(|error| invalid(url, &waiting::message(&error)))?;
                Ok(ObjectFolder { store, path, url: url.to_owned(), local: None })
            }
            "file" if rest.starts_with('/') => {
                fs::create_dir_all(rest)?;
                let store =
                    LocalFileSystem::new_with_prefix(rest).map_err(|error| invalid(url, &waiting::message(&error)))?;
                let (path, local) = (ObjectPath::default(), Some(PathBuf::from(rest)));
                Ok(ObjectFolder { store: Arc::new(store), path, url: url.to_owned(), local })
            }
            _ => Err(invalid(url, "its scheme is not known")),
        }
    }

    /// A folder of a store that is there already.
    pub fn of(store: Arc<dyn ObjectStore>, url: &str) -> ObjectFolder {
        ObjectFolder { store, path: ObjectPath::default(), url: url.to_owned(), local: None }
    }

    /// A folder inside this one.
    pub fn folder(&self, name: &str) -> ObjectFolder {
        let local = self.local.as_ref().map(|local| local.join(name));
        ObjectFolder { path: self.object(name), url: format!("{}/{name}", self.url), local, ..self.clone() }
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn object(&self, name: &str) -> ObjectPath {
        self.path.clone().join(name)
    }

    /// Writes an object, in the place of one of the same name.
    pub fn put(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        waiting::wait(async { Ok(self.send(name, bytes.into()).await?) })
    }

    /// Writes an object unless there is one of this name: then it is false.
    pub fn put_new(&self, name: &str, bytes: Vec<u8>) -> io::Result<bool> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let path = self.object(name);
        match waiting::wait(async { Ok(self.store.put_opts(&path, bytes.into(), options).await.map(drop)?) }) {
            Ok(()) => self.settle(name).map(|()| true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// As [`ObjectFolder::put`], beside others.
    pub(super) async fn send(&self, name: &str, bytes: Bytes) -> io::Result<()> {
        let path = self.object(name);
        let sent = match bytes.len() > PART && self.local.is_none() {
            false => self.store.put(&path, bytes.into()).await.map(drop),
            true => self.send_parts(&path, &bytes).await,
        };
        sent.map_err(waiting::told)?;
        self.settle(name)
    }

    async fn send_parts(&self, path: &ObjectPath, bytes: &Bytes) -> object_store::Result<()> {
        let mut upload = self.store.put_multipart(path).await?;
        let parts = (0..bytes.len()).step_by(PART).map(|at| bytes.slice(at..bytes.len().min(at + PART)));
        let parts: Vec<_> = parts.map(|part| upload.put_part(part.into())).collect();
        let sent = stream::iter(parts).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await;
        let done = match sent {
            Ok(_) => upload.complete().await.map(drop),
            Err(error) => Err(error),
        };
        if done.is_err() {
            // What is left of the parts costs its owner money; a store that cannot be reached keeps them.
            let _ = upload.abort().await;
        }
        done
    }

    /// A mounted folder has what is written when it is synced; a store when it has answered.
    fn settle(&self, name: &str) -> io::Result<()> {
        let Some(folder) = &self.local else { return Ok(()) };
        File::open(folder.join(name))?.sync_all()?;
        sync_folder(folder)?;
        folder.parent().map_or(Ok(()), sync_folder)
    }

    /// An object's bytes; `None` when there is none of this name.
    pub fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self.read(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    async fn fetch(&self, name: &str) -> Answer<Vec<u8>> {
        let (path, mut bytes) = (self.object(name), Vec::new());
        loop {
            let start = bytes.len() as u64;
            let range = Some(GetRange::Bounded(start..start + PART as u64));
            let piece = self.store.get_opts(&path, GetOptions { range, ..GetOptions::default() }).await?;
            let size = piece.meta.size;
            bytes.extend_from_slice(&piece.bytes().await?);
            match bytes.len() as u64 {
                now if now >= size => return Ok(bytes),
                now if now == start => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                _ => {}
            }
        }
    }

    /// The objects of the folder, without those of folders inside it, sorted by name.
    pub fn objects(&self) -> io::Result<Vec<ObjectFacts>> {
        let listed = waiting::wait(async { Ok(self.store.list_with_delimiter(Some(&self.path)).await?) })?;
        let facts = listed.objects.into_iter().filter_map(|object| {
            let name = object.location.filename()?.to_owned();
            Some(ObjectFacts { name, bytes: object.size, modified: object.last_modified.into() })
        });
        let mut facts: Vec<_> = facts.collect();
        facts.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(facts)
    }

    /// The names of folders inside this one.
    pub fn folders(&self) -> io::Result<Vec<String>> {
        let listed = waiting::wait(async { Ok(self.store.list_with_delimiter(Some(&self.path)).await?) })?;
        Ok(listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    /// Removes objects; one that is not there is removed already.
    pub fn remove_all(&self, names: impl IntoIterator<Item = String>) -> io::Result<()> {
        let paths: Vec<_> = names.into_iter().map(|name| Ok(self.object(&name))).collect();
        let missing = |error: &object_store::Error| matches!(error, object_store::Error::NotFound { .. });
        waiting::wait(async {
            let mut removed = self.store.delete_stream(stream::iter(paths).boxed());
            while let Some(result) = removed.next().await {
                match result {
                    Err(error) if !missing(&error) => return Err(error.into()),
                    _ => {}
                }
            }
            Ok(())
        })
    }
}

fn invalid(url: &str, why: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid URL of an object store: \"{url}\": {why}"))
        .with_hint("Give s3://BUCKET/PREFIX, or file:///PATH for a folder that is mounted.")
}

fn s3(bucket: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    let retry = RetryConfig { max_retries: 5, retry_timeout: PATIENCE, ..RetryConfig::default() };
    let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
    let endpoint = endpoint.iter().find_map(|name| std::env::var(name).ok());
    // Who writes http:// means it.
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
    Ok(Arc::new(if plain { builder.with_allow_http(true) } else { builder }.build()?))
}

/// So that what reads checkpoints reads them here, too.
impl Blob for ObjectFolder {
    fn create(&self, name: &str) -> io::Result<Box<dyn BlobWriter>> {
        Ok(Box::new(Growing { folder: self.clone(), name: name.to_owned(), bytes: Vec::new() }))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        waiting::wait(self.fetch(name))
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.objects()?.into_iter().map(|object| (object.name, object.bytes)).collect())
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.remove_all([name.to_owned()])
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }
}

/// An object that is sent when it is whole.
struct Growing {
    folder: ObjectFolder,
    name: String,
    bytes: Vec<u8>,
}

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobWriter for Growing {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.folder.put(&self.name, self.bytes)
    }
}
