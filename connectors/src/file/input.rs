//! The bytes of a file, decompressed if its name says that it is compressed. Positions are those of the decompressed
//! bytes.

use flate2::read::MultiGzDecoder;
use millrace_types::{Result, SqlError, SqlState};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How a file is compressed, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstandard,
}

impl Compression {
    /// The compression of a path, and the path's name without the extension that says so.
    pub fn of(path: &str) -> (Compression, &str) {
        for (extension, compression) in
            [(".gz", Compression::Gzip), (".zst", Compression::Zstandard), (".zstd", Compression::Zstandard)]
        {
            if let Some(stem) = path.strip_suffix(extension) {
                return (compression, stem);
            }
        }
        (Compression::None, path)
    }
}

/// An open file, read from a position on.
pub(super) struct Input {
    path: PathBuf,
    compression: Compression,
    reader: Reader,
    /// Position of the next byte.
    position: u64,
    /// The size of a compressed file when its end came too early, while it is being written.
    short_at: Option<u64>,
}

enum Reader {
    Plain(File),
    Compressed(Box<dyn Read + Send>),
}

impl Input {
    /// Opens a file at a position.
    pub fn open(path: &Path, position: u64) -> Result<Input> {
        let (compression, _) = Compression::of(path.to_str().unwrap_or_default());
        let reader = Reader::open(path, compression, position).map_err(|error| file_error(path, error))?;
        Ok(Input { path: path.to_owned(), compression, reader, position, short_at: None })
    }

    /// Appends up to `limit` bytes to `buffer` and says how many; 0 at the end. With `growing`, the end of a compressed
    /// file that stops in the middle is only the end for now.
    pub fn read(&mut self, buffer: &mut Vec<u8>, limit: usize, growing: bool) -> Result<usize> {
        if let Some(size) = self.short_at {
            if self.size()? == size {
                return Ok(0);
            }
            self.reader = Reader::open(&self.path, self.compression, self.position)
                .map_err(|error| file_error(&self.path, error))?;
            self.short_at = None;
        }
        let read = match &mut self.reader {
            Reader::Plain(file) => file.take(limit as u64).read_to_end(buffer),
            Reader::Compressed(reader) => read_some(reader, buffer, limit),
        };
        match read {
            Ok(count) => {
                self.position += count as u64;
                self.check_not_cut(count)?;
                Ok(count)
            }
            Err(error) if growing && error.kind() == ErrorKind::UnexpectedEof => {
                self.short_at = Some(self.size()?);
                Ok(0)
            }
            Err(error) => Err(file_error(&self.path, error)),
        }
    }

    /// Refuses a plain file that has become shorter than what was read of it.
    fn check_not_cut(&self, count: usize) -> Result<()> {
        if count > 0 || self.compression != Compression::None || self.size()? >= self.position {
            return Ok(());
        }
        let message = format!("file \"{}\" is shorter than what was read of it", self.path.display());
        Err(SqlError::new(SqlState::DATA_CORRUPTED, message)
            .with_hint("Files of a source may grow, but must not be cut or overwritten."))
    }

    /// How many bytes there are after the position; unknown for a compressed file.
    pub fn remaining(&self) -> Option<u64> {
        match self.compression {
            Compression::None => Some(self.size().ok()?.saturating_sub(self.position)),
            _ => None,
        }
    }

    fn size(&self) -> Result<u64> {
        Ok(std::fs::metadata(&self.path).map_err(|error| file_error(&self.path, error))?.len())
    }
}

impl Reader {
    fn open(path: &Path, compression: Compression, position: u64) -> io::Result<Reader> {
        let mut file = File::open(path)?;
        let mut decoder: Box<dyn Read + Send> = match compression {
            Compression::None => {
                file.seek(SeekFrom::Start(position))?;
                return Ok(Reader::Plain(file));
            }
            Compression::Gzip => Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(128 * 1024, file))),
            Compression::Zstandard => Box::new(zstd::stream::read::Decoder::new(file)?),
        };
        // A compressed file can only be entered at its start.
        let passed = io::copy(&mut decoder.by_ref().take(position), &mut io::sink())?;
        match passed == position {
            true => Ok(Reader::Compressed(decoder)),
            false => Err(io::Error::new(ErrorKind::UnexpectedEof, "the file is shorter than what was read of it")),
        }
    }
}

/// Reads until there are `limit` further bytes or the end is reached. What was read before an error is kept for now and
/// the error comes again on the next call.
fn read_some(reader: &mut dyn Read, buffer: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
    let before = buffer.len();
    buffer.resize(before + limit, 0);
    let mut filled = 0;
    let outcome = loop {
        if filled == limit {
            break Ok(filled);
        }
        match reader.read(&mut buffer[before + filled..]) {
            Ok(0) => break Ok(filled),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) if filled > 0 => break Ok(filled),
            Err(error) => break Err(error),
        }
    };
    buffer.truncate(before + filled);
    outcome
}

/// Opens a file whose bytes are read as they are.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| file_error(path, error))
}

/// An error of the operating system or of a decompressor about a file that is read.
pub(super) fn file_error(path: &Path, error: io::Error) -> SqlError {
    access_error(path, "read", error)
}

/// An error of the operating system about a file that is to be accessed in the way that the verb says.
pub(super) fn access_error(path: &Path, verb: &str, error: io::Error) -> SqlError {
    let path = path.display();
    let message = match error.kind() {
        ErrorKind::NotFound => format!("could not open file \"{path}\": No such file or directory"),
        ErrorKind::PermissionDenied => format!("could not open file \"{path}\": Permission denied"),
        _ => format!("could not {verb} file \"{path}\": {error}"),
    };
    let state = match error.kind() {
        ErrorKind::PermissionDenied => SqlState::INSUFFICIENT_PRIVILEGE,
        _ => SqlError::from(error).state(),
    };
    SqlError::new(state, message)
}
