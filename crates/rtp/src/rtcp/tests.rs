use proptest::prelude::*;

use super::transport::FeedbackPlan;
use super::*;

fn written(write: impl FnOnce(&mut RtcpWriter<'_>)) -> Vec<u8> {
    let mut buffer = vec![0xee; 4096];
    let mut writer = RtcpWriter::new(&mut buffer);
    write(&mut writer);
    let len = writer.len();
    assert!(len.is_multiple_of(4) && buffer[len..].iter().all(|&byte| byte == 0xee), "wrote beyond its end");
    buffer.truncate(len);
    buffer
}

fn only(bytes: &[u8]) -> Packet<'_> {
    let mut packets = Packets::parse(bytes);
    let packet = packets.next().unwrap().unwrap();
    assert!(packets.next().is_none(), "one packet was written");
    packet
}

const BLOCK: ReportBlock = ReportBlock {
    ssrc: 0x1111_2222,
    fraction_lost: 51,
    cumulative_lost: -2,
    highest_sequence: 0x0003_fffe,
    jitter: 77,
    last_sender_report: 0xaabb_ccdd,
    delay_since_last_sender_report: 0x0001_8000,
};

const INFO: SenderInfo = SenderInfo { ssrc: 7, ntp: 0x0123_4567_89ab_cdef, rtp: 90_000, packets: 5, octets: 6000 };

#[test]
fn reports_survive_the_round_trip() {
    for count in [0, 1, MAX_REPORTS] {
        let bytes = written(|writer| writer.sender_report(&INFO, std::iter::repeat_n(BLOCK, count)).unwrap());
        let Packet::SenderReport(report) = only(&bytes) else { panic!("a sender report") };
        assert_eq!((report.ssrc, report.ntp, report.rtp), (INFO.ssrc, INFO.ntp, INFO.rtp));
        assert_eq!((report.packets, report.octets), (INFO.packets, INFO.octets));
        assert!(report.reports().eq(std::iter::repeat_n(BLOCK, count)));

        let bytes = written(|writer| writer.receiver_report(7, std::iter::repeat_n(BLOCK, count)).unwrap());
        let Packet::ReceiverReport(report) = only(&bytes) else { panic!("a receiver report") };
        assert_eq!(report.ssrc, 7);
        assert!(report.reports().eq(std::iter::repeat_n(BLOCK, count)));
    }
    assert_eq!(middle(INFO.ntp), 0x4567_89ab);
}

#[test]
fn the_lost_count_is_clamped_to_its_24_bits() {
    for (lost, sent) in [(i32::MAX, 0x7f_ffff), (i32::MIN, -0x80_0000), (-1, -1), (0, 0), (0x7f_ffff, 0x7f_ffff)] {
        let block = ReportBlock { cumulative_lost: lost, ..BLOCK };
        let bytes = written(|writer| writer.receiver_report(7, [block]).unwrap());
        let Packet::ReceiverReport(report) = only(&bytes) else { panic!("a receiver report") };
        assert_eq!(report.reports().next(), Some(ReportBlock { cumulative_lost: sent, ..BLOCK }));
    }
}

