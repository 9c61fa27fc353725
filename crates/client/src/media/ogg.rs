//! Opus in Ogg (RFC 3533, RFC 7845): pages of segments, whose sizes say where packets end.

use std::time::Duration;

use bytes::Bytes;

use super::{AudioLoop, MediaError};

/// Packets a loop may have, a minute of 20 ms each: a loop is kept in memory.
const MAX_PACKETS: usize = 3000;

pub(super) fn read(file: &[u8]) -> Result<AudioLoop, MediaError> {
    let mut packets = packets(file)?.into_iter();
    match (packets.next(), packets.next()) {
        (Some(head), Some(tags)) if head.starts_with(b"OpusHead") && tags.starts_with(b"OpusTags") => {}
        _ => return Err(MediaError::Ogg("no Opus header")),
    }
    let packets: Vec<Bytes> = packets.filter(|packet| !packet.is_empty()).collect();
    let first = packets.first().ok_or(MediaError::Ogg("no packets"))?;
    let packet_time = duration(first).ok_or(MediaError::Ogg("packets of several frames"))?;
    if packets.iter().any(|packet| duration(packet) != Some(packet_time)) {
        return Err(MediaError::Ogg("packets of different durations"));
    }
    Ok(AudioLoop { packets, packet_time })
}

fn packets(mut file: &[u8]) -> Result<Vec<Bytes>, MediaError> {
    let mut packets = Vec::new();
    let mut packet = Vec::new();
    while !file.is_empty() {
        let (header, rest) = file.split_first_chunk::<27>().ok_or(MediaError::Ogg("cut off in a page's header"))?;
        if !header.starts_with(b"OggS\0") {
            return Err(MediaError::Ogg("wrong signature"));
        }
        let (sizes, mut body) = rest.split_at_checked(header[26].into()).ok_or(MediaError::Ogg("cut off in a page's sizes"))?;
        for &size in sizes {
            let segment;
            (segment, body) = body.split_at_checked(size.into()).ok_or(MediaError::Ogg("cut off in a page"))?;
            packet.extend_from_slice(segment);
            // A segment of 255 bytes goes on in the next one, also across pages.
            if size < 255 {
                if packets.len() == MAX_PACKETS {
                    return Err(MediaError::Ogg("too long for a loop"));
                }
                packets.push(std::mem::take(&mut packet).into());
            }
        }
        file = body;
    }
    Ok(packets)
}

/// How long a packet of one frame plays (RFC 6716 §3.1).
fn duration(packet: &[u8]) -> Option<Duration> {
    let toc = *packet.first()?;
    let config = toc >> 3;
    let micros = match config {
        0..12 => [10_000, 20_000, 40_000, 60_000][usize::from(config % 4)],
        12..16 => [10_000, 20_000][usize::from(config % 2)],
        _ => [2_500, 5_000, 10_000, 20_000][usize::from(config % 4)],
    };
    (toc & 3 == 0).then_some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(segments: &[&[u8]]) -> Vec<u8> {
        let mut page = b"OggS\0".to_vec();
        page.resize(26, 0);
        page.push(segments.len() as u8);
        page.extend(segments.iter().map(|segment| segment.len() as u8));
        page.extend(segments.concat());
        page
    }

    #[test]
    fn packets_are_put_together_across_segments_and_pages() {
        let long = [0x78; 255];
        let file = [page(&[b"OpusHead"]), page(&[b"OpusTags"]), page(&[&[0x78, 1], &long]), page(&[&[5; 3], &[0x78, 2]])].concat();
        let audio = read(&file).unwrap();
        assert_eq!(audio.packets.iter().map(Bytes::len).collect::<Vec<_>>(), [2, 258, 2]);
        assert_eq!(audio.packet_time, Duration::from_millis(20));
    }

    #[test]
    fn other_files_are_refused() {
        let headers = [page(&[b"OpusHead"]), page(&[b"OpusTags"])].concat();
        let several = [headers.clone(), page(&[&[0x79, 1]])].concat();
        let mixed = [headers.clone(), page(&[&[0x78], &[0x70]])].concat();
        for bad in [&b""[..], b"OggS", &[0; 64], &headers, &headers[..40], &several, &mixed] {
            assert!(read(bad).is_err());
        }
    }
}
