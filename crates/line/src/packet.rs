//! The few fields of IPv4 (RFC 791), UDP (RFC 768) and TCP (RFC 9293) that the line looks at.

use std::net::Ipv4Addr;

/// What an IPv4 packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP, and with it WebSockets.
    Tcp,
    /// UDP, and with it media.
    Udp,
    /// ICMP and all others.
    Other,
}

/// An end of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Who sent it.
    Source,
    /// Whom it is for.
    Destination,
}

/// What a packet carries; nothing if it isn't IPv4.
pub fn protocol(packet: &[u8]) -> Option<Protocol> {
    header_length(packet)?;
    Some(match packet[9] {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => Protocol::Other,
    })
}

/// Address and port of one end of a UDP datagram; nothing for what is none, or a fragment behind the first, which has no ports.
pub fn udp_end(packet: &[u8], end: End) -> Option<(Ipv4Addr, u16)> {
    let port = udp_port_at(packet, end)?;
    let address = match end {
        End::Source => 12,
        End::Destination => 16,
    };
    let address: [u8; 4] = packet[address..address + 4].try_into().ok()?;
    Some((Ipv4Addr::from(address), word(packet, port)))
}

/// Who sends something and whom it is for: addresses and ports.
pub type Ends = [(Ipv4Addr, u16); 2];

/// Writes another port into a UDP datagram and corrects its checksum (RFC 1624). Does nothing to what [`udp_end`] has no answer for.
pub fn set_udp_port(packet: &mut [u8], end: End, port: u16) {
    let Some(at) = udp_port_at(packet, end) else { return };
    let old = word(packet, at);
    packet[at..at + 2].copy_from_slice(&port.to_be_bytes());
    let checksum_at = header_length(packet).unwrap_or_default() + 6;
    let checksum = word(packet, checksum_at);
    // 0 says that there is none.
    if checksum != 0 {
        let sum = u32::from(!checksum) + u32::from(!old) + u32::from(port);
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = !((folded & 0xffff) + (folded >> 16)) as u16;
        let checksum = if folded == 0 { 0xffff } else { folded };
        packet[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Bytes of the IPv4 header, options included, if the packet has one.
fn header_length(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let length = usize::from(first & 0x0f) * 4;
    (first >> 4 == 4 && length >= 20 && packet.len() >= length).then_some(length)
}

/// Both ends and the payload of a TCP segment; nothing for what is none, or a fragment behind the first.
pub fn tcp_segment(packet: &[u8]) -> Option<(Ends, &[u8])> {
    let header = header_length(packet)?;
    if packet[9] != 6 || word(packet, 6) & 0x1fff != 0 || packet.len() < header + 20 {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let ends = [(address(12), word(packet, header)), (address(16), word(packet, header + 2))];
    let payload = header + usize::from(packet[header + 12] >> 4) * 4;
    Some((ends, packet.get(payload..usize::from(word(packet, 2)))?))
}

fn udp_port_at(packet: &[u8], end: End) -> Option<usize> {
    let header = header_length(packet)?;
    let first_fragment = word(packet, 6) & 0x1fff == 0;
    if packet[9] != 17 || !first_fragment || packet.len() < header + 8 {
        return None;
    }
    Some(match end {
        End::Source => header,
        End::Destination => header + 2,
    })
}

fn word(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A UDP datagram with right checksums.
    pub(crate) fn udp(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
        let length = 28 + payload.len();
        let mut packet = vec![0x45, 0, (length >> 8) as u8, length as u8, 0, 1, 0x40, 0, 64, 17, 0, 0];
        packet.extend(source.0.octets());
        packet.extend(destination.0.octets());
        packet.extend(source.1.to_be_bytes());
        packet.extend(destination.1.to_be_bytes());
        packet.extend(((8 + payload.len()) as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(payload);
        let checksum = udp_checksum(&packet);
        packet[26..28].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    /// The checksum over the pseudo header and the datagram, taken as 0 in it.
    pub(crate) fn udp_checksum(packet: &[u8]) -> u16 {
        let mut bytes = packet[12..].to_vec();
        bytes[14..16].fill(0);
        bytes.extend([0, 17]);
        bytes.extend(((packet.len() - 20) as u16).to_be_bytes());
        if bytes.len() % 2 == 1 {
            // Padding belongs behind the datagram; the sum doesn't care for the order of whole words, so the rest goes in front of it.
            let tail = bytes.split_off(bytes.len() - 4);
            bytes.push(0);
            bytes.extend(tail);
        }
        let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        match !((folded & 0xffff) + (folded >> 16)) as u16 {
            0 => 0xffff,
            checksum => checksum,
        }
    }

    pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 2);
    pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 1);

    #[test]
    fn another_port_keeps_the_checksum_right() {
        for port in [0, 1, 1234, 0x7fff, 0xfffe, 0xffff] {
            for old in [1, 5000, 0xffff] {
                for payload in [b"".as_slice(), b"odd", b"even", &[0xff; 99]] {
                    for end in [End::Source, End::Destination] {
                        let mut packet = udp((NEAR, old), (FAR, old), payload);
                        set_udp_port(&mut packet, end, port);
                        assert_eq!(udp_end(&packet, end).unwrap().1, port);
                        assert_eq!(word(&packet, 26), udp_checksum(&packet), "{old} to {port}, {payload:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_port_makes_a_checksum_say_that_there_is_none() {
        for port in 0..=u16::MAX {
            let mut packet = udp((NEAR, 5000), (FAR, 8080), b"x");
            set_udp_port(&mut packet, End::Source, port);
            assert_eq!(word(&packet, 26), udp_checksum(&packet), "{port}");
        }
    }

    #[test]
    fn a_datagram_without_checksum_stays_without() {
        let mut packet = udp((NEAR, 1), (FAR, 2), b"x");
        packet[26..28].fill(0);
        set_udp_port(&mut packet, End::Source, 9);
        assert_eq!(packet[26..28], [0, 0]);
    }

    #[test]
    fn ends_are_read_and_garbage_is_not() {
        let packet = udp((NEAR, 5000), (FAR, 8080), b"hello");
        assert_eq!(udp_end(&packet, End::Source), Some((NEAR, 5000)));
        assert_eq!(udp_end(&packet, End::Destination), Some((FAR, 8080)));
        assert_eq!(protocol(&packet), Some(Protocol::Udp));
        let mut tcp = packet.clone();
        tcp[9] = 6;
        assert_eq!((protocol(&tcp), udp_end(&tcp, End::Source)), (Some(Protocol::Tcp), None));
        let mut fragment = packet.clone();
        fragment[7] = 1;
        assert_eq!((protocol(&fragment), udp_end(&fragment, End::Source)), (Some(Protocol::Udp), None));
        for length in 0..28 {
            assert_eq!(udp_end(&packet[..length], End::Source), None);
        }
        let mut six = packet.clone();
        six[0] = 0x65;
        assert_eq!(protocol(&six), None);
        six[0] = 0x44;
        assert_eq!(protocol(&six), None, "a header has five words at least");
    }
}
