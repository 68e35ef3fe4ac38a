//! What is written reads back, and what is read here serde_cbor reads as the same.

use bytes::Bytes;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use serde::{Deserialize, Serialize};

use super::read;
use crate::strict;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Sample {
    small: u8,
    large: u64,
    signed: i64,
    flag: bool,
    text: String,
    bytes: Bytes,
    maybe: Option<Box<Sample>>,
    shapes: Vec<Shape>,
    pair: (u16, Wrapped),
    nothing: (),
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Wrapped(u32);

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum Shape {
    Point,
    Line(i32),
    Box(u8, String),
    Text { size: u16, font: Option<String> },
}

#[derive(PartialEq, Debug, Serialize, Deserialize)]
struct Short {
    small: u8,
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Point),
        any::<i32>().prop_map(Shape::Line),
        (any::<u8>(), ".{0,9}").prop_map(|(a, b)| Shape::Box(a, b)),
        (any::<u16>(), proptest::option::of(".{0,9}")).prop_map(|(size, font)| Shape::Text { size, font }),
    ]
}

fn flat() -> impl Strategy<Value = Sample> {
    let numbers = (any::<u8>(), any::<u64>(), any::<i64>(), any::<bool>(), any::<u16>(), any::<u32>());
    let bytes = proptest::collection::vec(any::<u8>(), 0..300);
    let flat = (numbers, ".{0,40}", bytes, proptest::collection::vec(shape(), 0..30));
    flat.prop_map(|((small, large, signed, flag, half, word), text, bytes, shapes)| {
        let (bytes, pair) = (bytes.into(), (half, Wrapped(word)));
        Sample { small, large, signed, flag, text, bytes, maybe: None, shapes, pair, nothing: () }
    })
}

fn sample() -> impl Strategy<Value = Sample> {
    (flat(), proptest::option::of(flat())).prop_map(|(mut outer, inner)| {
        outer.maybe = inner.map(Box::new);
        outer
    })
}

fn written(value: &impl Serialize) -> Vec<u8> {
    serde_cbor::ser::to_vec_packed(value).unwrap()
}

fn refusal(body: &[u8]) -> String {
    assert_eq!(strict::check(body), Ok(()));
    read::<Sample>(body).unwrap_err().to_string()
}

proptest! {
    #[test]
    fn what_was_written_reads_back(sample in sample()) {
        assert_eq!(read::<Sample>(&written(&sample)).unwrap(), sample);
    }

    #[test]
    fn what_is_read_serde_cbor_reads_as_the_same(
        sample in sample(), changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let mut body = written(&sample);
        for (at, byte) in changes {
            let at = at % body.len();
            body[at] = byte;
        }
        if strict::check(&body).is_ok() && let Ok(value) = read::<Sample>(&body) {
            assert_eq!(serde_cbor::from_slice::<Sample>(&body).unwrap(), value);
        }
    }
}

#[test]
fn integers_reach_as_far_as_their_types() {
    for value in [i64::MIN, -256, -1, 0, 23, 24, i64::MAX] {
        assert_eq!(read::<i64>(&written(&value)).unwrap(), value);
    }
    assert!(read::<i64>(&written(&u64::MAX)).is_err());
    assert!(read::<u8>(&written(&256)).is_err());
    assert!(read::<u8>(&written(&-1)).is_err());
    let beyond = [0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0];
    assert!(read::<i64>(&beyond).is_err());
}

#[test]
fn fields_of_unknown_number_are_passed_over_whatever_they_hold() {
    let later = written(&(7_u8, vec![Shape::Line(1)], "text", None::<u8>, true));
    let mut body = vec![0xa2, 0x09];
    body.extend(&later);
    body.extend([0x00, 0x05]);
    assert_eq!(read::<Short>(&body).unwrap(), Short { small: 5 });
}

#[test]
fn forms_in_which_nothing_is_written_are_refused() {
    let short = |body: &[u8]| read::<Short>(body).unwrap_err().to_string();
    assert_eq!(short(&[0x81, 0x05]), "invalid type: sequence, expected struct Short", "a struct as an array");
    assert_eq!(short(&[0xa2, 0x00, 0x05, 0x00, 0x06]), "duplicate field `small`", "a field twice");
    let shape = |body: &[u8]| read::<Shape>(body).unwrap_err().to_string();
    assert_eq!(shape(&[0x81, 0x00]), "invalid type: sequence, expected enum Shape", "an array");
    let two = shape(&[0xa2, 0x01, 0x01, 0x02, 0x01]);
    assert_eq!(two, "a variant is a number, or a map of one", "two variants at once");
    assert_eq!(shape(&[0x01]), "a variant without its content", "a line without a length");
    assert_eq!(shape(&[0xa1, 0x00, 0x00]), "a variant with content that it has not", "a point with content");
    let text = read::<Bytes>(&written(&"text")).unwrap_err().to_string();
    assert_eq!(text, "invalid type: string, expected byte array", "text for bytes");
    assert!(read::<String>(&[0x61, 0xff]).is_err(), "text that is no UTF-8");
    assert_eq!(read::<(u8,)>(&[0x82, 1, 2]).unwrap_err().to_string(), "more values than there should be");
    assert_eq!(read::<u8>(&[1, 2]).unwrap_err().to_string(), "trailing data at offset 2");
}

#[test]
fn a_refusal_says_what_stands_there_and_what_was_expected() {
    assert_eq!(refusal(&[0xa1, 0x00, 0xf6]), "invalid type: unit value, expected u8");
    assert_eq!(refusal(&[0xa1, 0x00, 0xf5]), "invalid type: boolean `true`, expected u8");
    assert_eq!(refusal(&[0xa1, 0x03, 0x18, 0x99]), "invalid type: integer `153`, expected a boolean");
    assert_eq!(refusal(&[0xa1, 0x04, 0x41, 0x00]), "invalid type: byte array, expected a string");
    assert_eq!(refusal(&[0xa0]), "missing field `small`");
}
