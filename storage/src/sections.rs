//! State of several shapes in one state file: named sections, each of which is a stream of batches.
//!
//! ```text
//!   section | data                           | run
//!   groups  | an Arrow IPC stream of batches |
//!   left    |                                | 3      the rows of a run that has a file of its own
//! ```

use crate::checkpoint::{Checkpoints, OpenFile};
use crate::compaction::compact;
use crate::manifest::StateFile;
use arrow::array::{Array, ArrayRef, AsArray, LargeBinaryArray, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, UInt32Type};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use millrace_types::{RelationId, Result, SqlError, SqlState};
use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;

/// A piece of a section.
#[derive(Clone, Debug, PartialEq)]
pub enum SectionPiece {
    /// Rows.
    Rows(RecordBatch),
    /// The rows of a file of their own, by its number among those that belong to the state.
    Run(u32),
}

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("section", DataType::Utf8, false),
        Field::new("data", DataType::LargeBinary, true),
        Field::new("run", DataType::UInt32, true),
    ])
}

impl Checkpoints {
    /// Writes a state of named sections as a state file, as [`Checkpoints::put_file`] does.
    ///
    /// # Errors
    /// As [`Checkpoints::put_file`].
    pub fn put_sections(
        &self,
        owner: (RelationId, u32, Range<u32>),
        name: &str,
        sections: &[(String, SectionPiece)],
    ) -> Result<StateFile> {
        let mut file = self.begin_sections(owner, name)?;
        sections.iter().try_for_each(|(section, piece)| file.add(section, piece))?;
        file.finish()
    }

    /// Begins such a file, whose pieces need not be in memory together.
    ///
    /// # Errors
    /// As [`Checkpoints::put_file`].
    pub fn begin_sections(&self, owner: (RelationId, u32, Range<u32>), name: &str) -> Result<SectionFile<'_>> {
        Ok(SectionFile(self.begin_file(owner, name, &schema())?))
    }

    /// The sections of a state file.
    ///
    /// # Errors
    /// `XX001` naming the file when it is missing or damaged, or holds something else.
    pub fn load_sections(&self, file: &StateFile) -> Result<Vec<(String, SectionPiece)>> {
        let other = || {
            let message = format!("state file \"{}\" holds no sections", file.name);
            SqlError::new(SqlState::DATA_CORRUPTED, message)
        };
        let mut sections = vec![];
        for batch in self.load(file)? {
            if batch.schema_ref().as_ref() != &schema() {
                return Err(other());
            }
            let (names, data) = (batch.column(0).as_string::<i32>(), batch.column(1).as_binary::<i64>());
            let runs = batch.column(2).as_primitive::<UInt32Type>();
            for row in 0..batch.num_rows() {
                let name = names.value(row);
                if runs.is_valid(row) {
                    sections.push((name.to_owned(), SectionPiece::Run(runs.value(row))));
                    continue;
                }
                for rows in StreamReader::try_new(Cursor::new(data.value(row)), None).map_err(|_| other())? {
                    sections.push((name.to_owned(), SectionPiece::Rows(rows.map_err(|_| other())?)));
                }
            }
        }
        Ok(sections)
    }
}

/// A state file of named sections that is being written. Dropped before it is finished, it never was.
pub struct SectionFile<'a>(OpenFile<'a>);

impl SectionFile<'_> {
    /// Adds a piece of a section after those that are there.
    ///
    /// # Errors
    /// `53100` when the disk is full.
    pub fn add(&mut self, section: &str, piece: &SectionPiece) -> Result<()> {
        let (data, run) = match piece {
            SectionPiece::Rows(rows) => (LargeBinaryArray::from_vec(vec![&stream(rows)?]), None),
            SectionPiece::Run(run) => (LargeBinaryArray::new_null(1), Some(*run)),
        };
        let section: ArrayRef = Arc::new(StringArray::from(vec![section]));
        let run: ArrayRef = Arc::new(UInt32Array::from(vec![run]));
        self.0.write(&RecordBatch::try_new(Arc::new(schema()), vec![section, Arc::new(data), run])?)
    }

    /// Makes it durable. The result goes into the manifest.
    ///
    /// # Errors
    /// As [`SectionFile::add`].
    pub fn finish(self) -> Result<StateFile> {
        self.0.finish()
    }
}

fn stream(rows: &RecordBatch) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), rows.schema_ref())?;
    writer.write(&compact(rows)?)?;
    Ok(writer.into_inner()?)
}