#[test]
fn packets_have_the_bytes_of_their_specifications() {
    let table: [(&str, Vec<u8>, &[u8]); 8] = [
        ("RR", written(|writer| writer.receiver_report(7, []).unwrap()), &[0x80, 201, 0, 1, 0, 0, 0, 7]),
        (
            "SDES",
            written(|writer| writer.source_description(7, "ab").unwrap()),
            &[0x81, 202, 0, 3, 0, 0, 0, 7, 1, 2, b'a', b'b', 0, 0, 0, 0],
        ),
        (
            "SDES whose list ends on a word",
            written(|writer| writer.source_description(7, "a").unwrap()),
            &[0x81, 202, 0, 2, 0, 0, 0, 7, 1, 1, b'a', 0],
        ),
        ("BYE", written(|writer| writer.bye([7, 8]).unwrap()), &[0x82, 203, 0, 2, 0, 0, 0, 7, 0, 0, 0, 8]),
        (
            "NACK, whose first pair reaches 16 further",
            written(|writer| writer.nack(7, 9, [0xffff, 0, 15, 16, 100]).unwrap()),
            &[0x81, 205, 0, 5, 0, 0, 0, 7, 0, 0, 0, 9, 0xff, 0xff, 0x80, 0x01, 0, 16, 0, 0, 0, 100, 0, 0],
        ),
        ("PLI", written(|writer| writer.picture_loss_indication(7, 9).unwrap()), &[0x81, 206, 0, 2, 0, 0, 0, 7, 0, 0, 0, 9]),
        (
            "FIR",
            written(|writer| writer.full_intra_request(7, [(9, 200)]).unwrap()),
            &[0x84, 206, 0, 4, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 200, 0, 0, 0],
        ),
        (
            "REMB of 1,000,000",
            written(|writer| writer.remb(7, 1_000_000, [9]).unwrap()),
            &[0x8f, 206, 0, 5, 0, 0, 0, 7, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x0b, 0xd0, 0x90, 0, 0, 0, 9],
        ),
    ];
    for (what, bytes, expected) in table {
        assert_eq!(bytes, expected, "{what}");
    }
}

#[test]
fn transport_feedback_has_the_bytes_of_its_draft() {
    // 500 is 64 ms and 244 ticks; then 6 ticks later, nothing, 100 ticks back.
    let bytes = written(|writer| {
        let arrivals = [Some(500), Some(506), None, Some(406)];
        assert_eq!(writer.transport_feedback(7, 9, 0xfffe, 3, &arrivals), Ok(4));
    });
    let expected = [
        0x8f, 205, 0, 6, 0, 0, 0, 7, 0, 0, 0, 9, // header and sources
        0xff, 0xfe, 0, 4, 0, 0, 1, 3, // base, count, reference, feedback count
        0xd4, 0x80, // two-bit vector: small, small, lost, large
        244, 6, 0xff, 0x9c, 0, 0, // deltas and fill
    ];
    assert_eq!(bytes, [&expected[..3], &[6], &expected[4..]].concat());
    let Packet::TransportFeedback(feedback) = only(&bytes) else { panic!("transport feedback") };
    assert_eq!((feedback.sender, feedback.media, feedback.base_sequence), (7, 9, 0xfffe));
    assert_eq!((feedback.status_count, feedback.reference_time, feedback.feedback_count), (4, 1, 3));
    let statuses: Vec<_> = feedback.statuses().collect();
    assert_eq!(statuses, [(0xfffe, Some(500)), (0xffff, Some(506)), (0, None), (1, Some(406))]);
}

#[test]
fn transport_feedback_of_every_chunk_is_read() {
    let body = [
        0x8f, 205, 0, 0, 0, 0, 0, 7, 0, 0, 0, 9, // header and sources
        0, 10, 0, 28, 0xff, 0xff, 0xff, 0, // base 10, 28 statuses, reference -1
        0x00, 0x05, // run of 5 lost
        0x00, 0x00, // run of none
        0x20, 0x02, // run of 2 small
        0x40, 0x01, // run of 1 large
        0xa0, 0x01, // one-bit vector: the first and the last of 14... 1 0 0 ... 1
        0xe4, 0x00, // two-bit vector: large, small, lost...; only 6 of its 7 count
        1, 2, 0xff, 0xff, 3, 4, 0, 5, 6, 0, 0, 0, // deltas and fill
    ];
    let mut bytes = body;
    bytes[3] = (body.len() / 4 - 1) as u8;
    let Packet::TransportFeedback(feedback) = only(&bytes) else { panic!("transport feedback") };
    let statuses: Vec<_> = feedback.statuses().collect();
    assert_eq!(statuses.len(), 28);
    let arrived: Vec<_> = statuses.iter().filter_map(|&(sequence, arrival)| Some((sequence, arrival?))).collect();
    assert_eq!(arrived, [(15, -255), (16, -253), (17, -254), (18, -251), (31, -247), (32, -242), (33, -236)]);
}

