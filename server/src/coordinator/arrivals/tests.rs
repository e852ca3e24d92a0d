//! Rows that are read again are told what they were told first, however they are cut then.

use super::*;
use millrace_types::hash::mix;

fn arrivals(keeps_moments: bool) -> Arrivals {
    Arrivals {
        relation: RelationId(7),
        width: 3,
        columns: vec![(1, DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None))],
        keeps_moments,
        counts_rows: true,
        state: Mutex::default(),
    }
}

fn coming(now: i64, raise: Option<i64>, is_noted: bool) -> Coming {
    Coming { now: EventTime(now), raise, is_noted }
}

/// What each row is told, and before which rows the split is raised.
fn each(arrivals: &Arrivals, rows: Range<u64>, coming: Coming) -> (Vec<i64>, Vec<(u64, i64)>) {
    let (mut moments, mut raises, mut at) = (vec![], vec![], rows.start);
    for piece in arrivals.pieces("a", rows, coming) {
        moments.extend(std::iter::repeat_n(piece.moment.0, piece.rows));
        raises.extend(piece.raise.map(|to| (at, to)));
        at += piece.rows as u64;
    }
    (moments, raises)
}

/// What was noted, after the way through the journal or through a file.
fn again(first: &Arrivals, notes: &[ArrivalNote]) -> [Arrivals; 2] {
    let (logged, filed) = (arrivals(true), arrivals(true));
    notes.iter().for_each(|note| logged.learn(note));
    for (split, rows) in first.sections().unwrap() {
        notes_of(RelationId(7), &split, &rows).unwrap().iter().for_each(|note| filed.learn(note));
    }
    [logged, filed]
}

#[test]
fn rows_that_are_read_again_are_told_the_same() {
    for seed in 0..50u64 {
        let mut number = seed << 32;
        let mut below = |n: u64| {
            number += 1;
            mix(number) % n
        };
        let first = arrivals(true);
        let (mut rows, mut now, mut told, mut raised) = (0, 0, vec![], vec![]);
        for _ in 0..30 {
            let end = rows + 1 + below(20);
            now += below(150_000) as i64;
            let raise = (below(4) == 0).then_some(now);
            let (moments, raises) = each(&first, rows..end, coming(now, raise, true));
            (told, raised) = ([told, moments].concat(), [raised, raises].concat());
            rows = end;
        }
        for again in again(&first, &first.take_unwritten()) {
            assert_eq!(again.rows("a"), Some(rows));
            let (mut at, mut moments, mut raises) = (0, vec![], vec![]);
            while at < rows {
                let end = (at + 1 + below(45)).min(rows);
                let part = each(&again, at..end, coming(now * 2, Some(now * 2), below(2) == 0));
                (moments, raises) = ([moments, part.0].concat(), [raises, part.1].concat());
                at = end;
            }
            assert_eq!((moments, raises), (told.clone(), raised.clone()), "seed {seed}");
            // What comes after that is new, and noted.
            assert_eq!(each(&again, rows..rows + 2, coming(now * 2 + 1, None, true)).0, [now * 2 + 1; 2]);
            assert_eq!(each(&again, rows..rows + 2, coming(now * 3, None, false)).0, [now * 2 + 1; 2]);
        }
    }
}

#[test]
fn rows_that_straddle_what_is_known_are_cut() {
    let first = arrivals(true);
    each(&first, 0..5, coming(1_000_000, None, true));
    let now = coming(9_000_000, None, true);
    assert_eq!(each(&first, 3..8, now).0, [1_000_000, 1_000_000, 9_000_000, 9_000_000, 9_000_000]);
    // Moments that are close together are one.
    assert_eq!(each(&first, 8..9, coming(9_099_999, None, true)).0, [9_000_000]);
    assert_eq!(each(&first, 9..10, coming(9_100_000, None, true)).0, [9_100_000]);
}

#[test]
fn a_raise_without_rows_waits_for_the_next_one() {
    let first = arrivals(false);
    each(&first, 0..5, coming(0, None, true));
    first.note_raise("a", 5, 77);
    first.note_watermark(77);
    for again in again(&first, &first.take_unwritten()) {
        assert_eq!(again.watermark(), Some(77));
        assert_eq!(each(&again, 0..9, coming(3, None, true)).1, [(5, 77)]);
    }
}

#[test]
fn columns_that_tell_when_a_row_came_in_are_not_read() {
    let arrivals = arrivals(true);
    assert_eq!(arrivals.outside(&[0, 1, 2]), [0, 1]);
    let read = |value: i64| Arc::new(Int64Array::from(vec![value; 2])) as ArrayRef;
    let rows = RecordBatch::try_from_iter([("x", read(1)), ("y", read(2))]).unwrap();
    let filled = arrivals.filled(rows, &[0, 1, 2], EventTime(5)).unwrap();
    let told: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![5; 2]));
    assert_eq!(filled.columns(), [read(1), told, read(2)]);
}
