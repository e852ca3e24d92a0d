use super::*;
use crate::encode::ColumnEncoder;

fn parsed(sql_type: &SqlType, text: &str) -> Result<String> {
    let format = TextFormat::default();
    let array = parse_text(sql_type, &[Some(text)], &format).map_err(|failed| failed.error)?;
    assert_eq!(*array.data_type(), sql_type.arrow());
    let mut to = Vec::new();
    ColumnEncoder::text(sql_type, &array, &format)?.write(0, &mut to);
    Ok(String::from_utf8(to).unwrap())
}

fn every_type() -> Vec<SqlType> {
    let limited = [SqlType::Numeric(Some((12, 3))), SqlType::Varchar(Some(3)), SqlType::Bpchar(Some(3))];
    let scalars = SqlType::ALL.iter().cloned().chain(limited);
    scalars.flat_map(|t| [t.clone(), SqlType::Array(Box::new(t))]).collect()
}

#[test]
fn values_are_read_as_postgres_reads_them() {
    let array = |element| SqlType::Array(Box::new(element));
    for (sql_type, text, expected) in [
        (SqlType::Bool, " YES ", "t"),
        (SqlType::Int4, " +7 ", "7"),
        (SqlType::Float8, "1e-5", "1e-05"),
        (SqlType::Numeric(Some((5, 2))), "-1.005", "-1.01"),
        (SqlType::Numeric(Some((5, 2))), "9.994999e2", "999.50"),
        (SqlType::Numeric(None), "1e-10", "0.0000000001"),
        (SqlType::Varchar(Some(3)), "abc  ", "abc"),
        (SqlType::Bpchar(Some(5)), "ab", "ab   "),
        (SqlType::Char, "xyz", "x"),
        (SqlType::Bytea, "a\\000\\\\", "\\x61005c"),
        (SqlType::Date, "January 8, 1999", "1999-01-08"),
        (SqlType::Date, "0044-03-15 BC", "0044-03-15 BC"),
        (SqlType::Time, "4:05 pm", "16:05:00"),
        (SqlType::Timestamp, "2024-02-29T12:00:00.1234567+03", "2024-02-29 12:00:00.123457"),
        (SqlType::Timestamptz, "2024-01-01 00:00:00-08", "2024-01-01 08:00:00+00"),
        (SqlType::Timestamptz, "-infinity", "-infinity"),
        (SqlType::Interval, "1.5 mons 2 days ago", "-1 mons -17 days"),
        (SqlType::Interval, "P1Y2M3DT4H5M6.5S", "1 year 2 mons 3 days 04:05:06.5"),
        (SqlType::Oid, "-1", "4294967295"),
        (SqlType::Regclass, "-", "0"),
        (array(SqlType::Text), "{a, \"b,\\\"\" , NULL ,\\NULL}", "{a,\"b,\\\"\",NULL,\"NULL\"}"),
    ] {
        assert_eq!(parsed(&sql_type, text).unwrap(), expected, "{sql_type} {text:?}");
    }
}

#[test]
fn refusals_are_worded_as_postgres_words_them() {
    let array = |element| SqlType::Array(Box::new(element));
    for (sql_type, text, state, message) in [
        (SqlType::Int4, "abc", "22P02", "invalid input syntax for type integer: \"abc\""),
        (SqlType::Int4, "99999999999", "22003", "value \"99999999999\" is out of range for type integer"),
        (SqlType::Float8, "1e400", "22003", "\"1e400\" is out of range for type double precision"),
        (SqlType::Numeric(Some((3, 1))), "99.95", "22003", "numeric field overflow"),
        (SqlType::Numeric(None), "1e40", "22003", "value overflows numeric format"),
        (SqlType::Varchar(Some(3)), "abcd", "22001", "value too long for type character varying(3)"),
        (SqlType::Date, "2023-02-29", "22008", "date/time field value out of range: \"2023-02-29\""),
        (SqlType::Timestamp, "soon", "22007", "invalid input syntax for type timestamp: \"soon\""),
        (SqlType::Interval, "1 fortnight", "22007", "invalid input syntax for type interval: \"1 fortnight\""),
        (SqlType::Jsonb, "{", "22P02", "invalid input syntax for type json"),
        (array(SqlType::Int4), "{1", "22P02", "malformed array literal: \"{1\""),
        (array(SqlType::Int4), "{{1}}", "0A000", "an array of more than one dimension is not supported"),
    ] {
        let error = parsed(&sql_type, text).unwrap_err();
        assert_eq!((error.state().0, error.message()), (state, message), "{sql_type} {text:?}");
    }
    let failed = parse_text(&SqlType::Int2, &[Some("1"), None, Some("x")], &TextFormat::default()).unwrap_err();
    assert_eq!(failed.row, 2);
}

