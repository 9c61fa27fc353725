//! The IVF container, as ffmpeg writes it: a header of 32 bytes, then frames with a header of 12 bytes each.

use std::time::Duration;

use bytes::Bytes;

use super::{Frame, MediaError, VideoLoop};

/// Frames a loop may have, a minute of 60 a second: a loop is kept in memory.
const MAX_FRAMES: usize = 3600;

pub(super) fn read(file: &[u8]) -> Result<VideoLoop, MediaError> {
    let header = file.first_chunk::<32>().ok_or(MediaError::Ivf("shorter than its header"))?;
    if &header[..4] != b"DKIF" || &header[8..12] != b"VP80" {
        return Err(MediaError::Ivf("wrong signature or codec"));
    }
    let field = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (rate, scale) = (field(16), field(20));
    if rate == 0 || scale == 0 {
        return Err(MediaError::Ivf("no time base"));
    }
    let mut rest = &file[usize::from(u16::from_le_bytes([header[6], header[7]])).min(file.len())..];
    let mut frames = Vec::new();
    let mut times = Vec::new();
    while let Some((frame_header, body)) = rest.split_first_chunk::<12>() {
        let size = u32::from_le_bytes([frame_header[0], frame_header[1], frame_header[2], frame_header[3]]) as usize;
        let data = body.get(..size).ok_or(MediaError::Ivf("cut off in a frame"))?;
        let tag = data.first().ok_or(MediaError::Ivf("an empty frame"))?;
        if frames.len() == MAX_FRAMES {
            return Err(MediaError::Ivf("too long for a loop"));
        }
        // RFC 6386 §9.1: the lowest bit of the frame tag is 0 in keyframes.
        frames.push(Frame { data: Bytes::copy_from_slice(data), keyframe: tag & 1 == 0 });
        let (_, time) = frame_header.split_at(4);
        times.push(u64::from_le_bytes(time.try_into().expect("8 bytes of 12")));
        rest = &body[size..];
    }
    if !frames.first().is_some_and(|frame| frame.keyframe) {
        return Err(MediaError::Ivf("the first frame is no keyframe"));
    }
    // Frames of one rate: what lies between the first two lies between all.
    let ticks = times.get(1).map_or(1, |second| second.saturating_sub(times[0])).max(1);
    Ok(VideoLoop { frames, frame_time: Duration::from_secs_f64(ticks as f64 * f64::from(scale) / f64::from(rate)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(frames: &[&[u8]]) -> Vec<u8> {
        let mut file = b"DKIF\0\0\x20\0VP80".to_vec();
        file.extend_from_slice(&[64, 1, 180, 0, 25, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for (time, frame) in frames.iter().enumerate() {
            file.extend_from_slice(&(frame.len() as u32).to_le_bytes());
            file.extend_from_slice(&(time as u64).to_le_bytes());
            file.extend_from_slice(frame);
        }
        file
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let video = read(&file(&[&[0x10, 1], &[0x11, 2, 3]])).unwrap();
        let expected = [
            Frame { data: Bytes::from_static(&[0x10, 1]), keyframe: true },
            Frame { data: Bytes::from_static(&[0x11, 2, 3]), keyframe: false },
        ];
        assert_eq!(video.frames, expected);
        assert_eq!(video.frame_time, Duration::from_millis(40));
    }

    #[test]
    fn other_files_are_refused() {
        let cut = file(&[&[0x10; 50]]);
        for bad in [&b""[..], &[0; 64], &cut[..60], &file(&[]), &file(&[&[0x11]]), &file(&[&[]])] {
            assert!(read(bad).is_err());
        }
    }
}
