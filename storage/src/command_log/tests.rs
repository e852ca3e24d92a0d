//! The log on a faulty disk: what was synced is there after any crash, and what is there is a prefix of what was written.

use super::*;
use crate::faulty::FaultyFiles;

const SMALL: LogOptions = LogOptions { segment_bytes: 160, expected_segment: 0 };

fn open(files: &FaultyFiles) -> Result<CommandLog> {
    CommandLog::open(Arc::new(files.clone()), SMALL)
}

fn payload(tick: u64) -> Vec<u8> {
    vec![tick as u8; (tick as usize * 7) % 40]
}

/// Appends one record at `tick`.
fn write(log: &mut CommandLog, tick: u64) -> Result<Position> {
    let payload = payload(tick);
    log.append(&[Record { tick: Tick(tick), kind: RecordKind::Transaction, payload: &payload }])
}

/// The ticks of the records from `from` on, checking the payloads.
fn ticks(log: &CommandLog, from: u64) -> Result<Vec<u64>> {
    let mut ticks = Vec::new();
    log.read_all(Tick(from), |record| {
        assert_eq!(record.payload, payload(record.tick.0));
        ticks.push(record.tick.0);
        Ok(())
    })?;
    Ok(ticks)
}

/// Appends ticks from `first` to 12, syncing after every second one; the last tick that was synced.
fn workload(log: &mut CommandLog, first: u64, synced: &mut u64) -> Result<()> {
    for tick in first..=12 {
        write(log, tick)?;
        if tick % 2 == 0 {
            log.sync()?;
            *synced = tick;
        }
    }
    Ok(())
}

#[test]
fn records_are_read_back_across_segments_and_after_opening_again() {
    let files = FaultyFiles::new();
    let mut log = open(&files).unwrap();
    workload(&mut log, 1, &mut 0).unwrap();
    assert!(log.position().segment > 3);
    assert_eq!(ticks(&log, 0).unwrap(), (1..=12).collect::<Vec<_>>());
    let log = open(&files).unwrap();
    assert_eq!(ticks(&log, 9).unwrap(), [9, 10, 11, 12]);
    assert_eq!(log.last_tick(), Tick(12));
}

#[test]
fn after_a_crash_at_any_step_the_log_holds_a_prefix_with_everything_synced() {
    let whole = FaultyFiles::new();
    workload(&mut open(&whole).unwrap(), 1, &mut 0).unwrap();
    for crash in 0..=whole.steps() {
        for seed in 0..8 {
            let files = FaultyFiles::new();
            files.crash_after(crash);
            let mut synced = 0;
            let survived = open(&files).and_then(|mut log| workload(&mut log, 1, &mut synced));
            assert_eq!(survived.is_ok(), crash == whole.steps());
            let found = recovered_prefix(&files.after_crash(seed), synced, (crash, seed));
            assert!(found <= 12);
        }
    }
}

/// Opens the log, crashing now and then while it does, checks that it holds ticks 1 to n with n at least `synced`, and
/// that it goes on from there. Returns n.
fn recovered_prefix(files: &FaultyFiles, synced: u64, case: (u64, u64)) -> u64 {
    let mut files = files.clone();
    for crash in 0..case.1 % 4 {
        files.crash_after(crash);
        let _ = open(&files);
        files = files.after_crash(case.0 + crash);
    }
    let mut log = open(&files).unwrap_or_else(|error| panic!("{case:?}: {error}"));
    let found = ticks(&log, 0).unwrap();
    let last = found.len() as u64;
    assert_eq!(found, (1..=last).collect::<Vec<_>>(), "{case:?}");
    assert!(last >= synced, "{case:?}: {last} of {synced} synced");
    workload(&mut log, last + 1, &mut 0).unwrap();
    assert_eq!(ticks(&open(&files).unwrap(), 0).unwrap(), (1..=12).collect::<Vec<_>>());
    last
}

#[test]
fn a_full_disk_refuses_and_the_log_goes_on_when_there_is_space() {
    for free in 0..400 {
        let files = FaultyFiles::new();
        let mut log = open(&files).unwrap();
        files.set_free_bytes(Some(free));
        let refused = (1..=12).find(|&tick| {
            let done = write(&mut log, tick).and_then(|_| log.sync());
            done.is_err_and(|error| {
                assert_eq!(error.state(), SqlState::DISK_FULL);
                true
            })
        });
        let refused = refused.expect("the disk runs full");
        let after_crash = open(&files.after_crash(free)).unwrap();
        assert_eq!(ticks(&after_crash, 0).unwrap(), (1..refused).collect::<Vec<_>>(), "what was refused is back");
        files.set_free_bytes(None);
        for tick in refused..=12 {
            write(&mut log, tick).unwrap();
        }
        log.sync().unwrap();
        assert_eq!(ticks(&open(&files).unwrap(), 0).unwrap(), (1..=12).collect::<Vec<_>>());
    }
}

#[test]
fn a_failed_sync_is_final() {
    let files = FaultyFiles::new();
    let mut log = open(&files).unwrap();
    write(&mut log, 1).unwrap();
    files.set_syncs_fail(true);
    assert_eq!(log.sync().unwrap_err().state(), SqlState::IO_ERROR);
    files.set_syncs_fail(false);
    assert_eq!(log.sync().unwrap_err().message(), "command log has failed");
    assert!(write(&mut log, 2).unwrap_err().detail().unwrap().contains("input/output error"));
}

#[test]
fn ticks_that_decrease_are_refused() {
    let mut log = open(&FaultyFiles::new()).unwrap();
    write(&mut log, 5).unwrap();
    assert_eq!(write(&mut log, 4).unwrap_err().state(), SqlState::INTERNAL_ERROR);
}

