//! The files of what a checkpoint keeps beside tables.
//!
//! A piece is the state of one operator on one worker, or the rows of a view there; it has a file, and so has each large
//! run of it. What did not change is named by its old files.

use super::checkpoint::OWN_FILE_ROWS;
use super::late_rows::Rejected;
use super::sink_progress::{Standing, sections};
use super::source_status::DeadLetter;
use super::view_state::{BAD, CapturedReading, CapturedState, LATE, SplitNotes};
use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use millrace_dataflow::capture::{Captured, Known};
use millrace_dataflow::operator::{Later, StateWriter};
use millrace_dataflow::read_model::{Block, BlockId};
use millrace_storage::{
    Checkpoints, Manifest, SectionFile, SectionPiece, SinkProgress, StateFile, StatePiece, ViewState,
};
use millrace_types::{Delta, KEY_GROUPS, KeyGroupRange, RelationId, Result, SqlError, Tick};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// The files of views, as of the last checkpoint.
#[derive(Default)]
pub struct ViewFiles(HashMap<(u64, usize, u32), Piece>);

/// The files of a piece.
struct Piece {
    touched: Tick,
    /// None, if nothing is kept.
    file: Option<StateFile>,
    runs: Vec<(BlockId, StateFile)>,
}

impl ViewFiles {
    /// Of which ticks the state in the files is.
    pub fn known(&self) -> Known {
        self.0.iter().map(|(place, piece)| (*place, piece.touched)).collect()
    }

    /// Writes what is new and names all of it in the manifest; answers the files and how many bytes were written.
    /// `goes_on`: fails when the server ends meanwhile.
    pub fn write(
        &self,
        captured: CapturedState,
        manifest: &mut Manifest,
        store: &Checkpoints,
        goes_on: &dyn Fn() -> Result<()>,
    ) -> Result<(ViewFiles, u64)> {
        let CapturedState { views, readings, arrivals, sinks, now, workers } = captured;
        let mut writing =
            Writing { store, tick: manifest.tick, workers, goes_on, owner: RelationId(0), part: 0, bytes: 0 };
        let mut files = HashMap::new();
        (manifest.now, manifest.workers) = (now, workers as u32);
        for view in views {
            (writing.owner, writing.part) = (view.job, 0);
            let mut state = ViewState {
                relation: view.job,
                fingerprint: view.fingerprint,
                told: view.told.iter().map(|(input, at)| (*input, at.map(|at| at.0))).collect(),
                pieces: vec![],
            };
            for captured in view.pieces {
                let (place, worker) = ((view.serial, captured.worker, captured.place), captured.worker);
                let piece = writing.piece(captured, self.0.get(&place))?;
                state.pieces.extend(Writing::named(&piece, worker, place.2, manifest));
                files.insert(place, piece);
            }
            manifest.views.push(state);
        }
        for CapturedReading { mut state, bad, late } in readings {
            (writing.owner, writing.part) = (state.relation, 0);
            if let Some(file) = writing.reading(&bad, &late)? {
                state.part = Some(file.part);
                manifest.state_files.push(file);
            }
            manifest.readings.push(state);
        }
        for (source, sections) in arrivals {
            // The first part is that of the reading.
            (writing.owner, writing.part) = (source, 1);
            manifest.state_files.push(writing.arrivals(sections)?);
            manifest.arrivals.push((source, 1));
        }
        for (relation, Standing { tick, position, rest }) in sinks {
            let rest = writing.rest(relation, &rest, manifest)?;
            manifest.sinks.push(SinkProgress { relation, tick, position, rest });
        }
        Ok((ViewFiles(files), writing.bytes))
    }
}

/// Files being written.
struct Writing<'a> {
    store: &'a Checkpoints,
    tick: Tick,
    workers: usize,
    goes_on: &'a dyn Fn() -> Result<()>,
    owner: RelationId,
    /// The number of the owner's next file.
    part: u32,
    bytes: u64,
}