#[test]
fn feedback_that_does_not_fit_is_continued_in_another() {
    // An arrival 20 s after the others has no delta.
    let mut arrivals: Vec<_> = (0..40i64).map(|at| Some(at * 30)).collect();
    arrivals.extend([None, Some(80_000), Some(80_001)]);
    let mut buffer = [0; 1200];
    assert_eq!(RtcpWriter::new(&mut buffer).transport_feedback(1, 2, 0, 0, &arrivals), Ok(41));
    assert_eq!(RtcpWriter::new(&mut buffer).transport_feedback(1, 2, 41, 1, &arrivals[41..]), Ok(2));
    // Room for one chunk of 14 statuses, and for nothing.
    let wide: Vec<_> = (0..60i64).map(|at| (at % 3 != 1).then_some(at)).collect();
    assert_eq!(RtcpWriter::new(&mut buffer[..20 + 12]).transport_feedback(1, 2, 0, 0, &wide), Ok(14));
    let mut small = [0xee; 20];
    let mut writer = RtcpWriter::new(&mut small);
    assert_eq!(writer.transport_feedback(1, 2, 0, 0, &wide), Err(WriteError::NoSpace));
    assert!(writer.is_empty());
    assert_eq!(writer.transport_feedback(1, 2, 0, 0, &[None, None]), Err(WriteError::Count));
    assert_eq!(writer.transport_feedback(1, 2, 0, 0, &[]), Err(WriteError::Count));
    assert!(FeedbackPlan::new(&[None], 1000).is_none());
}

#[test]
fn a_steady_stream_takes_little_more_than_a_byte_a_packet() {
    let arrivals: Vec<_> = (0..800i64).map(|at| Some(at * 16)).collect();
    let bytes = written(|writer| assert_eq!(writer.transport_feedback(1, 2, 0, 0, &arrivals), Ok(800)));
    assert!(bytes.len() <= 20 + 2 + 800 + 3, "{}", bytes.len());
}

#[test]
fn remb_says_what_it_can_and_saturates() {
    for (bitrate, said) in [(0, 0), (1, 1), (262_143, 262_143), (262_145, 262_144), (2_500_000, 2_500_000), (u64::MAX, 0x3_ffff << 46)] {
        let bytes = written(|writer| writer.remb(7, bitrate, [1, 2]).unwrap());
        let Packet::Remb(remb) = only(&bytes) else { panic!("a REMB") };
        assert_eq!((remb.sender, remb.bitrate), (7, said), "{bitrate}");
        assert!(remb.ssrcs().eq([1, 2]));
    }
    let mut bytes = written(|writer| writer.remb(7, 1, []).unwrap());
    bytes[17..20].fill(0xff);
    let Packet::Remb(remb) = only(&bytes) else { panic!("a REMB") };
    assert_eq!(remb.bitrate, u64::MAX);
}