#[test]
fn truncation_deletes_whole_segments_that_only_hold_older_ticks() {
    let files = FaultyFiles::new();
    let mut log = open(&files).unwrap();
    workload(&mut log, 1, &mut 0).unwrap();
    assert_eq!(log.truncate_before(Tick(1)).unwrap(), 0);
    assert!(log.truncate_before(Tick(8)).unwrap() > 0);
    assert!(log.reaches_back_to() < Tick(8));
    assert_eq!(ticks(&open(&files).unwrap(), 8).unwrap(), (8..=12).collect::<Vec<_>>());
    log.truncate_before(Tick(100)).unwrap();
    assert_eq!(files.list().unwrap().len(), 1);
    assert_eq!(open(&files).unwrap().last_tick(), Tick(12));
}

#[test]
fn damage_to_anything_durable_is_found_and_named() {
    let whole = FaultyFiles::new();
    workload(&mut open(&whole).unwrap(), 1, &mut 0).unwrap();
    let names = whole.list().unwrap();
    for (index, (name, len)) in names.iter().enumerate() {
        let last = index + 1 == names.len();
        for at in (0..*len as usize).step_by(3) {
            let files = whole.after_crash(0);
            files.damage(name, |bytes| bytes[at] ^= 0x10);
            let read = open(&files).and_then(|log| ticks(&log, 0));
            match read {
                Err(error) => {
                    assert_eq!(error.state(), SqlState::DATA_CORRUPTED);
                    assert!(error.message().contains(name.as_str()), "{name} {at}: {error}");
                }
                // Padding is not read. The last append of all looks like a torn one: nothing was written behind it.
                Ok(ticks) => assert!(ticks.len() == 12 || last && ticks.len() >= 10, "{name} {at}: {ticks:?}"),
            }
        }
    }
}

#[test]
fn a_missing_or_shortened_segment_is_found_and_named() {
    let whole = FaultyFiles::new();
    workload(&mut open(&whole).unwrap(), 1, &mut 0).unwrap();
    let names = whole.list().unwrap();
    let middle = &names[1].0;
    let files = whole.after_crash(0);
    files.remove(middle).unwrap();
    assert!(open(&files).err().unwrap().message().contains("is missing"));
    let files = whole.after_crash(0);
    files.damage(middle, |bytes| bytes.truncate(80));
    assert!(open(&files).err().unwrap().message().contains(middle.as_str()));
    let expected = LogOptions { expected_segment: names.len() as u64, ..SMALL };
    let empty = CommandLog::open(Arc::new(FaultyFiles::new()), expected);
    assert_eq!(empty.err().unwrap().state(), SqlState::DATA_CORRUPTED);
}

#[test]
fn records_of_unknown_kinds_are_refused() {
    let files = FaultyFiles::new();
    drop(open(&files).unwrap());
    let mut bytes = Vec::new();
    Record { tick: Tick(1), kind: RecordKind::Transaction, payload: b"x" }.encode(&mut bytes, 1, 40, 40);
    // The kind 9 with a checksum that is right: found by trying, for the checksum covers the place.
    let crc = |bytes: &[u8]| {
        let place = crc32c::crc32c_append(crc32c::crc32c(&1u64.to_le_bytes()), &40u32.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c_append(place, &bytes[..4]), &bytes[8..25])
    };
    bytes[20] = 9;
    let right = crc(&bytes);
    bytes[4..8].copy_from_slice(&right.to_le_bytes());
    files.damage(&segment::file_name(1), |content| content.extend_from_slice(&bytes));
    let error = ticks(&open(&files).unwrap(), 0).unwrap_err();
    assert_eq!(error.state(), SqlState::FEATURE_NOT_SUPPORTED);
}

const LARGE: LogOptions = LogOptions { segment_bytes: 1 << 20, expected_segment: 0 };

/// A log in one segment with `ticks` records, each `synced` or not.
fn one_segment(ticks: u64, synced: bool) -> FaultyFiles {
    let files = FaultyFiles::new();
    let mut log = CommandLog::open(Arc::new(files.clone()), LARGE).unwrap();
    for tick in 1..=ticks {
        write(&mut log, tick).unwrap();
        if synced {
            log.sync().unwrap();
        }
    }
    files
}

#[test]
fn a_damaged_record_is_a_torn_tail_only_if_it_was_not_durable_when_a_later_one_was_written() {
    let first_byte = segment::HEADER_BYTES;
    for synced in [true, false] {
        let files = one_segment(5, synced);
        files.damage(&segment::file_name(1), |bytes| bytes[first_byte..first_byte + 16].fill(0));
        let read = CommandLog::open(Arc::new(files), LARGE).and_then(|log| ticks(&log, 0));
        match synced {
            true => assert_eq!(read.unwrap_err().state(), SqlState::DATA_CORRUPTED),
            false => assert_eq!(read, Ok(Vec::new())),
        }
    }
}

#[test]
fn the_first_records_of_a_refused_append_do_not_come_back() {
    for seed in 0..32 {
        let files = one_segment(1, true);
        let mut log = CommandLog::open(Arc::new(files.clone()), LARGE).unwrap();
        let records = [2, 3, 4].map(|tick| (tick, payload(tick)));
        let records =
            records.each_ref().map(|(t, payload)| Record { tick: Tick(*t), kind: RecordKind::Transaction, payload });
        files.set_free_bytes(Some(100));
        assert_eq!(log.append(&records).unwrap_err().state(), SqlState::DISK_FULL);
        assert_eq!(ticks(&log, 0).unwrap(), [1]);
        let after_crash = CommandLog::open(Arc::new(files.after_crash(seed)), LARGE).unwrap();
        assert_eq!(ticks(&after_crash, 0).unwrap(), [1]);
    }
}
