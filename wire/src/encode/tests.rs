use super::*;
use arrow::array::*;
use arrow::datatypes::*;
use std::sync::Arc;

fn column(sql_type: &SqlType, array: ArrayRef, binary: bool) -> Vec<Option<Vec<u8>>> {
    let format = TextFormat::default();
    let encoder = match binary {
        true => ColumnEncoder::binary(sql_type, &array, &format),
        false => ColumnEncoder::text(sql_type, &array, &format),
    };
    let encoder = encoder.unwrap();
    let value = |row| {
        let mut to = Vec::new();
        encoder.write(row, &mut to);
        to
    };
    (0..array.len()).map(|row| (!encoder.is_null(row)).then(|| value(row))).collect()
}

fn texts(sql_type: &SqlType, array: impl Array + 'static) -> Vec<String> {
    let values = column(sql_type, Arc::new(array), false).into_iter();
    values.map(|v| v.map_or("NULL".to_owned(), |v| String::from_utf8(v).unwrap())).collect()
}

fn binaries(sql_type: &SqlType, array: impl Array + 'static) -> Vec<Option<Vec<u8>>> {
    column(sql_type, Arc::new(array), true)
}

#[test]
fn floats_print_as_postgres_prints_them() {
    let values = vec![1e20, 1e-5, 0.0001, f64::NAN, f64::INFINITY, -0.0, 1e15, 1e14, 0.1, -1234.5, 5e-324];
    assert_eq!(
        texts(&SqlType::Float8, Float64Array::from(values)),
        ["1e+20", "1e-05", "0.0001", "NaN", "Infinity", "-0", "1e+15", "100000000000000", "0.1", "-1234.5", "5e-324"]
    );
    assert_eq!(texts(&SqlType::Float4, Float32Array::from(vec![1e6, 123456.0, 0.1])), ["1e+06", "123456", "0.1"]);
}

#[test]
fn numerics_keep_their_scale_unless_they_have_none() {
    let values = || Decimal128Array::from(vec![0, 5, -12345, 100, 1_000_000]);
    let fixed = values().with_data_type(DataType::Decimal128(10, 2));
    assert_eq!(texts(&SqlType::Numeric(Some((10, 2))), fixed), ["0.00", "0.05", "-123.45", "1.00", "10000.00"]);
    let free = values().with_data_type(DataType::Decimal128(38, 2));
    assert_eq!(texts(&SqlType::Numeric(None), free), ["0", "0.05", "-123.45", "1", "10000"]);
    let thousands = values().with_data_type(DataType::Decimal128(10, -3));
    assert_eq!(texts(&SqlType::Numeric(Some((10, -3))), thousands)[..3], ["0", "5000", "-12345000"]);
    let fixed = values().with_data_type(DataType::Decimal128(10, 2));
    let words = |words: &[u16]| Some(words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>());
    assert_eq!(
        binaries(&SqlType::Numeric(Some((10, 2))), fixed),
        [
            words(&[0, 0, 0, 2]),
            words(&[1, 0xffff, 0, 2, 500]),
            words(&[2, 0, 0x4000, 2, 123, 4500]),
            words(&[1, 0, 0, 2, 1]),
            words(&[1, 1, 0, 2, 1]),
        ]
    );
}

#[test]
fn dates_before_christ_after_9999_and_without_end() {
    let days = Date32Array::from(vec![0, -719_528, -719_163, 2_932_897, i32::MAX, i32::MIN]);
    assert_eq!(
        texts(&SqlType::Date, days),
        ["1970-01-01", "0001-01-01 BC", "0000-12-31", "10000-01-01", "infinity", "-infinity"].map(|text| match text {
            "0000-12-31" => "0001-12-31 BC",
            text => text,
        })
    );
    let binary = binaries(&SqlType::Date, Date32Array::from(vec![10_957, i32::MAX]));
    assert_eq!(binary, [Some(vec![0; 4]), Some(i32::MAX.to_be_bytes().to_vec())]);
}

#[test]
fn timestamps_have_only_the_digits_they_need() {
    let micros = vec![Some(1_704_067_200_000_000), Some(1_704_067_200_120_000), Some(-1), Some(i64::MAX), None];
    assert_eq!(
        texts(&SqlType::Timestamp, TimestampMicrosecondArray::from(micros.clone())),
        ["2024-01-01 00:00:00", "2024-01-01 00:00:00.12", "1969-12-31 23:59:59.999999", "infinity", "NULL"]
    );
    let array: ArrayRef = Arc::new(TimestampMicrosecondArray::from(micros[..1].to_vec()).with_timezone("UTC"));
    for (zone, text) in [
        ("UTC", "2024-01-01 00:00:00+00"),
        ("America/New_York", "2023-12-31 19:00:00-05"),
        ("Asia/Kolkata", "2024-01-01 05:30:00+05:30"),
    ] {
        let format = TextFormat { time_zone: crate::TimeZone::parse(zone).unwrap(), ..TextFormat::default() };
        let mut to = Vec::new();
        ColumnEncoder::text(&SqlType::Timestamptz, &array, &format).unwrap().write(0, &mut to);
        assert_eq!(String::from_utf8(to).unwrap(), text);
    }
}

