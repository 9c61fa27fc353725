//! Which worker's socket a datagram comes to: by default the kernel chooses by a hash of both ends' addresses; a program of ours tells it where those come that it knows
//! (`SO_ATTACH_REUSEPORT_CBPF`, Linux 4.5, which needs no privilege).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, c_void, sock_filter};

/// The same on every architecture with Linux's generic socket options.
const SO_ATTACH_REUSEPORT_CBPF: c_int = 51;
/// No socket's number: the kernel chooses.
const ANY: u32 = u32::MAX;
/// Where IP's header is, whatever the socket would get to see.
const IP: u32 = libc::SKF_NET_OFF as u32;
/// The first byte of an IPv4 header without options (RFC 791 §3.1).
const V4: u32 = 0x45;
/// The same of IPv6: the upper half (RFC 8200 §3).
const V6: u32 = 0x60;
/// Entries of one port that are compared one after the other.
const MOST_OF_ONE_PORT: usize = 64;

/// A client's address, and the number of the socket that its datagrams are to come to: sockets count in the order in which they were bound.
pub(crate) type Place = (SocketAddr, u8);

/// Instructions, which end with a number in every case.
type Code = Vec<sock_filter>;

/// The program for `places`, which are sorted by [`order`].
pub(crate) fn program(places: &[Place]) -> Code {
    let of = |is_v4: bool| places.iter().copied().filter(|(remote, _)| remote.is_ipv4() == is_v4).collect::<Vec<_>>();
    let (v4, v6) = (of(true), of(false));
    // UDP's header follows at once, or the address is not looked for.
    let v4 = [vec![load(libc::BPF_H, IP + 20)], tree(&v4, 12)].concat();
    let udp = branch(libc::BPF_JEQ, libc::IPPROTO_UDP as u32, [vec![load(libc::BPF_H, IP + 40)], tree(&v6, 8)].concat(), vec![end(ANY)]);
    let v6 = branch(libc::BPF_JEQ, V6, [vec![load(libc::BPF_B, IP + 6)], udp].concat(), vec![end(ANY)]);
    let v6 = [vec![instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, 0xf0)], v6].concat();
    [vec![load(libc::BPF_B, IP)], branch(libc::BPF_JEQ, V4, v4, v6)].concat()
}

/// By port, because most clients have one that no other has.
pub(crate) fn order((remote, _): &Place) -> (u16, IpAddr) {
    (remote.port(), remote.ip())
}

/// Has the kernel ask the program from now on, for all sockets that share the port with this one.
///
/// # Errors
///
/// `ENOMEM` if the program is longer than `net.core.optmem_max` allows; others where there are no such programs.
pub(crate) fn attach(socket: impl AsFd, program: &mut [sock_filter]) -> io::Result<()> {
    // More than 4,096 instructions are refused as well.
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    let (pointer, size) = (std::ptr::from_ref(&program).cast::<c_void>(), size_of::<libc::sock_fprog>() as libc::socklen_t);
    // SAFETY: the pointers are readable for their lengths during the call; the kernel copies what is there.
    let result = unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, pointer, size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Finds the port that was loaded, then the address at `source` in IP's header.
fn tree(places: &[Place], source: u32) -> Code {
    let Some(&(middle, _)) = places.get(places.len() / 2) else { return vec![end(ANY)] };
    let port = middle.port();
    let (below, rest) = places.split_at(places.partition_point(|(remote, _)| remote.port() < port));
    let (here, above) = rest.split_at(rest.partition_point(|(remote, _)| remote.port() == port));
    let found =
        branch(libc::BPF_JEQ, port.into(), addresses(here, source), if above.is_empty() { vec![end(ANY)] } else { tree(above, source) });
    if below.is_empty() { found } else { branch(libc::BPF_JGE, port.into(), found, tree(below, source)) }
}

/// Compares the address, word by word, with one after the other.
fn addresses(places: &[Place], source: u32) -> Code {
    let mut code = Code::new();
    for (remote, socket) in places.iter().take(MOST_OF_ONE_PORT) {
        let words: Vec<u32> = match remote.ip() {
            IpAddr::V4(ip) => vec![ip.to_bits()],
            IpAddr::V6(ip) => (0..4).rev().map(|word| (ip.to_bits() >> (32 * word)) as u32).collect(),
        };
        for (place, &word) in words.iter().enumerate() {
            // What is left of this one.
            let skip = (words.len() - 1 - place) * 2 + 1;
            code.push(load(libc::BPF_W, IP + source + 4 * place as u32));
            code.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skip as u8, word));
        }
        code.push(end((*socket).into()));
    }
    code.push(end(ANY));
    code
}

/// Goes on with `yes` if what was loaded compares with `value`, else with `no`. Conditional jumps reach 255 instructions only, so that `no` is jumped to unconditionally.
fn branch(comparison: u32, value: u32, yes: Code, no: Code) -> Code {
    let mut code = vec![
        instruction(libc::BPF_JMP | comparison | libc::BPF_K, 1, 0, value),
        instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, yes.len() as u32),
    ];
    code.extend(yes);
    code.extend(no);
    code
}

fn load(size: u32, at: u32) -> sock_filter {
    instruction(libc::BPF_LD | size | libc::BPF_ABS, 0, 0, at)
}

fn end(socket: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, socket)
}

fn instruction(code: u32, yes: u8, no: u8, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: yes, jf: no, k: value }
}
