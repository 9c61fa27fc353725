//! Messages to bytes and back: JSON text frames or MessagePack binary frames, chosen by WebSocket subprotocol.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{ClientMessage, ErrorCode, MAX_DEPTH, MAX_MESSAGE_BYTES, ProtocolError, Request, ServerMessage};

/// How messages are written on one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// JSON in text frames.
    #[default]
    Json,
    /// MessagePack in binary frames; structs are maps with the same names as in JSON.
    MessagePack,
}

/// Why bytes are not a request, with the request's id where one can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// For the error's envelope.
    pub id: Option<u32>,
    /// What to tell the client.
    pub error: ProtocolError,
}

/// What is read of a message whose request can't be.
#[derive(Deserialize)]
struct Envelope {
    id: Option<u32>,
    r#type: Option<String>,
}

impl Encoding {
    /// The WebSocket subprotocol that asks for it.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Encoding::Json => "switchyard.v1.json",
            Encoding::MessagePack => "switchyard.v1.msgpack",
        }
    }

    /// Reads and validates a request.
    pub fn decode_client(self, bytes: &[u8]) -> Result<ClientMessage, DecodeError> {
        let fail = |id, code, message: String| Err(DecodeError { id, error: ProtocolError::new(code, message) });
        if bytes.len() > MAX_MESSAGE_BYTES {
            return fail(None, ErrorCode::TooLarge, format!("a message has at most {MAX_MESSAGE_BYTES} bytes"));
        }
        if self == Encoding::Json && json_depth(bytes) > MAX_DEPTH {
            return fail(None, ErrorCode::TooDeep, format!("a message nests at most {MAX_DEPTH} levels"));
        }
        let envelope = match self.read::<Envelope>(bytes) {
            Ok(envelope) => envelope,
            Err(ReadError::TooDeep) => return fail(None, ErrorCode::TooDeep, format!("a message nests at most {MAX_DEPTH} levels")),
            Err(ReadError::Malformed(why)) => return fail(None, ErrorCode::Malformed, why),
        };
        let Some(id) = envelope.id else {
            return fail(None, ErrorCode::Malformed, "a request has an id: a whole number from 0 to 4294967295".into());
        };
        match envelope.r#type.as_deref() {
            None => return fail(Some(id), ErrorCode::Malformed, "a request has a type".into()),
            Some(name) if !Request::TYPES.contains(&name) => {
                return fail(Some(id), ErrorCode::UnknownType, format!("no request of this version is called {:?}", abridged(name)));
            }
            Some(_) => {}
        }
        let message = match self.read::<ClientMessage>(bytes) {
            Ok(message) => message,
            Err(ReadError::TooDeep) => return fail(Some(id), ErrorCode::TooDeep, format!("a message nests at most {MAX_DEPTH} levels")),
            Err(ReadError::Malformed(why)) => return fail(Some(id), ErrorCode::Malformed, why),
        };
        match message.request.validate() {
            Ok(()) => Ok(message),
            Err(error) => Err(DecodeError { id: Some(id), error }),
        }
    }

    /// Writes a message of the server.
    pub fn encode_server(self, message: &ServerMessage) -> Vec<u8> {
        self.write(message)
    }

    /// Writes a request.
    pub fn encode_client(self, message: &ClientMessage) -> Vec<u8> {
        self.write(message)
    }

    /// Reads a message of the server.
    pub fn decode_server(self, bytes: &[u8]) -> Result<ServerMessage, DecodeError> {
        self.read(bytes).map_err(|error| DecodeError {
            id: None,
            error: match error {
                ReadError::TooDeep => ProtocolError::new(ErrorCode::TooDeep, format!("a message nests at most {MAX_DEPTH} levels")),
                ReadError::Malformed(why) => ProtocolError::new(ErrorCode::Malformed, why),
            },
        })
    }

    fn write<T: serde::Serialize>(self, message: &T) -> Vec<u8> {
        // The types hold strings, numbers, lists and maps with string keys: both encodings take all of them.
        match self {
            Encoding::Json => serde_json::to_vec(message).expect("messages are representable in JSON"),
            Encoding::MessagePack => rmp_serde::to_vec_named(message).expect("messages are representable in MessagePack"),
        }
    }

    fn read<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, ReadError> {
        match self {
            Encoding::Json => serde_json::from_slice(bytes).map_err(|error| ReadError::Malformed(error.to_string())),
            Encoding::MessagePack => {
                let mut rest = bytes;
                let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
                deserializer.set_max_depth(MAX_DEPTH);
                let value = T::deserialize(&mut deserializer).map_err(|error| match error {
                    rmp_serde::decode::Error::DepthLimitExceeded => ReadError::TooDeep,
                    other => ReadError::Malformed(other.to_string()),
                })?;
                if rest.is_empty() { Ok(value) } else { Err(ReadError::Malformed("more bytes than one message".into())) }
            }
        }
    }
}

enum ReadError {
    TooDeep,
    Malformed(String),
}

/// The deepest nesting of arrays and objects outside strings. Counts brackets only: what isn't JSON is found by the parser.
fn json_depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for &byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// At most 32 characters of what a client sent, for an error message.
fn abridged(text: &str) -> String {
    text.chars().take(32).collect()
}