#[test]
fn intervals_show_the_signs_of_their_parts() {
    let parts = |months, days, micros: i64| IntervalMonthDayNano { months, days, nanoseconds: micros * 1_000 };
    let values = vec![
        parts(0, 0, 0),
        parts(14, 3, 14_706_789_000),
        parts(-14, 3, -14_706_000_000),
        parts(0, -1, 7_384_000_000),
        parts(12, 0, 0),
    ];
    assert_eq!(
        texts(&SqlType::Interval, IntervalMonthDayNanoArray::from(values)),
        [
            "00:00:00",
            "1 year 2 mons 3 days 04:05:06.789",
            "-1 years -2 mons +3 days -04:05:06",
            "-1 days +02:03:04",
            "1 year"
        ]
    );
    assert_eq!(texts(&SqlType::Interval, DurationMillisecondArray::from(vec![90_500])), ["00:01:30.5"]);
}

#[test]
fn arrays_quote_what_would_be_misread() {
    let mut builder = ListBuilder::new(StringViewBuilder::new());
    for value in [Some("plain"), Some("a b"), Some(""), Some("NULL"), None, Some("q\"\\")] {
        builder.values().append_option(value);
    }
    builder.append(true);
    builder.append(true);
    builder.append_null();
    let list = SqlType::Array(Box::new(SqlType::Text));
    assert_eq!(texts(&list, builder.finish()), ["{plain,\"a b\",\"\",\"NULL\",NULL,\"q\\\"\\\\\"}", "{}", "NULL"]);
}

#[test]
fn arrays_of_arrays_have_dimensions() {
    let mut builder = ListBuilder::new(ListBuilder::new(Int32Builder::new()));
    for row in [[1, 2], [3, 4]] {
        builder.values().values().append_slice(&row);
        builder.values().append(true);
    }
    builder.append(true);
    let nested = SqlType::Array(Box::new(SqlType::Array(Box::new(SqlType::Int4))));
    let array = builder.finish();
    assert_eq!(texts(&nested, array.clone()), ["{{1,2},{3,4}}"]);
    let words: Vec<u8> =
        [2i32, 0, 23, 2, 1, 2, 1, 4, 1, 4, 2, 4, 3, 4, 4].iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!(binaries(&nested, array), [Some(words)]);
}

#[test]
fn types_of_arrow_that_postgres_lacks() {
    let dictionary: DictionaryArray<Int8Type> = ["a", "b", "a"].into_iter().collect();
    assert_eq!(texts(&SqlType::Text, dictionary), ["a", "b", "a"]);
    assert_eq!(texts(&SqlType::Text, LargeStringArray::from(vec!["x"])), ["x"]);
    assert_eq!(texts(&SqlType::Numeric(Some((20, 0))), UInt64Array::from(vec![u64::MAX])), ["18446744073709551615"]);
    assert_eq!(binaries(&SqlType::Int2, Int8Array::from(vec![-1])), [Some(vec![255, 255])]);
    assert_eq!(texts(&SqlType::Date, Date64Array::from(vec![86_400_000])), ["1970-01-02"]);
    assert_eq!(texts(&SqlType::Timestamp, TimestampSecondArray::from(vec![1])), ["1970-01-01 00:00:01"]);
    assert_eq!(texts(&SqlType::Timestamp, TimestampNanosecondArray::from(vec![1_500])), ["1970-01-01 00:00:00.000001"]);
    let wide = Decimal256Array::from(vec![i256::from_i128(-15)]).with_data_type(DataType::Decimal256(76, 1));
    assert_eq!(texts(&SqlType::Numeric(None), wide), ["-1.5"]);
    assert_eq!(texts(&SqlType::Unknown, NullArray::new(1)), ["NULL"]);
    let record = StructArray::from(vec![(
        Arc::new(Field::new("a", DataType::Utf8, true)),
        Arc::new(StringArray::from(vec![Some("a \"b\""), None])) as ArrayRef,
    )]);
    assert_eq!(texts(&SqlType::Text, record), ["(\"a \"\"b\"\"\")", "()"]);
}

#[test]
fn the_rest() {
    assert_eq!(texts(&SqlType::Bool, BooleanArray::from(vec![true, false])), ["t", "f"]);
    assert_eq!(texts(&SqlType::Bytea, BinaryArray::from(vec![&b"\x00\xff"[..]])), ["\\x00ff"]);
    let uuid = FixedSizeBinaryArray::try_from_iter([(0u8..16).collect::<Vec<_>>()].into_iter()).unwrap();
    assert_eq!(texts(&SqlType::Uuid, uuid), ["00010203-0405-0607-0809-0a0b0c0d0e0f"]);
    let json = || StringViewArray::from(vec!["{}"]);
    assert_eq!(binaries(&SqlType::Jsonb, json()), [Some(b"\x01{}".to_vec())]);
    assert_eq!(binaries(&SqlType::Json, json()), [Some(b"{}".to_vec())]);
    assert_eq!(texts(&SqlType::Regclass, UInt32Array::from(vec![u32::MAX])), ["4294967295"]);
}
