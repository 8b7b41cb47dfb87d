//! Frames survive the way through a wire that cuts anywhere, and nothing that comes over it costs more than it should.

use bytes::Bytes;
use mkube_spdy::{CANCEL, Decoder, Encoder, Fault, Frame, Headers};
use proptest::prelude::*;

fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn frames(decoder: &mut Decoder) -> Result<Vec<Frame>, Fault> {
    let mut all = Vec::new();
    while let Some(frame) = decoder.next_frame()? {
        all.push(frame);
    }
    Ok(all)
}

/// Joins the pieces of data that belong together, since a wire may cut them.
fn joined(frames: Vec<Frame>) -> Vec<Frame> {
    let mut all: Vec<Frame> = Vec::new();
    for frame in frames {
        match (all.last_mut(), frame) {
            (Some(Frame::Data { id, fin: ended @ false, bytes }), Frame::Data { id: same, fin, bytes: more })
                if *id == same =>
            {
                *bytes = [bytes.as_ref(), more.as_ref()].concat().into();
                *ended = fin;
            }
            (_, frame) => all.push(frame),
        }
    }
    all
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let id = || 1u32..1000;
    let some = || proptest::collection::btree_map("[a-z]{1,8}", "[ -~]{0,40}", 0..4);
    prop_oneof![
        (id(), any::<bool>(), some()).prop_map(|(id, fin, headers)| Frame::Begin { id, fin, headers }),
        (id(), any::<bool>(), some()).prop_map(|(id, fin, headers)| Frame::Accept { id, fin, headers }),
        (id(), any::<bool>(), some()).prop_map(|(id, fin, headers)| Frame::Headers { id, fin, headers }),
        (id(), any::<bool>(), proptest::collection::vec(any::<u8>(), 1..3000))
            .prop_map(|(id, fin, bytes)| Frame::Data { id, fin, bytes: bytes.into() }),
        (id(), any::<u32>()).prop_map(|(id, status)| Frame::Reset { id, status }),
        any::<u32>().prop_map(|id| Frame::Ping { id }),
        Just(Frame::Goaway),
    ]
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_wherever_the_wire_cuts(
        sent in proptest::collection::vec(any_frame(), 0..20),
        cuts in proptest::collection::vec(1usize..700, 1..50),
    ) {
        let mut encoder = Encoder::default();
        let wire: Vec<u8> = sent.iter().flat_map(|frame| encoder.encode(frame)).collect();
        let (mut decoder, mut got, mut rest) = (Decoder::default(), Vec::new(), wire.as_slice());
        for cut in cuts.iter().cycle() {
            let (piece, more) = rest.split_at(rest.len().min(*cut));
            decoder.push(piece);
            got.extend(frames(&mut decoder).expect("what was encoded is decoded"));
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(joined(got), joined(sent));
    }

    #[test]
    fn whatever_comes_is_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        let _ = frames(&mut decoder);
    }

    #[test]
    fn one_bit_that_is_wrong_is_no_harm(at in 0usize..200, bit in 0u8..8) {
        let mut encoder = Encoder::default();
        let begin = Frame::Begin { id: 1, fin: false, headers: headers(&[("port", "80"), ("streamtype", "data")]) };
        let mut wire = encoder.encode(&begin).to_vec();
        wire.extend(encoder.encode(&Frame::Data { id: 1, fin: true, bytes: vec![7; 100].into() }));
        let at = at % wire.len();
        wire[at] ^= 1 << bit;
        let mut decoder = Decoder::default();
        decoder.push(&wire);
        let _ = frames(&mut decoder);
    }
}

#[test]
fn a_control_frame_longer_than_any_that_makes_sense_is_refused_before_it_is_there() {
    let mut decoder = Decoder::default();
    decoder.push(&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff]);
    assert!(matches!(decoder.next_frame(), Err(Fault::TooLong { .. })));
}

#[test]
fn another_version_is_refused() {
    let mut decoder = Decoder::default();
    decoder.push(&[0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
    assert_eq!(decoder.next_frame(), Err(Fault::Version));
}

#[test]
fn settings_and_windows_are_passed_over() {
    let mut decoder = Decoder::default();
    decoder.push(&[0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0]);
    decoder.push(&[0x80, 3, 0, 9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 1, 0, 0]);
    decoder.push(&Encoder::default().encode(&Frame::Reset { id: 1, status: CANCEL }));
    assert_eq!(frames(&mut decoder), Ok(vec![Frame::Reset { id: 1, status: CANCEL }]));
}

#[test]
fn a_long_frame_of_data_is_told_in_pieces_and_ends_once() {
    let sent = Frame::Data { id: 3, fin: true, bytes: Bytes::from(vec![1; (1 << 20) + 5]) };
    let wire = Encoder::default().encode(&sent);
    let (mut decoder, mut got) = (Decoder::default(), Vec::new());
    for piece in wire.chunks(8192) {
        decoder.push(piece);
        got.extend(frames(&mut decoder).expect("good"));
    }
    let ends = got.iter().filter(|frame| matches!(frame, Frame::Data { fin: true, .. })).count();
    assert_eq!(ends, 1);
    assert_eq!(joined(got), [sent]);
}