#[test]
fn a_compound_is_read_packet_by_packet() {
    let bytes = written(|writer| {
        writer.receiver_report(7, [BLOCK]).unwrap();
        writer.source_description(7, "name").unwrap();
        writer.nack(7, 9, [5]).unwrap();
        writer.picture_loss_indication(7, 9).unwrap();
        writer.full_intra_request(7, [(9, 1), (10, 2)]).unwrap();
        writer.bye([7]).unwrap();
    });
    // An extended report, application feedback of another kind, and padding at the end.
    let bytes = [
        &bytes[..],
        &[0x80, 207, 0, 1, 0, 0, 0, 7],
        &[0x8f, 206, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0, b'X', b'E', b'M', b'B'],
        &[0xa1, 206, 0, 3, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 4],
    ]
    .concat();
    let packets: Result<Vec<_>, _> = Packets::parse(&bytes).collect();
    let [
        Packet::ReceiverReport(_),
        Packet::SourceDescription,
        Packet::Nack(nack),
        Packet::PictureLossIndication { sender: 7, media: 9 },
        Packet::FullIntraRequest(fir),
        Packet::Bye(bye),
        Packet::Unknown { packet_type: 207, format: 0 },
        Packet::Unknown { packet_type: 206, format: 15 },
        Packet::PictureLossIndication { sender: 7, media: 8 },
    ] = &packets.unwrap()[..]
    else {
        panic!("nine packets in their order")
    };
    assert!(nack.sequences().eq([5]));
    assert!(fir.entries().eq([(9, 1), (10, 2)]));
    assert!(bye.ssrcs().eq([7]));
}

#[test]
fn transport_feedback_is_padded_by_browsers_as_no_other_packet_is_and_followed_by_others() {
    let report = [0x80, 201, 0, 1, 0, 0, 0, 7];
    // One chunk of small deltas and as many bytes of padding as make a whole word.
    for (deltas, padding) in [(1u8, Some(1u8)), (2, None), (3, Some(3)), (4, Some(2))] {
        let len = 2 + deltas + padding.unwrap_or(0);
        let first = if padding.is_some() { 0xaf } else { 0x8f };
        let mut feedback = vec![first, 205, 0, 4 + len / 4, 0, 0, 0, 7, 0, 0, 0, 9, 0, 40, 0, deltas, 0, 0, 1, 5, 0x20, deltas];
        feedback.extend(std::iter::repeat_n(4, usize::from(deltas)));
        feedback.extend((0..padding.unwrap_or(0)).map(|at| if at + 1 == padding.unwrap_or(0) { at + 1 } else { 0 }));
        let bytes = [&feedback[..], &report].concat();
        let packets: Vec<_> = Packets::parse(&bytes).collect::<Result<_, _>>().unwrap();
        let [Packet::TransportFeedback(read), Packet::ReceiverReport(_)] = &packets[..] else { panic!("{packets:?}") };
        let arrivals: Vec<_> = read.statuses().collect();
        let expected: Vec<_> = (0..deltas).map(|at| (40 + u16::from(at), Some(256 + 4 * (i64::from(at) + 1)))).collect();
        assert_eq!(arrivals, expected);
    }
}

