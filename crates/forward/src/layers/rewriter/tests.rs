use super::super::codec::Number;
use super::*;

const FIRST: Source = Source { track: TrackKey(1), encoding: 0 };
const SECOND: Source = Source { track: TrackKey(1), encoding: 1 };
const ALL: Layer = Layer::all_of(0);
const LOW: Layer = Layer { temporal: 0, ..ALL };

fn frame(picture: u16) -> FrameInfo {
    let number = |value, bits| Some(Number { value, at: 0, bits });
    FrameInfo {
        numbers: Numbers { picture: number(picture, 15), dense: true, base: number(picture & 0xff, 8), ..Numbers::default() },
        ..FrameInfo::default()
    }
}

/// A rewriter whose first packet was source packet 1,000 at time 9,000 with picture 50, sent under 70.
fn begun() -> Rewriter {
    let mut rewriter = Rewriter::new(70);
    rewriter.begin(FIRST, 1_000, 9_000, &frame(50).numbers, ALL, 0);
    place(&mut rewriter, 1_000, 50);
    rewriter
}

/// Sends a packet of a picture whose time is a hundred and eighty times its number: where it went, and its picture and time then.
fn place(rewriter: &mut Rewriter, index: u64, picture: u16) -> (u64, u16, u32) {
    place_of(rewriter, index, picture, ALL)
}

fn place_of(rewriter: &mut Rewriter, index: u64, picture: u16, layer: Layer) -> (u64, u16, u32) {
    let time = u32::from(picture) * 180;
    let placed = rewriter.place(index, time, &frame(picture), layer).unwrap();
    rewriter.note(placed.index);
    (placed.index, picture.wrapping_add(placed.shift.picture) & 0x7fff, time.wrapping_add(placed.shift.timestamp))
}

#[test]
fn what_is_left_out_leaves_no_gap_and_what_is_lost_does() {
    let mut rewriter = begun();
    assert_eq!(place(&mut rewriter, 1_001, 50), (71, 50, 9_000));
    // Two packets of one picture, one of the next.
    for (index, picture) in [(1_002, 51), (1_003, 51), (1_004, 52)] {
        rewriter.skip(index, u32::from(picture) * 180, &frame(picture));
    }
    assert_eq!(place(&mut rewriter, 1_005, 53), (72, 51, 53 * 180));
    assert_eq!(place(&mut rewriter, 1_008, 54), (75, 52, 54 * 180), "two lost");
    // Of two that are lost one belongs to what is left out; nobody can know.
    rewriter.skip(1_010, 55 * 180, &frame(55));
    assert_eq!(place(&mut rewriter, 1_012, 57), (78, 54, 57 * 180));
    let late: Vec<_> = [1_006, 1_009, 1_011].map(|index| rewriter.place_late(index).unwrap().index).into();
    assert_eq!(late, [73, 76, 77], "each in its place");
    assert_eq!(rewriter.place_late(1_003), None, "left out");
    assert_eq!(rewriter.place_late(999), None, "before it began");
}

#[test]
fn what_belongs_to_no_picture_takes_no_number_and_makes_nothing_late() {
    let mut rewriter = begun();
    rewriter.pass_over(1_001);
    assert_eq!(place(&mut rewriter, 1_002, 51), (71, 51, 51 * 180), "no gap, and no picture less");
    // Among what is left out of a picture.
    rewriter.skip(1_003, 52 * 180, &frame(52));
    rewriter.pass_over(1_004);
    rewriter.skip(1_005, 52 * 180, &frame(52));
    assert_eq!(place(&mut rewriter, 1_006, 53), (72, 52, 53 * 180), "one picture less");
    // The end of a picture is missing, or overtaken.
    rewriter.pass_over(1_008);
    assert!(!rewriter.is_late(1_007));
    assert_eq!(place(&mut rewriter, 1_007, 54), (73, 53, 54 * 180));
    assert_eq!(place(&mut rewriter, 1_009, 55), (75, 54, 55 * 180), "its number is waited for, and found empty");
    assert_eq!(rewriter.place_late(1_008).map(|placed| placed.index), Some(74));
    // A change of the source: its pictures would still come before the last one.
    rewriter.begin(SECOND, 2_000, 10 * 180, &frame(10).numbers, ALL, 0);
    let first = place(&mut rewriter, 2_000, 10);
    assert_eq!((first.0, first.2), (76, 55 * 180 + STEP));
    rewriter.pass_over(2_001);
    assert_eq!(place(&mut rewriter, 2_002, 10), (77, first.1, first.2));
}