impl<'a> Writing<'a> {
    fn piece(&mut self, captured: Captured, before: Option<&Piece>) -> Result<Piece> {
        let touched = captured.touched;
        let Some(sections) = captured.sections else {
            let before = before.filter(|before| before.touched == touched);
            let lost = || SqlError::internal("the files of a state that did not change are not known");
            let Piece { file, runs, .. } = before.ok_or_else(lost)?;
            return Ok(Piece { touched, file: file.clone(), runs: runs.clone() });
        };
        let groups = groups(captured.worker, self.workers);
        let known = before.map_or(&[][..], |before| &before.runs);
        let mut writer = PieceWriter { writing: self, groups, known, file: None, runs: vec![] };
        // One after the other, so that each is free when it is written.
        sections.into_iter().try_for_each(|section| section.write(&mut writer))?;
        writer.finish(touched)
    }

    fn run(&mut self, block: &Block, groups: &Range<u32>) -> Result<StateFile> {
        let name = self.next_name()?;
        let mut batches = block.sections().peekable();
        let schema = match batches.peek() {
            Some(Ok(first)) => first.schema(),
            _ => return Err(SqlError::internal("a run without rows")),
        };
        let file = self.store.put_batches((self.owner, self.part, groups.clone()), &name, &schema, batches)?;
        self.bytes += file.bytes;
        Ok(file)
    }

    /// A name that no other file has: numbers go on from piece to piece, and ticks from checkpoint to checkpoint.
    fn next_name(&mut self) -> Result<String> {
        (self.goes_on)()?;
        self.part += 1;
        Ok(format!("{}-{}-{}.state", self.owner, self.tick, self.part))
    }

    /// Names the files of a piece in the manifest.
    fn named(piece: &Piece, worker: usize, place: u32, manifest: &mut Manifest) -> Option<StatePiece> {
        let part = name(piece.file.as_ref()?, manifest);
        let runs = piece.runs.iter().map(|(_, run)| name(run, manifest)).collect();
        Some(StatePiece { worker: worker as u32, place, part, runs })
    }

    /// What is known of how the rows of a source came in.
    fn arrivals(&mut self, sections: SplitNotes) -> Result<StateFile> {
        let name = self.next_name()?;
        let sections: Vec<_> = sections.into_iter().map(|(split, rows)| (split, SectionPiece::Rows(rows))).collect();
        let file = self.store.put_sections((self.owner, 1, 0..KEY_GROUPS), &name, &sections)?;
        self.bytes += file.bytes;
        Ok(file)
    }

    /// What a sink has not delivered, if there is such; the number of its file.
    fn rest(&mut self, sink: RelationId, rest: &[(Tick, Vec<Delta>)], manifest: &mut Manifest) -> Result<Option<u32>> {
        if rest.is_empty() {
            return Ok(None);
        }
        (self.goes_on)()?;
        let file_name = format!("{sink}-{}-rest.state", self.tick);
        let file = self.store.put_sections((sink, 0, 0..KEY_GROUPS), &file_name, &sections(rest)?)?;
        self.bytes += file.bytes;
        Ok(Some(name(&file, manifest)))
    }

    /// What a reading could not use, if there is such.
    fn reading(&mut self, bad: &[DeadLetter], late: &[Rejected]) -> Result<Option<StateFile>> {
        let mut sections = vec![];
        if !bad.is_empty() {
            sections.push((BAD.to_owned(), SectionPiece::Rows(bad_rows(bad)?)));
        }
        for rejected in late {
            let job = rejected.job.map_or(String::new(), |job| job.to_string());
            sections.push((format!("{LATE}{job}"), SectionPiece::Rows(late_rows(rejected)?)));
        }
        if sections.is_empty() {
            return Ok(None);
        }
        let name = self.next_name()?;
        let file = self.store.put_sections((self.owner, 0, 0..KEY_GROUPS), &name, &sections)?;
        self.bytes += file.bytes;
        Ok(Some(file))
    }
}