#[test]
fn malformed_compounds_end_with_the_reason() {
    let good = [0x80, 201, 0, 1, 0, 0, 0, 7];
    let after = |bad: &[u8]| [&good, bad].concat();
    let table: [(&str, Vec<u8>, RtcpError); 15] = [
        ("half a header", after(&[0x80, 201, 0]), RtcpError::Truncated),
        ("version 1", after(&[0x40, 201, 0, 0]), RtcpError::Version),
        ("a length beyond the compound", after(&[0x80, 201, 0, 2, 0, 0, 0, 7]), RtcpError::Truncated),
        ("the longest length", after(&[0x80, 201, 0xff, 0xff, 0, 0, 0, 7]), RtcpError::Truncated),
        ("a receiver report without sender", after(&[0x80, 201, 0, 0]), RtcpError::Truncated),
        ("a block announced and missing", after(&[0x81, 201, 0, 1, 0, 0, 0, 7]), RtcpError::Truncated),
        ("a sender report without sender's part", after(&[0x80, 200, 0, 1, 0, 0, 0, 7]), RtcpError::Truncated),
        ("a BYE without its source", after(&[0x81, 203, 0, 0]), RtcpError::Truncated),
        ("a NACK without media", after(&[0x81, 205, 0, 1, 0, 0, 0, 7]), RtcpError::Truncated),
        ("a PLI without media", after(&[0x81, 206, 0, 1, 0, 0, 0, 7]), RtcpError::Truncated),
        ("a REMB without its bitrate", after(&[0x8f, 206, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0, b'R', b'E', b'M', b'B']), RtcpError::Truncated),
        (
            "transport feedback without a chunk",
            after(&[0x8f, 205, 0, 4, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0]),
            RtcpError::Truncated,
        ),
        (
            "transport feedback without a delta",
            after(&[0x8f, 205, 0, 5, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0, 0, 0, 0x20, 3, 1, 2]),
            RtcpError::Truncated,
        ),
        ("padding of zero", after(&[0xa0, 201, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0]), RtcpError::Padding),
        ("padding beyond its packet", after(&[0xa0, 201, 0, 2, 0, 0, 0, 7, 0, 0, 0, 12]), RtcpError::Padding),
    ];
    for (what, bytes, error) in table {
        let mut packets = Packets::parse(&bytes);
        assert!(matches!(packets.next(), Some(Ok(Packet::ReceiverReport(_)))), "{what}: what came before is read");
        assert_eq!(packets.next().unwrap().err(), Some(error), "{what}");
        assert!(packets.next().is_none(), "{what}: nothing after an error");
    }
    assert!(Packets::parse(&[]).next().is_none());
    let crowd = [0x80, 207, 0, 0].repeat(MAX_PACKETS + 10);
    assert_eq!(Packets::parse(&crowd).filter(Result::is_ok).count(), MAX_PACKETS);
    assert_eq!(Packets::parse(&crowd).last().unwrap().err(), Some(RtcpError::TooMany));
}

#[test]
fn a_packet_is_written_whole_or_not_at_all() {
    for room in 0..120 {
        let mut buffer = vec![0; room];
        let mut writer = RtcpWriter::new(&mut buffer);
        let mut good = 0;
        let mut check = |outcome: Result<(), WriteError>| good += usize::from(outcome.is_ok());
        check(writer.receiver_report(7, [BLOCK]));
        check(writer.source_description(7, "abc"));
        check(writer.nack(7, 9, [1, 50]));
        check(writer.remb(7, 1000, [1]));
        check(writer.bye([1, 2]));
        check(writer.transport_feedback(7, 9, 0, 0, &[Some(5); 30]).map(|_| ()));
        let len = writer.len();
        assert_eq!(writer.remaining(), room - len);
        let packets: Result<Vec<_>, _> = Packets::parse(&buffer[..len]).collect();
        assert_eq!(packets.unwrap().len(), good, "with room for {room}");
    }
}

#[test]
fn what_can_not_be_counted_is_not_written() {
    let mut buffer = [0; 4096];
    let mut writer = RtcpWriter::new(&mut buffer);
    assert_eq!(writer.receiver_report(7, [BLOCK; MAX_REPORTS + 1]), Err(WriteError::Count));
    assert_eq!(writer.sender_report(&INFO, [BLOCK; MAX_REPORTS + 1]), Err(WriteError::Count));
    assert_eq!(writer.bye(0..32), Err(WriteError::Count));
    assert_eq!(writer.bye([]), Err(WriteError::Count));
    assert_eq!(writer.nack(1, 2, []), Err(WriteError::Count));
    assert_eq!(writer.full_intra_request(1, []), Err(WriteError::Count));
    assert_eq!(writer.source_description(1, ""), Err(WriteError::Count));
    assert_eq!(writer.source_description(1, &"x".repeat(256)), Err(WriteError::Count));
    assert_eq!(writer.remb(1, 1, 0..256), Err(WriteError::Count));
    assert!(writer.is_empty());
}

