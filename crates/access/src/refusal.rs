//! Why a token lets nobody in.

/// Why a token lets nobody in, for a person to read; nothing of the token is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error("an access token is needed to join")]
    Missing,
    /// It is longer than [`switchyard_protocol::MAX_ACCESS_TOKEN_BYTES`].
    #[error("the access token is too long")]
    TooLong,
    /// It isn't three parts of which the first two are JSON objects in base64url, or not of the type `JWT`.
    #[error("the access token is no signed JWT")]
    Malformed,
    /// Its header says that something has to be understood which isn't (RFC 7515 §4.1.11).
    #[error("the access token demands an extension that this server doesn't know")]
    Critical,
    /// It doesn't say which key it was signed with, and there are several.
    #[error("the access token doesn't name its key (kid)")]
    NoKeyId,
    /// It was signed with another key than those of this server; an old one perhaps.
    #[error("the access token's key is not one of this server's")]
    UnknownKey,
    /// Its header names another algorithm than its key is for, such as `none`.
    #[error("the access token's algorithm is not its key's")]
    Algorithm,
    /// It was changed, or signed with another key of the same name.
    #[error("the access token's signature is wrong")]
    Signature,
    /// A claim is missing or isn't what it has to be.
    #[error("the access token's claim `{0}` is missing, or not what it has to be")]
    Claim(&'static str),
    /// `role` is none that there is.
    #[error("the access token's role is unknown")]
    UnknownRole,
    /// `aud` names others than this server.
    #[error("the access token is for another service")]
    Audience,
    /// Its time is over.
    #[error("the access token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the access token is not valid yet")]
    NotYet,
    /// It is good, and for another room.
    #[error("the access token is for another room")]
    WrongRoom,
    /// It is good, and doesn't permit to join.
    #[error("the access token doesn't permit joining")]
    NotGranted,
    /// It is good, and doesn't permit to manage rooms.
    #[error("the access token doesn't permit managing rooms")]
    NotManaging,
}

impl Refusal {
    /// Whether the token is good, but not for this. Otherwise it is not good for anything.
    pub fn is_forbidden(self) -> bool {
        matches!(self, Refusal::WrongRoom | Refusal::NotGranted | Refusal::NotManaging)
    }
}