/// A piece that is being written, as its sections come.
struct PieceWriter<'w, 'a> {
    writing: &'w mut Writing<'a>,
    groups: Range<u32>,
    /// The runs that have files.
    known: &'w [(BlockId, StateFile)],
    /// Begun with the first section.
    file: Option<SectionFile<'a>>,
    runs: Vec<(BlockId, StateFile)>,
}

impl PieceWriter<'_, '_> {
    fn add(&mut self, name: &str, piece: &SectionPiece) -> Result<()> {
        (self.writing.goes_on)()?;
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let (name, store) = (self.writing.next_name()?, self.writing.store);
                let owner = (self.writing.owner, self.writing.part, self.groups.clone());
                self.file.insert(store.begin_sections(owner, &name)?)
            }
        };
        file.add(name, piece)
    }

    fn finish(self, touched: Tick) -> Result<Piece> {
        let file = self.file.map(SectionFile::finish).transpose()?;
        self.writing.bytes += file.as_ref().map_or(0, |file| file.bytes);
        Ok(Piece { touched, file, runs: self.runs })
    }
}

impl StateWriter for PieceWriter<'_, '_> {
    fn write(&mut self, name: &str, rows: RecordBatch) -> Result<()> {
        self.add(name, &SectionPiece::Rows(rows))
    }

    fn write_runs(&mut self, name: &str, runs: Vec<Block>) -> Result<()> {
        for block in runs {
            if block.rows() < OWN_FILE_ROWS {
                block.sections().try_for_each(|rows| self.write(name, rows?))?;
                continue;
            }
            let file = match self.known.iter().find(|(id, _)| id.is(&block)) {
                Some((_, file)) => file.clone(),
                None => self.writing.run(&block, &self.groups)?,
            };
            self.add(name, &SectionPiece::Run(self.runs.len() as u32))?;
            self.runs.push((block.id(), file));
        }
        Ok(())
    }

    fn write_later(&mut self, later: Later) -> Result<()> {
        later(self)
    }
}

/// Names a file in the manifest, and numbers it there. One from an earlier checkpoint had another number.
fn name(file: &StateFile, manifest: &mut Manifest) -> u32 {
    let part = manifest.state_files.iter().filter(|known| known.relation == file.relation).count() as u32;
    manifest.state_files.push(StateFile { part, ..file.clone() });
    part
}

/// The key groups of a worker.
fn groups(worker: usize, workers: usize) -> Range<u32> {
    let KeyGroupRange(groups) = KeyGroupRange::of_worker(worker, workers);
    // With more workers than groups some have none; a file is about some.
    if groups.is_empty() { 0..KEY_GROUPS } else { groups }
}

fn bad_rows(bad: &[DeadLetter]) -> Result<RecordBatch> {
    let split: ArrayRef = Arc::new(StringArray::from_iter_values(bad.iter().map(|letter| &letter.split)));
    let offset: ArrayRef = Arc::new(UInt64Array::from_iter_values(bad.iter().map(|letter| letter.record.offset.0)));
    let raw: ArrayRef = Arc::new(BinaryArray::from_iter_values(bad.iter().map(|letter| &letter.record.raw)));
    let reason: ArrayRef = Arc::new(StringArray::from_iter_values(bad.iter().map(|letter| &letter.record.reason)));
    Ok(RecordBatch::try_from_iter([("split", split), ("offset", offset), ("raw", raw), ("reason", reason)])?)
}

/// Late rows, and after their columns the watermark of each.
fn late_rows(rejected: &Rejected) -> Result<RecordBatch> {
    let schema = rejected.rows.schema();
    let fields = schema.fields().iter().map(|field| field.as_ref().clone());
    let fields: Vec<_> = fields.chain([Field::new("watermark", DataType::Int64, true)]).collect();
    let watermarks: ArrayRef = Arc::new(rejected.watermarks.clone());
    let columns = rejected.rows.columns().iter().cloned().chain([watermarks]).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
