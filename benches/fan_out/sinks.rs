//! Sockets that take what is sent, emptied while nobody measures.

use std::net::UdpSocket;

/// What the sinks have taken since the last time.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Media datagrams.
    pub media: usize,
    /// Bytes of them.
    pub bytes: usize,
    /// RTCP, STUN and whatever else.
    pub other: usize,
    /// The lengths of the first sink's media datagrams, in order.
    pub lengths: Vec<usize>,
}

/// Empties all sinks.
pub fn drain<'s>(sinks: impl IntoIterator<Item = &'s UdpSocket>, taken: &mut Taken) {
    let mut bytes = [0; 2048];
    for (i, sink) in sinks.into_iter().enumerate() {
        while let Ok(len) = sink.recv(&mut bytes) {
            // RFC 7983, RFC 5761: SRTP, and not RTCP.
            if (128..=191).contains(&bytes[0]) && !(192..=223).contains(&bytes[1]) {
                taken.media += 1;
                taken.bytes += len;
                if i == 0 {
                    taken.lengths.push(len);
                }
            } else {
                taken.other += 1;
            }
        }
    }
}