/// Drains everything a compound can be asked for.
fn read_all(bytes: &[u8]) -> usize {
    let mut items = 0;
    for packet in Packets::parse(bytes).map_while(Result::ok) {
        items += 1 + match packet {
            Packet::SenderReport(report) => report.reports().count(),
            Packet::ReceiverReport(report) => report.reports().count(),
            Packet::Bye(bye) => bye.ssrcs().count(),
            Packet::Nack(nack) => nack.sequences().count(),
            Packet::FullIntraRequest(request) => request.entries().count(),
            Packet::Remb(remb) => remb.ssrcs().count(),
            Packet::TransportFeedback(feedback) => {
                let count = feedback.statuses().count();
                assert_eq!(count, usize::from(feedback.status_count), "what parses is complete");
                count
            }
            _ => 0,
        };
    }
    items
}

/// Bytes that get past the header: a packet type that is known, a length that fits.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), 200u8..208, prop::collection::vec(any::<u8>(), 0..50)).prop_map(|(first, packet_type, words)| {
        let body: Vec<u8> = words.iter().flat_map(|&byte| [byte, byte.wrapping_mul(3), 0, byte & 7]).collect();
        [&[first & 0x1f | 0x80, packet_type, 0, words.len() as u8][..], &body].concat()
    })
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }

    #[test]
    fn likely_bytes_never_panic(packets in prop::collection::vec(likely(), 1..6), mut body in prop::collection::vec(any::<u8>(), 16..200)) {
        read_all(&packets.concat());
        body.truncate(body.len() & !3);
        let feedback = [&[0x8f, 205, 0, (body.len() / 4) as u8][..], &body].concat();
        read_all(&feedback);
    }

    #[test]
    fn nacked_sequences_are_those_asked_for(first: u16, steps in prop::collection::vec(1u16..40, 0..60)) {
        let mut sequences = vec![first];
        for step in steps {
            sequences.push(sequences[sequences.len() - 1].wrapping_add(step));
        }
        let bytes = written(|writer| writer.nack(7, 9, sequences.iter().copied()).unwrap());
        let Packet::Nack(nack) = only(&bytes) else { panic!("a NACK") };
        prop_assert_eq!((nack.sender, nack.media), (7, 9));
        prop_assert_eq!(nack.sequences().collect::<Vec<_>>(), sequences);
    }

    #[test]
    fn arrivals_survive_in_as_many_messages_as_it_takes(
        base: u16,
        steps in prop::collection::vec(prop_oneof![
            6 => (0i64..250).prop_map(Some),
            2 => (-300i64..400).prop_map(Some),
            1 => (-50_000i64..50_000).prop_map(Some),
            3 => Just(None),
        ], 1..600),
        lost in 0usize..20_000,
        room in 36usize..1200,
        start in 0i64..100_000_000,
    ) {
        let mut ticks = start;
        let mut arrivals: Vec<Option<i64>> = steps.iter().map(|step| step.map(|step| { ticks += step; ticks })).collect();
        let at = arrivals.len() / 2;
        arrivals.splice(at..at, std::iter::repeat_n(None, lost));
        let mut done = 0;
        while arrivals[done..].iter().any(Option::is_some) {
            let sequence = base.wrapping_add(done as u16);
            let mut buffer = vec![0; room];
            let mut writer = RtcpWriter::new(&mut buffer);
            let count = writer.transport_feedback(1, 2, sequence, 9, &arrivals[done..]).unwrap();
            prop_assert!(count > 0);
            let len = writer.len();
            let Packet::TransportFeedback(feedback) = only(&buffer[..len]) else { panic!("transport feedback") };
            prop_assert_eq!((feedback.base_sequence, usize::from(feedback.status_count)), (sequence, count));
            // The reference time wraps after 24 bits of 64 ms.
            let wrap = 1i64 << 32;
            let read: Vec<_> = feedback.statuses().map(|(_, arrival)| arrival.map(|ticks| ticks.rem_euclid(wrap))).collect();
            let sent: Vec<_> = arrivals[done..done + count].iter().map(|arrival| arrival.map(|ticks| ticks.rem_euclid(wrap))).collect();
            prop_assert_eq!(read, sent);
            done += count;
        }
    }
}
