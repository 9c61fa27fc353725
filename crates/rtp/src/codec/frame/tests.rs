use proptest::prelude::*;

use super::*;
use crate::codec::vp8::Descriptor;

/// (what, codec, payload, whether it begins a keyframe, whether it begins a frame)
type Case = (&'static str, Codec, &'static [u8], bool, bool);

const CASES: [Case; 53] = [
    ("keyframe", Codec::Vp8, &[0x10, 0x50, 0x01], true, true),
    ("interframe", Codec::Vp8, &[0x10, 0x51, 0x01], false, true),
    ("continuation", Codec::Vp8, &[0x00, 0x50], false, false),
    ("second partition", Codec::Vp8, &[0x11, 0x50], false, false),
    ("keyframe, 7-bit picture id", Codec::Vp8, &[0x90, 0x80, 0x11, 0x50], true, true),
    ("keyframe, 15-bit picture id", Codec::Vp8, &[0x90, 0x80, 0x80, 0x11, 0x50], true, true),
    ("keyframe, all fields", Codec::Vp8, &[0x90, 0xf0, 0x80, 0x11, 0x22, 0x33, 0x50], true, true),
    ("interframe, all fields", Codec::Vp8, &[0x90, 0xf0, 0x80, 0x11, 0x22, 0x32, 0x51], false, true),
    ("key index only", Codec::Vp8, &[0x90, 0x10, 0x05, 0x50], true, true),
    ("descriptor cut", Codec::Vp8, &[0x90, 0x80, 0x80], false, false),
    ("descriptor only", Codec::Vp8, &[0x10], false, true),
    ("nothing", Codec::Vp8, &[], false, false),
    ("keyframe", Codec::Vp9Profile0, &[0x08, 0x80], true, true),
    ("keyframe, profile 2", Codec::Vp9Profile2, &[0x08, 0x80], true, true),
    ("interframe", Codec::Vp9Profile0, &[0x48, 0x80], false, true),
    ("middle of a keyframe", Codec::Vp9Profile0, &[0x00, 0x80], false, false),
    ("lowest spatial layer", Codec::Vp9Profile0, &[0xa8, 0x85, 0x01, 0x00], true, true),
    ("upper spatial layer", Codec::Vp9Profile0, &[0xa8, 0x85, 0x01, 0x03], false, false),
    ("upper spatial layer, 7-bit picture id", Codec::Vp9Profile0, &[0xa8, 0x05, 0x02], false, false),
    ("descriptor cut", Codec::Vp9Profile0, &[0xa8, 0x85], false, false),
    ("nothing", Codec::Vp9Profile0, &[], false, false),
    ("single IDR", Codec::H264ConstrainedBaseline1, &[0x65, 0x88], true, true),
    ("single SPS", Codec::H264ConstrainedBaseline0, &[0x67, 0x42], true, true),
    ("single slice", Codec::H264Main1, &[0x41, 0x9a], false, true),
    ("STAP-A of SPS and PPS", Codec::H264High1, &[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68], true, true),
    ("STAP-A of a PPS and an IDR", Codec::H264Baseline1, &[0x78, 0, 1, 0x68, 0, 2, 0x65, 0x88], true, true),
    ("STAP-A of slices", Codec::H264Baseline0, &[0x78, 0, 1, 0x41, 0, 1, 0x41], false, true),
    ("STAP-A cut", Codec::H264Baseline0, &[0x78, 0, 9, 0x67], false, false),
    ("STAP-A with an empty unit", Codec::H264Baseline0, &[0x78, 0, 0, 0, 1, 0x67], false, false),
    ("STAP-A empty", Codec::H264Baseline0, &[0x78], false, false),
    ("FU-A start of an IDR", Codec::H264ConstrainedBaseline1, &[0x7c, 0x85, 0x88], true, true),
    ("FU-A middle of an IDR", Codec::H264ConstrainedBaseline1, &[0x7c, 0x05, 0x88], false, false),
    ("FU-A start of a slice", Codec::H264ConstrainedBaseline1, &[0x7c, 0x81, 0x88], false, true),
    ("FU-A cut", Codec::H264ConstrainedBaseline1, &[0x7c], false, false),
    ("nothing", Codec::H264ConstrainedBaseline1, &[], false, false),
    ("new coded video sequence", Codec::Av1, &[0x18, 0x0a], true, true),
    ("another frame", Codec::Av1, &[0x10, 0x32], false, true),
    ("continuation", Codec::Av1, &[0x90, 0x32], false, false),
    ("nothing", Codec::Av1, &[], false, false),
    ("single IDR", Codec::H265, &[0x26, 0x01, 0xaf], true, true),
    ("single CRA", Codec::H265, &[0x2a, 0x01, 0xaf], true, true),
    ("single VPS", Codec::H265, &[0x40, 0x01, 0x0c], true, true),
    ("single slice", Codec::H265, &[0x02, 0x01, 0xd0], false, true),
    ("aggregation of VPS, SPS and PPS", Codec::H265, &[0x60, 0x01, 0, 2, 0x40, 0x01, 0, 2, 0x42, 0x01, 0, 2, 0x44, 0x01], true, true),
    ("aggregation of a PPS and an IDR", Codec::H265, &[0x60, 0x01, 0, 2, 0x44, 0x01, 0, 2, 0x26, 0x01], true, true),
    ("aggregation of slices", Codec::H265, &[0x60, 0x01, 0, 2, 0x02, 0x01], false, true),
    ("aggregation cut", Codec::H265, &[0x60, 0x01, 0, 9, 0x40], false, false),
    ("fragment: start of an IDR", Codec::H265, &[0x62, 0x01, 0x93], true, true),
    ("fragment: middle of an IDR", Codec::H265, &[0x62, 0x01, 0x13], false, false),
    ("fragment: start of a slice", Codec::H265, &[0x62, 0x01, 0x81], false, true),
    ("fragment cut", Codec::H265, &[0x62, 0x01], false, false),
    ("PACI", Codec::H265, &[0x64, 0x01, 0x26], false, false),
    ("header cut", Codec::H265, &[0x26], false, false),
];