#[test]
fn binary_values_survive_the_round_trip() {
    let format = TextFormat::default();
    for (sql_type, text) in [
        (SqlType::Numeric(None), "-12345678.000123"),
        (SqlType::Numeric(Some((12, 3))), "100000000.000"),
        (SqlType::Timestamptz, "infinity"),
        (SqlType::Date, "4714-11-24 BC"),
        (SqlType::Interval, "-1 years +3 days -00:00:01.5"),
        (SqlType::Jsonb, "[1]"),
        (SqlType::Array(Box::new(SqlType::Numeric(None))), "{1.5,NULL,-2}"),
        (SqlType::Array(Box::new(SqlType::Text)), "{}"),
    ] {
        let array = parse_text(&sql_type, &[Some(text)], &format).unwrap();
        let mut bytes = Vec::new();
        ColumnEncoder::binary(&sql_type, &array, &format).unwrap().write(0, &mut bytes);
        let Ok(again) = binary::decode(&sql_type, &[Some(&bytes)]) else { panic!("{sql_type} {text}") };
        assert_eq!(*again, *array, "{sql_type} {text}");
        // A value cut short or with something behind it is no value, whatever its type.
        if !matches!(sql_type, SqlType::Jsonb) {
            assert!(binary::decode(&sql_type, &[Some(&bytes[..bytes.len() - 1])]).is_err(), "{sql_type}");
            assert!(binary::decode(&sql_type, &[Some(&[&bytes[..], &[0]].concat())]).is_err(), "{sql_type}");
        }
    }
}

#[test]
fn malformed_binary_values_have_their_states() {
    let array = SqlType::Array(Box::new(SqlType::Int4));
    let words = |words: &[i32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    for (sql_type, bytes, state) in [
        (SqlType::Int4, vec![0; 3], "08P01"),
        (SqlType::Int4, vec![0; 5], "22P03"),
        (SqlType::Numeric(None), vec![0, 0, 0, 0, 0x12, 0x34, 0, 0], "22P03"),
        (SqlType::Numeric(None), vec![0, 0, 0, 0, 0xc0, 0, 0, 0], "0A000"),
        (SqlType::Numeric(None), vec![0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff], "22P03"),
        (SqlType::Jsonb, b"\x02{}".to_vec(), "22P03"),
        (SqlType::Text, b"a\xff".to_vec(), "22021"),
        (SqlType::Text, b"a\0".to_vec(), "22021"),
        (SqlType::Date, (i32::MAX - 1).to_be_bytes().to_vec(), "22008"),
        (array.clone(), words(&[-1, 0, 23]), "22P03"),
        (array.clone(), words(&[7, 0, 23]), "54000"),
        (array.clone(), words(&[1, 0, 25, 1, 1, -1]), "42804"),
        (array.clone(), words(&[1, 0, 23, i32::MAX, 1]), "08P01"),
        (array.clone(), words(&[1, 0, 23, -5, 1]), "22P03"),
    ] {
        let Err(malformed) = binary::decode(&sql_type, &[Some(&bytes)]) else { panic!("{sql_type} {bytes:?}") };
        assert_eq!(malformed.in_parameter(1).state().0, state, "{sql_type} {bytes:?}");
    }
}

/// A number generator whose runs repeat.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    let mut random = Random(0x5eed);
    let types = every_type();
    for round in 0..400_000usize {
        let sql_type = &types[round % types.len()];
        let mut bytes: Vec<u8> =
            (0..random.next() % 40).map(|_| (random.next() >> (random.next() % 8)) as u8).collect();
        // Arrays and numerics are reached past their headers only when those make sense now and then.
        if let (SqlType::Array(element), 12..) = (sql_type, bytes.len()) {
            bytes[..12].copy_from_slice(&[[0, 0, 0, 1], [0; 4], element.oid().to_be_bytes()].concat());
            bytes.iter_mut().skip(12).take(7).for_each(|byte| *byte &= 1);
        }
        if let Ok(array) = binary::decode(sql_type, &[Some(&bytes)]) {
            ColumnEncoder::text(sql_type, &array, &TextFormat::default()).unwrap().write(0, &mut Vec::new());
        }
    }
}

#[test]
fn no_text_makes_a_parser_panic() {
    let mut random = Random(0xfeed);
    let types = every_type();
    let pieces = [
        "1",
        "-",
        "+",
        ".",
        "e",
        "9999999999",
        "{",
        "}",
        ",",
        "\"",
        "\\",
        ":",
        " ",
        "12:30",
        "2024-01-01",
        "BC",
        "T",
        "jan",
        "NULL",
        "year",
        "P",
        "ago",
        "ü",
        "\\x",
        "0",
        "inf",
        "nan",
        "/",
        "24:00:60",
        "pm",
        "epoch",
        "m",
        "[",
    ];
    for round in 0..200_000usize {
        let text: String = (0..random.next() % 7).map(|_| pieces[random.next() as usize % pieces.len()]).collect();
        let sql_type = &types[round % types.len()];
        if let Ok(array) = parse_text(sql_type, &[Some(&text)], &TextFormat::default()) {
            for encoder in [ColumnEncoder::text, ColumnEncoder::binary] {
                encoder(sql_type, &array, &TextFormat::default()).unwrap().write(0, &mut Vec::new());
            }
        }
    }
}
