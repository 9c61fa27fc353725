//! The size of an H.264 picture, from the sequence parameter set (ITU-T H.264 §7.3.2.1.1) that browsers send with every keyframe.

use super::bits::Bits;

/// Most bytes of a parameter set that are looked at: the size stands in the first few, after at most twelve scaling lists.
const MAX_SET: usize = 256;
const STAP_A: u8 = 24;
const SPS: u8 = 7;
/// Profiles whose parameter sets say the format of their chroma.
const HIGH: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Width and height in pixels, if `payload` (RFC 6184) holds a whole sequence parameter set.
pub fn size(payload: &[u8]) -> Option<(u16, u16)> {
    match payload.first()? & 0x1f {
        SPS => parse(payload),
        STAP_A => {
            let mut units = &payload[1..];
            while let Some((&[l0, l1], rest)) = units.split_first_chunk() {
                let (unit, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
                if unit.first()? & 0x1f == SPS {
                    return parse(unit);
                }
                units = rest;
            }
            None
        }
        _ => None,
    }
}

fn parse(unit: &[u8]) -> Option<(u16, u16)> {
    // Without the bytes that keep start codes out of it (§7.4.1).
    let (mut set, mut len, mut zeros) = ([0; MAX_SET], 0, 0);
    for &byte in unit.get(1..)?.iter().take(MAX_SET) {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        set[len] = byte;
        len += 1;
    }
    let mut bits = Bits::new(&set[..len]);
    let profile = bits.get(8)? as u8;
    bits.get(16)?;
    bits.golomb()?;
    let mut chroma = 1;
    let mut separate = false;
    if HIGH.contains(&profile) {
        chroma = bits.golomb()?;
        separate = chroma == 3 && bits.flag()?;
        bits.golomb()?;
        bits.golomb()?;
        bits.flag()?;
        if bits.flag()? {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.flag()? {
                    skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.golomb()?;
    match bits.golomb()? {
        0 => {
            bits.golomb()?;
        }
        1 => {
            bits.flag()?;
            bits.golomb()?;
            bits.golomb()?;
            for _ in 0..bits.golomb()?.min(255) {
                bits.golomb()?;
            }
        }
        _ => {}
    }
    bits.golomb()?;
    bits.flag()?;
    let (columns, rows) = (bits.golomb()?.checked_add(1)?, bits.golomb()?.checked_add(1)?);
    let frames_only = bits.flag()?;
    if !frames_only {
        bits.flag()?;
    }
    bits.flag()?;
    let fields = if frames_only { 1 } else { 2 };
    let [mut left, mut right, mut top, mut bottom] = [0; 4];
    if bits.flag()? {
        [left, right, top, bottom] = [bits.golomb()?, bits.golomb()?, bits.golomb()?, bits.golomb()?];
    }
    let (across, down) = match chroma {
        1 if !separate => (2, 2 * fields),
        2 if !separate => (2, fields),
        _ => (1, fields),
    };
    let side = |blocks: u32, unit: u32, crop: [u32; 2], step: u32| {
        let cropped = crop[0].checked_add(crop[1])?.checked_mul(step)?;
        u16::try_from(blocks.checked_mul(unit)?.checked_sub(cropped)?).ok()
    };
    Some((side(columns, 16, [left, right], across)?, side(rows, 16 * fields, [top, bottom], down)?))
}

fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            let code = i64::from(bits.golomb()?);
            let delta = if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) };
            next = (last + delta).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bits: (value, count); a count of 0 is an Exp-Golomb code.
    fn written(fields: &[(u32, u32)]) -> Vec<u8> {
        let mut bits = String::new();
        for &(value, count) in fields {
            match count {
                0 => {
                    let code = format!("{:b}", value + 1);
                    bits += &"0".repeat(code.len() - 1);
                    bits += &code;
                }
                count => bits += &format!("{value:0count$b}", count = count as usize),
            }
        }
        bits += &"0".repeat((8 - bits.len() % 8) % 8);
        bits.as_bytes().chunks(8).map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap()).collect()
    }

    fn baseline(columns: u32, rows: u32, crop: Option<u32>) -> Vec<u8> {
        let mut fields =
            vec![(66, 8), (0xe01f, 16), (0, 0), (0, 0), (0, 0), (2, 0), (1, 0), (0, 1), (columns - 1, 0), (rows - 1, 0), (1, 1), (1, 1)];
        match crop {
            Some(bottom) => fields.extend([(1, 1), (0, 0), (0, 0), (0, 0), (bottom, 0)]),
            None => fields.push((0, 1)),
        }
        [vec![0x67], written(&fields)].concat()
    }

    #[test]
    fn the_size_is_read_from_a_parameter_set_alone_or_with_others() {
        let (vga, hd) = (baseline(40, 30, None), baseline(80, 45, None));
        assert_eq!(size(&vga), Some((640, 480)));
        assert_eq!(size(&baseline(20, 12, Some(6))), Some((320, 180)), "cropped");
        let together = [&[0x78, 0, 2, 0x68, 0xce, 0, hd.len() as u8], &hd[..], &[0, 1, 0x65]].concat();
        assert_eq!(size(&together), Some((1280, 720)));
        let high = [(100, 8), (0x001f, 16), (0, 0), (1, 0), (0, 0), (0, 0), (0, 1), (1, 1), (1, 1)];
        let lists = [(1u32, 0u32); 16].into_iter().chain([(0, 1); 7]);
        let rest = [(0, 0), (2, 0), (1, 0), (0, 1), (119, 0), (67, 0), (1, 1), (1, 1), (1, 1), (0, 0), (0, 0), (0, 0), (4, 0), (0, 8)];
        let fields: Vec<_> = high.into_iter().chain(lists).chain(rest).collect();
        assert_eq!(size(&[vec![0x67], written(&fields)].concat()), Some((1920, 1080)), "high profile with a scaling list");
        for (what, payload) in
            [("a slice", vec![0x65, 0x88]), ("cut", vga[..5].to_vec()), ("nothing", vec![]), ("a STAP-A cut", together[..9].to_vec())]
        {
            assert_eq!(size(&payload), None, "{what}");
        }
    }

    #[test]
    fn bytes_that_keep_start_codes_out_are_no_part_of_it() {
        // A level of 0 and constraint flags of 0 make two zeros.
        let plain = [(66u32, 8u32), (0, 16), (0, 0), (0, 0), (0, 0), (2, 0), (1, 0), (0, 1), (39, 0), (29, 0), (1, 1), (1, 1), (0, 1)];
        let mut set = [vec![0x67], written(&plain)].concat();
        assert_eq!(size(&set), Some((640, 480)));
        set.insert(4, 3);
        assert_eq!(size(&set), Some((640, 480)));
    }
}
