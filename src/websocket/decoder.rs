//! Frames from the client, put together to messages (RFC 6455 §5, §6.2).

use std::collections::VecDeque;

use super::Opcode;

/// Bytes of a frame's header at most: two, eight of length, four of mask.
const MAX_HEADER: usize = 14;
/// Bytes of a control frame's payload at most (RFC 6455 §5.5).
const MAX_CONTROL: usize = 125;
/// Bytes made ready for a message when it is announced; the rest as it comes, so that announcing costs the server nothing.
const AHEAD: usize = 16 * 1024;

/// What the client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text message: valid UTF-8.
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    /// The client closes the connection, with this code if any. Nothing more comes.
    Close(Option<u16>),
}

/// What a client must not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Reserved bits or opcodes, no mask, control frames in fragments or too long, fragments of nothing or in between others.
    #[error("a malformed WebSocket frame")]
    Malformed,
    #[error("a WebSocket message is too long")]
    TooLong,
    #[error("a WebSocket text message is not UTF-8")]
    Utf8,
}

/// A frame whose header is complete.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    last: bool,
    mask: [u8; 4],
    len: usize,
    /// Bytes of it taken so far.
    taken: usize,
}

/// Puts messages together, whatever pieces their bytes come in.
#[derive(Debug)]
pub struct Decoder {
    max_message: usize,
    header: [u8; MAX_HEADER],
    header_len: u8,
    frame: Option<Frame>,
    /// The kind of the message that is under way, and what there is of it.
    kind: Option<Opcode>,
    message: Vec<u8>,
    control: Vec<u8>,
    closed: bool,
}

impl Decoder {
    /// For messages of at most `max_message` bytes.
    pub fn new(max_message: usize) -> Self {
        Self {
            max_message,
            header: [0; MAX_HEADER],
            header_len: 0,
            frame: None,
            kind: None,
            message: Vec::new(),
            control: Vec::new(),
            closed: false,
        }
    }

    /// Whether the client has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Bytes of memory it holds beside itself.
    #[cfg(test)]
    pub fn reserved(&self) -> usize {
        self.message.capacity() + self.control.capacity()
    }

    /// Takes the next bytes; what they complete goes behind `incoming`.
    ///
    /// # Errors
    ///
    /// The client broke the protocol: nothing after that can be understood.
    pub fn decode(&mut self, mut bytes: &[u8], incoming: &mut VecDeque<Incoming>) -> Result<(), Violation> {
        // Nothing after a close means anything (RFC 6455 §5.5.1).
        while !self.closed {
            let Some(frame) = &mut self.frame else {
                let Some((&byte, rest)) = bytes.split_first() else { break };
                bytes = rest;
                self.header[usize::from(self.header_len)] = byte;
                self.header_len += 1;
                self.begin()?;
                continue;
            };
            let (now, rest) = bytes.split_at(bytes.len().min(frame.len - frame.taken));
            bytes = rest;
            let payload = if is_control(frame.opcode) { &mut self.control } else { &mut self.message };
            payload.extend(now.iter().zip(frame.mask.iter().cycle().skip(frame.taken % 4)).map(|(byte, mask)| byte ^ mask));
            frame.taken += now.len();
            if frame.taken < frame.len {
                break;
            }
            let (opcode, last) = (frame.opcode, frame.last);
            self.frame = None;
            if is_control(opcode) || last {
                incoming.push_back(self.finish(opcode)?);
            }
        }
        Ok(())
    }

    /// Begins a frame once its header is whole.
    fn begin(&mut self) -> Result<(), Violation> {
        let header = &self.header[..usize::from(self.header_len)];
        let [first, second, ..] = *header else { return Ok(()) };
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if second & 0x80 == 0 || first & 0x70 != 0 {
            return Err(Violation::Malformed);
        }
        let Some((_, [a, b, c, d])) = header[2..].split_at_checked(extended) else { return Ok(()) };
        let len = match extended {
            0 => u64::from(second & 0x7f),
            _ => header[2..2 + extended].iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
        };
        let (last, opcode) = (first & 0x80 != 0, opcode(first & 0xf)?);
        let mask = [*a, *b, *c, *d];
        self.header_len = 0;
        let len = usize::try_from(len).map_err(|_| Violation::TooLong)?;
        if is_control(opcode) {
            if !last || len > MAX_CONTROL {
                return Err(Violation::Malformed);
            }
        } else {
            if (opcode == Opcode::Continuation) != self.kind.is_some() {
                return Err(Violation::Malformed);
            }
            if len > self.max_message - self.message.len() {
                return Err(Violation::TooLong);
            }
            self.kind.get_or_insert(opcode);
            self.message.reserve_exact(len.min(AHEAD));
        }
        self.frame = Some(Frame { opcode, last, mask, len, taken: 0 });
        Ok(())
    }

    fn finish(&mut self, opcode: Opcode) -> Result<Incoming, Violation> {
        Ok(match opcode {
            Opcode::Ping => Incoming::Ping(std::mem::take(&mut self.control)),
            Opcode::Pong => {
                self.control = Vec::new();
                Incoming::Pong
            }
            Opcode::Close => {
                self.closed = true;
                match *std::mem::take(&mut self.control) {
                    [] => Incoming::Close(None),
                    [high, low, ref reason @ ..] if std::str::from_utf8(reason).is_ok() => {
                        Incoming::Close(Some(u16::from_be_bytes([high, low])).filter(|code| may_be_sent(*code)))
                    }
                    _ => return Err(Violation::Malformed),
                }
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                let message = std::mem::take(&mut self.message);
                match self.kind.take() {
                    Some(Opcode::Text) if std::str::from_utf8(&message).is_err() => return Err(Violation::Utf8),
                    Some(Opcode::Text) => Incoming::Text(message),
                    _ => Incoming::Binary(message),
                }
            }
        })
    }
}

fn is_control(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong)
}

fn opcode(bits: u8) -> Result<Opcode, Violation> {
    Ok(match bits {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Err(Violation::Malformed),
    })
}

/// Whether a code may stand in a frame (RFC 6455 §7.4.2): the others are not sent back.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
