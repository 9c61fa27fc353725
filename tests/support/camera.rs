//! A camera in three encodings, whose pictures are keyframes only when they are asked for.

#![allow(dead_code, reason = "each test target uses a part")]

use std::time::{Duration, Instant};

use switchyard_client::{Client, ClientError, Media, Options, Outgoing, Publish, Request, Sender, Sink, Source, State};
use tokio::sync::watch;

use crate::support::Server;

const PATIENCE: Duration = Duration::from_secs(60);
/// Name, width and height; the packets of a picture and their bytes: 50, 200 and 1,000 kbit/s.
pub const ENCODINGS: [(&str, u16, u16, u8, usize); 3] = [("q", 320, 180, 1, 310), ("h", 640, 360, 2, 620), ("f", 1280, 720, 6, 1_040)];
/// Between two pictures.
const PICTURE: Duration = Duration::from_millis(50);
/// How many times as many packets a keyframe has.
const KEY: u8 = 4;
/// Bytes that VP8's parsers look at (RFC 7741 §4.2, RFC 6386 §9.1): a descriptor with 15 bits of picture id, a frame tag, a start code and a size.
const VP8: usize = 16;

/// One packet, as its payload says behind what the server reads and rewrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub camera: u8,
    pub encoding: u8,
    pub key: bool,
    /// Which of how many.
    pub part: u8,
    pub parts: u8,
    pub picture: u32,
}

impl Part {
    fn payload(&self) -> Vec<u8> {
        let (_, width, height, _, bytes) = ENCODINGS[usize::from(self.encoding)];
        let mut payload = vec![if self.part == 0 { 0x90 } else { 0x80 }, 0xe0];
        payload.extend_from_slice(&(0x8000 | self.picture as u16).to_be_bytes());
        payload.extend_from_slice(&[self.picture as u8, 0x20, u8::from(!self.key), 0, 0, 0x9d, 0x01, 0x2a]);
        payload.extend_from_slice(&width.to_le_bytes());
        payload.extend_from_slice(&height.to_le_bytes());
        payload.extend_from_slice(&[self.camera, self.encoding, u8::from(self.key), self.part, self.parts]);
        payload.extend_from_slice(&self.picture.to_be_bytes());
        payload.resize(bytes, 0);
        payload
    }

    pub fn read(payload: &[u8]) -> Option<Self> {
        let stamp = payload.get(VP8..VP8 + 9)?;
        let picture = u32::from_be_bytes(stamp[5..].try_into().ok()?);
        Some(Self { camera: stamp[0], encoding: stamp[1], key: stamp[2] == 1, part: stamp[3], parts: stamp[4], picture })
    }
}

/// Somebody who sends one, and shows nobody.
pub struct Camera {
    pub client: Client,
    pub encodings: Vec<Encoding>,
}

/// One encoding.
pub struct Encoding {
    pub camera: u8,
    pub encoding: u8,
    sender: Sender,
    answered: u64,
}

impl Camera {
    pub async fn join(server: &Server, number: u8, sink: Box<dyn Sink>) -> Result<Self, ClientError> {
        let encodings = ENCODINGS.map(|(rid, ..)| rid.to_owned()).to_vec();
        let publish = Publish { encodings, ..Publish::new(Source::Camera, Media::Silent) };
        let options = Options::new(server.url(), "demo", format!("Camera {number}")).publish(publish);
        let client = Client::connect_direct(options, sink, None).await?;
        client.wait_connected(PATIENCE).await.expect("connected");
        let state = client.wait_until(PATIENCE, |state: &State| state.published.len() == 1).await.expect("published");
        client.request(Request::View { tracks: Vec::new(), others: false }).await?;
        let senders = client.senders(*state.published.keys().next().expect("published")).await?;
        let encodings = (0..).zip(senders).map(|(encoding, sender)| Encoding { camera: number, encoding, sender, answered: 0 });
        Ok(Self { encodings: encodings.collect(), client })
    }

    /// Its streams, by SSRC: which camera, which encoding.
    pub fn streams(&self) -> impl Iterator<Item = (u32, (u8, u8))> {
        self.encodings.iter().map(|encoding| (encoding.sender.ssrc(), (encoding.camera, encoding.encoding)))
    }
}

impl Encoding {
    /// One picture: a keyframe if one was asked for.
    fn send(&mut self, picture: u32) {
        let asked = self.sender.keyframe_requests();
        let key = asked > std::mem::replace(&mut self.answered, asked);
        let parts = ENCODINGS[usize::from(self.encoding)].3 * if key { KEY } else { 1 };
        for part in 0..parts {
            let payload = Part { camera: self.camera, encoding: self.encoding, key, part, parts, picture }.payload();
            let timestamp = picture.wrapping_mul(90 * PICTURE.as_millis() as u32);
            let outgoing = Outgoing { timestamp, marker: part + 1 == parts, payload: payload.len(), audio_level: None };
            self.sender.push(&outgoing, |out| out.copy_from_slice(&payload));
        }
        self.sender.flush();
    }
}

/// Sends pictures, of those encodings that `sends` says, until the other end of `playing` is dropped.
pub fn play(
    mut encodings: Vec<Encoding>,
    playing: watch::Receiver<()>,
    mut sends: impl FnMut(u8) -> bool + Send + 'static,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let start = Instant::now();
        for picture in 1.. {
            if playing.has_changed().is_err() {
                return;
            }
            encodings.iter_mut().filter(|encoding| sends(encoding.encoding)).for_each(|encoding| encoding.send(picture));
            std::thread::sleep((start + PICTURE * picture).saturating_duration_since(Instant::now()));
        }
    })
}
