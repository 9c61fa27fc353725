//! Why a description or a candidate was refused.

/// A client's description or candidate that was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// It doesn't parse (RFC 8866).
    #[error("the session description does not parse")]
    Syntax,
}
