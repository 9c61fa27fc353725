//! A packet on its way through this crate allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use switchyard_rtp::codec::{is_keyframe, starts_frame};
use switchyard_rtp::rtcp::{Packet, Packets, RtcpWriter, SenderInfo};
use switchyard_rtp::rtp::{HeaderFields, write_header};
use switchyard_rtp::srtp::{MasterKey, Opener, Profile, Sealer};
use switchyard_rtp::{Codec, Extension, ExtensionMap};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts what each thread allocates from Rust.
struct Counting;

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

#[test]
fn a_packet_is_read_written_opened_and_sealed_without_allocating() {
    let mut map = ExtensionMap::default();
    map.set(Extension::Mid, 1);
    map.set(Extension::TransportSequence, 2);
    let master = MasterKey { key: [7; 16], salt: [9; 14] };
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80] {
        let mut sealer = Sealer::new(profile, &master);
        let mut opener = Opener::new(profile, &master);
        let stream = sealer.add_stream(7).unwrap();
        let mut packet = [0; 1500];
        let mut round = |index: u64| {
            let fields = HeaderFields { marker: false, payload_type: 96, sequence: index as u16, timestamp: 1, ssrc: 7 };
            let sequence = (index as u16).to_be_bytes();
            let header_len = write_header(&mut packet, &fields, [(1u8, &b"0"[..]), (2, &sequence)].into_iter()).unwrap();
            packet[header_len..header_len + 3].copy_from_slice(&[0x10, 0x50, 0x01]);
            let sealed = sealer.seal_rtp(stream, index, &mut packet, header_len, 1200).unwrap();
            let opened = opener.open_rtp(&mut packet[..sealed]).unwrap();
            let parsed = map.parse(&opened.header, &packet[..opened.len]);
            assert_eq!(parsed.transport_sequence, Some(index as u16));
            let payload = &packet[opened.header.payload(opened.len)];
            assert!(is_keyframe(Codec::Vp8, payload, None) && starts_frame(Codec::Vp8, payload, None));

            let mut writer = RtcpWriter::new(&mut packet[..1400]);
            writer.sender_report(&SenderInfo { ssrc: 7, ntp: 1, rtp: 2, packets: 3, octets: 4 }, []).unwrap();
            writer.nack(7, 8, [1, 2, 3, 100]).unwrap();
            writer.transport_feedback(7, 8, 0, 0, &[Some(5), None, Some(9), Some(5000)]).unwrap();
            let len = writer.len();
            let sealed = sealer.seal_rtcp(&mut packet, len).unwrap();
            let len = opener.open_rtcp(&mut packet[..sealed]).unwrap();
            let mut lost = 0;
            for rtcp in Packets::parse(&packet[..len]) {
                match rtcp.unwrap() {
                    Packet::Nack(nack) => lost += nack.sequences().count(),
                    Packet::TransportFeedback(feedback) => lost += feedback.statuses().filter(|status| status.1.is_none()).count(),
                    _ => {}
                }
            }
            assert_eq!(lost, 5);
        };
        // The first packet of a source makes its state.
        round(0);
        let before = allocations();
        for index in 1..1000 {
            round(index);
        }
        assert_eq!(allocations(), before, "{profile:?}");
    }
}