#[test]
fn keyframes_and_beginnings_are_told_from_the_payload() {
    for (what, codec, payload, keyframe, beginning) in CASES {
        assert_eq!(is_keyframe(codec, payload, None), keyframe, "{codec:?} {what}: keyframe");
        assert_eq!(starts_frame(codec, payload, None), beginning, "{codec:?} {what}: beginning");
    }
}

#[test]
fn audio_starts_anywhere() {
    for codec in [Codec::Opus, Codec::Red] {
        assert!(is_keyframe(codec, &[], None) && starts_frame(codec, &[], None));
    }
}

#[test]
fn a_dependency_descriptor_decides_alone() {
    let key_payload = [0x10, 0x50, 0x01];
    for (descriptor, keyframe, beginning) in [
        (&[0x80, 0, 7, 0x80, 0][..], true, true),
        (&[0x80, 0, 7, 0x40], false, true),
        (&[0x80, 0, 7], false, true),
        (&[0x00, 0, 7, 0x80], false, false),
        (&[0x40, 0, 7], false, false),
    ] {
        assert_eq!(is_keyframe(Codec::Vp8, &key_payload, Some(descriptor)), keyframe);
        assert_eq!(starts_frame(Codec::Vp8, &key_payload, Some(descriptor)), beginning);
    }
    assert!(is_keyframe(Codec::Vp8, &key_payload, Some(&[0x80])), "a descriptor that is cut off says nothing");
    let header = DependencyHeader::parse(&[0xc5, 0x12, 0x34, 0x80]).unwrap();
    assert_eq!((header.template_id, header.frame_number), (5, 0x1234));
    assert!(header.start_of_frame && header.end_of_frame && header.structure_attached);
}

#[test]
fn vp8_picture_ids_are_found_and_rewritten() {
    let mut payload = [0xb0, 0xe0, 0x81, 0x23, 0x44, 0xa0, 0x50];
    let descriptor = Descriptor::parse(&payload).unwrap();
    let id = descriptor.picture_id.unwrap();
    assert_eq!((id.value, id.long, id.at), (0x123, true, 2));
    assert_eq!(descriptor.tl0_picture_index, Some((0x44, 4)));
    assert_eq!((descriptor.temporal_layer, descriptor.layer_sync, descriptor.len), (Some(2), true, 6));
    assert!(descriptor.non_reference);
    id.write(&mut payload, 0xfffe);
    assert_eq!(Descriptor::parse(&payload).unwrap().picture_id.unwrap().value, 0x7ffe);
    assert_eq!(payload[4], 0x44, "only the id changes");

    let keyframe = [0x90, 0x10, 0x05, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x45, 0xd0, 0x02];
    let descriptor = Descriptor::parse(&keyframe).unwrap();
    assert_eq!((descriptor.key_index, descriptor.size(&keyframe)), (Some((5, 2)), Some((1280, 720))), "without the scaling bits");
    assert_eq!(descriptor.size(&keyframe[..12]), None);

    let mut short = [0x90, 0x80, 0x11, 0x50];
    let id = Descriptor::parse(&short).unwrap().picture_id.unwrap();
    id.write(&mut short, 0x1ff);
    assert_eq!(Descriptor::parse(&short).unwrap().picture_id.unwrap().value, 0x7f);
    id.write(&mut [0x90], 1);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        codec in 0..Codec::ALL.len(),
        payload in prop::collection::vec(any::<u8>(), 0..64),
        descriptor in prop::option::of(prop::collection::vec(any::<u8>(), 0..8)),
    ) {
        let codec = Codec::ALL[codec];
        let keyframe = is_keyframe(codec, &payload, descriptor.as_deref());
        prop_assert!(!keyframe || starts_frame(codec, &payload, descriptor.as_deref()), "a keyframe that begins no frame");
        if let Some(descriptor) = Descriptor::parse(&payload) {
            prop_assert!(descriptor.len <= payload.len());
        }
    }
}