#[test]
fn pictures_that_name_others_by_their_ids_keep_them() {
    let mut rewriter = begun();
    let mut left_out = frame(51);
    left_out.numbers.dense = false;
    rewriter.skip(1_001, 51 * 180, &left_out);
    assert_eq!(place(&mut rewriter, 1_002, 52), (71, 52, 52 * 180));
}

#[test]
fn what_was_sent_is_found_again() {
    let mut rewriter = begun();
    let mut sent = vec![(70, 1_000)];
    for index in 1_001..1_061 {
        if index % 2 == 0 {
            sent.push((place(&mut rewriter, index, index as u16).0, index));
        } else {
            rewriter.skip(index, index as u32 * 180, &frame(index as u16));
        }
    }
    assert_eq!(sent.last().unwrap().0, 100);
    for (number, index) in sent {
        let (source, original, placed) = rewriter.source(number as u16).unwrap();
        assert_eq!((source, original, placed.index), (FIRST, index, number));
    }
    assert_eq!(rewriter.source(101), None, "not sent yet");
}

#[test]
fn late_packets_are_judged_by_what_was_sent_at_their_time() {
    let mut rewriter = begun();
    place(&mut rewriter, 1_001, 51);
    place_of(&mut rewriter, 1_003, 52, LOW);
    assert_eq!(place(&mut rewriter, 1_005, 53), (75, 53, 53 * 180));
    let layers: Vec<_> = [1_002, 1_004].map(|index| rewriter.place_late(index).unwrap().layer).into();
    assert_eq!(layers, [ALL, LOW]);
}

#[test]
fn a_change_of_encoding_goes_on_in_every_number() {
    let mut rewriter = begun();
    place(&mut rewriter, 1_001, 51);
    // The other encoding's picture 7 is the first one's 52.
    let offset = 52 * 180 - 7 * 180;
    rewriter.begin(SECOND, 400, 7 * 180, &frame(7).numbers, Layer::all_of(1), offset);
    assert_eq!(place_of(&mut rewriter, 400, 7, Layer::all_of(1)), (72, 52, 52 * 180));
    assert_eq!(place_of(&mut rewriter, 401, 8, Layer::all_of(1)), (73, 53, 53 * 180));
    assert!(rewriter.is_late(400) && !rewriter.is_late(402));
    assert_eq!(rewriter.place_late(399), None, "of the other encoding, but before the change");
    assert_eq!(rewriter.source(71).map(|(source, index, _)| (source, index)), Some((FIRST, 1_001)));
    assert_eq!(rewriter.source(73).map(|(source, index, _)| (source, index)), Some((SECOND, 401)));
}

#[test]
fn pictures_from_before_a_change_of_encoding_are_shown_after_what_was_sent() {
    let mut rewriter = begun();
    place(&mut rewriter, 1_001, 53);
    // Its first pictures are those that were shown already.
    rewriter.begin(SECOND, 400, 52 * 180, &frame(52).numbers, Layer::all_of(1), 0);
    let times: Vec<_> = [(400, 52), (401, 52), (402, 53), (403, 54)]
        .map(|(index, picture)| place_of(&mut rewriter, index, picture, Layer::all_of(1)).2)
        .into();
    let last = 53 * 180;
    assert_eq!(times, [last + STEP, last + STEP, last + 2 * STEP, last + 3 * STEP]);
    assert_eq!(place_of(&mut rewriter, 404, 60, Layer::all_of(1)).2, 60 * 180, "it has caught up");
    assert_eq!(rewriter.place_late(401).unwrap().shift.timestamp, last + STEP - 52 * 180, "as it was sent");
    assert_eq!(rewriter.offset(), 0, "what reports say");
}

#[test]
fn a_jump_of_the_source_is_closed() {
    let mut rewriter = begun();
    assert_eq!(place(&mut rewriter, 1_500, 51).0, 570);
    assert_eq!(place(&mut rewriter, 9_500, 52).0, 571);
    assert_eq!(rewriter.source(571).map(|(_, index, _)| index), Some(9_500));
}

#[test]
fn what_is_forgotten_is_not_found() {
    let mut rewriter = begun();
    rewriter.forget();
    assert_eq!((rewriter.source(70), rewriter.place_late(1_000), rewriter.next()), (None, None, 71));
    assert_eq!(rewriter.place(1_001, 0, &frame(51), ALL), None);
}
