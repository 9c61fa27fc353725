use super::*;

const WINDOW: u32 = 1000;

fn packet(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = vec![0; COMMON_HEADER];
    for chunk in chunks {
        packet.extend(chunk);
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    seal(&mut packet);
    packet
}

fn chunk(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut chunk = vec![kind, 0];
    chunk.extend(((4 + body.len()) as u16).to_be_bytes());
    chunk.extend(body);
    chunk
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn init(tag: u32, tsn: u32) -> Vec<u8> {
    packet(&[chunk(INIT, &words(&[tag, WINDOW, 0, tsn]))])
}

fn data(tsn: u32, stream: u16) -> Vec<u8> {
    chunk(DATA, &words(&[tsn, u32::from(stream) << 16, 51, 0x6869_0000]))
}

fn reset(sequence: u32) -> Vec<u8> {
    packet(&[chunk(RE_CONFIG, &words(&[u32::from(OUTGOING_RESET_REQUEST) << 16 | 16, sequence, 0, 0]))])
}

fn opened() -> Screen {
    let mut screen = Screen::new(WINDOW, 1163);
    assert_eq!(screen.inspect(&mut init(1, 100)), Verdict::Pass);
    screen
}

#[test]
fn the_checksum_is_crc_32c() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn an_init_is_passed_once_and_answered_when_repeated() {
    let mut screen = opened();
    assert_eq!(screen.inspect(&mut init(1, 100)), Verdict::Drop, "the answer is on its way");
    let answer = Bytes::from(packet(&[chunk(INIT_ACK, &[0; 16])]));
    assert_eq!(screen.release(answer.clone()), Some(answer.clone()));
    assert_eq!(screen.inspect(&mut init(1, 100)), Verdict::Answer(answer));
    assert_eq!(screen.inspect(&mut init(2, 100)), Verdict::Drop, "another association");
}

#[test]
fn nothing_passes_before_an_init() {
    assert_eq!(Screen::new(WINDOW, 1163).inspect(&mut packet(&[data(1, 0)])), Verdict::Drop);
}

#[test]
fn leaps_of_the_tsn_are_dropped() {
    let forward = |tsn| packet(&[chunk(FORWARD_TSN, &words(&[tsn]))]);
    let mut screen = opened();
    assert_eq!(screen.inspect(&mut forward(99 + MAX_TSN_LEAD)), Verdict::Pass);
    assert_eq!(screen.inspect(&mut forward(100 + MAX_TSN_LEAD)), Verdict::Drop);
    assert_eq!(screen.inspect(&mut packet(&[data(100 + MAX_TSN_LEAD, 0)])), Verdict::Drop);
    assert_eq!(screen.inspect(&mut forward(50)), Verdict::Pass, "old ones do nothing");
    screen.release(packet(&[chunk(SACK, &words(&[5000, 0, 0]))]).into());
    assert_eq!(screen.inspect(&mut forward(100 + MAX_TSN_LEAD)), Verdict::Pass);
}

#[test]
fn unanswered_resets_are_limited() {
    let mut screen = opened();
    for sequence in 0..MAX_RESETS as u32 {
        assert_eq!(screen.inspect(&mut reset(sequence)), Verdict::Pass);
    }
    assert_eq!(screen.inspect(&mut reset(9)), Verdict::Drop);
    assert_eq!(screen.inspect(&mut reset(0)), Verdict::Pass, "a repetition");
    let response = |result| packet(&[chunk(RE_CONFIG, &words(&[u32::from(RECONFIG_RESPONSE) << 16 | 12, 0, result]))]);
    screen.release(response(IN_PROGRESS).into());
    assert_eq!(screen.inspect(&mut reset(9)), Verdict::Drop);
    screen.release(response(1).into());
    assert_eq!(screen.inspect(&mut reset(9)), Verdict::Pass);
}

#[test]
fn streams_without_number_are_abuse() {
    let mut screen = opened();
    for stream in 0..MAX_STREAMS as u16 {
        assert_eq!(screen.inspect(&mut packet(&[data(100, stream)])), Verdict::Pass);
    }
    screen.gone(0);
    assert_eq!(screen.inspect(&mut packet(&[data(100, 1000)])), Verdict::Pass);
    assert_eq!(screen.inspect(&mut packet(&[data(100, 1001)])), Verdict::Abuse);
}

#[test]
fn chunks_that_never_become_messages_are_abuse() {
    let mut screen = opened();
    let sack = |window| Bytes::from(packet(&[chunk(SACK, &words(&[99, window, 0]))]));
    for _ in 0..MAX_CHUNKS {
        assert_eq!(screen.inspect(&mut packet(&[data(100, 0)])), Verdict::Pass);
    }
    screen.taken(1);
    assert_eq!(screen.inspect(&mut packet(&[data(100, 0)])), Verdict::Pass);
    screen.release(sack(WINDOW));
    assert_eq!(screen.inspect(&mut packet(&[data(100, 0)])), Verdict::Pass);
    screen.release(sack(WINDOW - 1));
    let passed = (0..).take_while(|_| screen.inspect(&mut packet(&[data(100, 0)])) == Verdict::Pass).count();
    assert_eq!(passed, MAX_CHUNKS - 1);
}

#[test]
fn data_for_a_closing_stream_goes_to_the_sink() {
    let mut screen = opened();
    screen.closing(4);
    let mut both = packet(&[data(100, 4), data(101, 6)]);
    assert_eq!(screen.inspect(&mut both), Verdict::Pass);
    let mut expected = [data(100, SINK), data(101, 6)];
    expected[0][1] = WHOLE_UNORDERED;
    assert_eq!(both, packet(&expected));
}

#[test]
fn a_sack_that_is_too_large_is_shortened_and_other_packets_are_dropped() {
    let mut screen = opened();
    let mut body = words(&[77, 5, 2000 << 16 | 3]);
    body.extend((0..8012_u32).map(|byte| byte as u8));
    let short = screen.release(packet(&[chunk(SACK, &body)]).into()).expect("a packet");
    assert!(short.len() <= 1163 && short.len() > 1155, "{}", short.len());
    let gaps = (short.len() - 28) / 4;
    assert_eq!(u16_at(&short, 24), Some(gaps as u16));
    assert_eq!(short, packet(&[chunk(SACK, &[&words(&[77, 5, (gaps as u32) << 16])[..], &body[12..12 + 4 * gaps]].concat())]));
    assert_eq!(screen.release(packet(&[chunk(5, &[0; 2000])]).into()), None);
}

#[test]
fn cut_off_packets_are_no_danger() {
    let whole = [packet(&[data(100, 0), chunk(FORWARD_TSN, &words(&[5])), data(101, 0)]), reset(1), init(1, 2)].concat();
    for start in 0..whole.len() {
        for end in start..whole.len() {
            opened().inspect(&mut whole[start..end].to_vec());
            opened().release(whole[start..end].to_vec().into());
        }
    }
}
