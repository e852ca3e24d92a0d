//! The files of a checkpoint, on their way to an object store.

use super::folder::{AT_ONCE, ObjectFolder};
use super::waiting;
use crate::checkpoint::Checkpoints;
use crate::manifest::{Manifest, StateFile};
use futures::{StreamExt, stream};
use millrace_types::{Result, SqlError};
use std::collections::HashMap;
use std::io;

/// A manifest as it stands in an object store: its number, no log, and its files by the names that they have there.
pub fn as_object(manifest: &Manifest, number: u64) -> Manifest {
    let name = |file: &StateFile| StateFile { name: object_name(file), ..file.clone() };
    let state_files = manifest.state_files.iter().map(name).collect();
    Manifest { number, log_segment: 0, state_files, ..manifest.clone() }
}

/// A file's name with its checksum in it, once: a checkpoint that was restored from there has such names already.
fn object_name(file: &StateFile) -> String {
    let (stem, extension) = file.name.rsplit_once('.').unwrap_or((&file.name, "arrow"));
    let sum = format!(".{:08x}", file.crc32c);
    match stem.ends_with(&sum) {
        true => file.name.clone(),
        false => format!("{stem}{sum}.{extension}"),
    }
}

/// What is in a folder of state files, as far as is known: lengths by names, 0 for what may be there by half.
pub type There = HashMap<String, u64>;

/// Sends the files of a checkpoint that are not there yet, each checked as it is read, and notes them in `there`, also
/// when others fail. Answers the bytes that were sent.
///
/// # Errors
/// `XX001` when a file is damaged, `58030` when the store does not take one; that of `goes_on`, which is asked before
/// each file.
pub fn send(
    checkpoints: &Checkpoints,
    manifest: &Manifest,
    state: &ObjectFolder,
    there: &mut There,
    goes_on: &(dyn Fn() -> Result<()> + Sync),
) -> Result<u64> {
    let files = manifest.state_files.iter().map(|file| (file, object_name(file)));
    let missing: Vec<_> = files.filter(|(file, name)| there.get(name) != Some(&file.bytes)).collect();
    there.extend(missing.iter().map(|(_, name)| (name.clone(), 0)));
    let send = |(file, name): (&StateFile, String)| {
        let file = file.clone();
        async move {
            goes_on()?;
            let bytes = checkpoints.bytes_of(&file)?;
            state.send(&name, bytes.into()).await.map_err(|error| unsent(state, &name, error))?;
            Ok::<_, SqlError>((name, file.bytes))
        }
    };
    let (mut sent, mut outcome) = (0, Ok(()));
    waiting::wait(async {
        let mut files = stream::iter(missing).map(send).buffer_unordered(AT_ONCE);
        while let Some(result) = files.next().await {
            match result {
                Ok((name, bytes)) => {
                    sent += bytes;
                    there.insert(name, bytes);
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        Ok(())
    })?;
    outcome.map(|()| sent)
}

/// The error of an object that cannot be written.
pub fn unsent(folder: &ObjectFolder, name: &str, error: io::Error) -> SqlError {
    let message = format!("could not write object \"{}/{name}\": {error}", folder.url());
    SqlError::new(SqlError::from(error).state(), message)
}

/// The error of objects that cannot be read.
pub fn unread(folder: &ObjectFolder, error: io::Error) -> SqlError {
    let message = format!("could not read \"{}\": {error}", folder.url());
    SqlError::new(SqlError::from(error).state(), message)
}
