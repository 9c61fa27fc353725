//! Which worker's socket a datagram comes to: by default the kernel chooses by a hash of both ends' addresses; a program asks a table of ours first.
//!
//! An eBPF program on the sockets that share the port (`SO_ATTACH_REUSEPORT_EBPF`, Linux 4.6), which needs `CAP_BPF` (before 5.8 `CAP_SYS_ADMIN`) where the system does not let everybody load
//! programs. It is loaded once and never replaced. A classic program (`SO_ATTACH_REUSEPORT_CBPF`) would need no privilege, but has no table: each change would be another program, and kernels
//! up to 7.0 free the one before while it may still run (fixed by Linux 18fc650ccd7f, "bpf: Free reuseport cBPF prog after RCU grace period").

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, c_long};

use super::address::mapped;

/// The same on every architecture with Linux's generic socket options.
const SO_ATTACH_REUSEPORT_EBPF: c_int = 52;
/// Clients in the table, some 100 bytes each in the kernel; with more it forgets those from whom nothing has come for the longest time.
const PLACES: u32 = 16_384;

/// What the table is asked for: the words of an IPv6 address, IPv4 as a mapped one, and the port.
type Key = [u32; 5];

/// The kernel's table of clients and the sockets that their datagrams come to.
#[derive(Debug)]
pub(crate) struct Steering {
    table: OwnedFd,
    #[cfg(test)]
    program: OwnedFd,
}

impl Steering {
    /// Has the kernel ask a table, empty at first, for all sockets that share the port with this one.
    ///
    /// # Errors
    ///
    /// The kernel has no such programs, or this process may not load one.
    pub(crate) fn attach(socket: impl AsFd) -> io::Result<Self> {
        let table = bpf(MAP_CREATE, &MapCreate { kind: LRU_HASH, key: size_of::<Key>() as u32, value: 4, entries: PLACES, flags: 0 })?;
        let code = program(table.as_raw_fd());
        let license = c"";
        let load = ProgramLoad {
            kind: SOCKET_FILTER,
            instructions: code.len() as u32,
            code: code.as_ptr() as u64,
            license: license.as_ptr() as u64,
            log: [0; 4],
            kernel: 0,
            flags: 0,
        };
        let program = bpf(PROGRAM_LOAD, &load)?;
        // The sockets keep the program, and the program keeps the table.
        super::set(socket, libc::SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, program.as_raw_fd())?;
        Ok(Self {
            table,
            #[cfg(test)]
            program,
        })
    }

    /// From now on what comes from `remote` comes to this socket: they count in the order in which they were bound. Changes nothing if the kernel has no room.
    pub(crate) fn steer(&self, remote: SocketAddr, socket: u8) {
        let (key, value) = (key(remote), u32::from(socket));
        let element =
            Element { table: self.table.as_raw_fd() as u64, key: (&raw const key) as u64, value: (&raw const value) as u64, flags: 0 };
        let _ = call(MAP_UPDATE, &element);
    }

    /// What comes from `remote` comes wherever the kernel chooses.
    pub(crate) fn forget(&self, remote: SocketAddr) {
        let key = key(remote);
        let element = Element { table: self.table.as_raw_fd() as u64, key: (&raw const key) as u64, value: 0, flags: 0 };
        let _ = call(MAP_DELETE, &element);
    }
}

#[cfg(test)]
impl Steering {
    /// Where what comes from `remote` comes to, if that is in the table.
    pub(crate) fn find(&self, remote: SocketAddr) -> Option<u8> {
        let (key, mut value) = (key(remote), 0_u32);
        let element =
            Element { table: self.table.as_raw_fd() as u64, key: (&raw const key) as u64, value: (&raw mut value) as u64, flags: 0 };
        call(1, &element).ok().map(|_| value as u8)
    }

    /// What the program says of a datagram in an Ethernet frame (`BPF_PROG_TEST_RUN`).
    fn run(&self, frame: &[u8]) -> u32 {
        /// Descriptor and result, lengths of what goes in and comes out, the former, the latter, how often and how long it took.
        #[repr(C)]
        struct TestRun(u32, u32, [u32; 2], u64, u64, [u32; 2]);
        let run = TestRun(self.program.as_raw_fd() as u32, 0, [frame.len() as u32, 0], frame.as_ptr() as u64, 0, [1, 0]);
        call(10, &run).expect("the program runs");
        // SAFETY: the kernel has written there during the call.
        unsafe { (&raw const run.1).read_volatile() }
    }
}

fn key(remote: SocketAddr) -> Key {
    let ip = mapped(remote.ip()).to_bits();
    let word = |place: u32| (ip >> (96 - 32 * place)) as u32;
    [word(0), word(1), word(2), word(3), remote.port().into()]
}

/// An instruction of eBPF (RFC 9669 §3).
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    /// Destination below, source above.
    registers: u8,
    offset: i16,
    value: i32,
}

/// Returns the number of the socket in the table, or one that no socket has: then the kernel chooses.
fn program(table: c_int) -> Vec<Instruction> {
    const ANY: i32 = -1;
    /// Instructions of each part: jumps skip what is left of one, and parts that follow.
    const V6: i16 = 14;
    const V4: i16 = 6;
    const FIND: i16 = 9;
    /// The stack below the frame pointer (register 10), where the key is put together.
    const STACK: i16 = -(size_of::<Key>() as i16);
    /// Where IP's header is, whatever the socket would get to see of a datagram.
    const IP: i32 = libc::SKF_NET_OFF;
    let op = |code: u8, destination: u8, source: u8, offset: i16, value: i32| Instruction {
        code,
        registers: source << 4 | destination,
        offset,
        value,
    };
    // Into register 0, in the host's order; ends with 0 if it isn't there.
    let load = |size: u32, at: i32| op((libc::BPF_LD | libc::BPF_ABS | size) as u8, 0, 0, 0, IP + at);
    let put = |word: i16| op(0x63, 10, 0, STACK + 4 * word, 0);
    let put_value = |word: i16, value: i32| op(0x62, 10, 0, STACK + 4 * word, value);
    let jump_if = |value: i32, offset: i16| op(0x15, 0, 0, offset, value);
    let jump_unless = |value: i32, offset: i16| op(0x55, 0, 0, offset, value);
    let word = libc::BPF_W;
    let ipv6: [_; V6 as usize] = [
        // UDP's header follows at once, or the address is not looked for (RFC 8200 §4).
        op(0x57, 0, 0, 0, 0xf0),
        jump_unless(0x60, V6 - 2 + V4 + FIND),
        load(libc::BPF_B, 6),
        jump_unless(libc::IPPROTO_UDP, V6 - 4 + V4 + FIND),
        load(word, 8),
        put(0),
        load(word, 12),
        put(1),
        load(word, 16),
        put(2),
        load(word, 20),
        put(3),
        load(libc::BPF_H, 40),
        op(0x05, 0, 0, V4, 0),
    ];
    let ipv4: [_; V4 as usize] = [put_value(0, 0), put_value(1, 0), put_value(2, 0xffff), load(word, 12), put(3), load(libc::BPF_H, 20)];
    // The header's first byte: version 4 without options (RFC 791 §3.1).
    let start = [op(0xbf, 6, 1, 0, 0), load(libc::BPF_B, 0), jump_if(0x45, V6)];
    let find: [_; FIND as usize] = [
        put(4),
        op(0xbf, 2, 10, 0, 0),
        op(0x07, 2, 0, 0, STACK.into()),
        // A 64-bit immediate that stands for the table of a descriptor, in two instructions.
        op(0x18, 1, 1, 0, table),
        op(0, 0, 0, 0, 0),
        op(0x85, 0, 0, 0, MAP_LOOKUP_HELPER),
        jump_if(0, 2),
        op(0x61, 0, 0, 0, 0),
        op(0x95, 0, 0, 0, 0),
    ];
    let any = [op(0xb4, 0, 0, 0, ANY), op(0x95, 0, 0, 0, 0)];
    [&start[..], &ipv6, &ipv4, &find, &any].concat()
}

const MAP_CREATE: c_int = 0;
const MAP_UPDATE: c_int = 2;
const MAP_DELETE: c_int = 3;
const PROGRAM_LOAD: c_int = 5;
const MAP_LOOKUP_HELPER: i32 = 1;
/// A table that forgets (Linux 4.10).
const LRU_HASH: u32 = 9;
const SOCKET_FILTER: u32 = 1;

/// What bpf(2) reads for [`MAP_CREATE`], [`PROGRAM_LOAD`] and the others: the beginnings of `union bpf_attr`.
#[repr(C)]
struct MapCreate {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log: [u32; 4],
    kernel: u32,
    flags: u32,
}

#[repr(C)]
struct Element {
    table: u64,
    key: u64,
    value: u64,
    flags: u64,
}

/// A call that makes a descriptor.
fn bpf<T>(command: c_int, attributes: &T) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    // SAFETY: the descriptor was just made and is nobody else's; the kernel closes it on exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

fn call<T>(command: c_int, attributes: &T) -> io::Result<c_long> {
    // SAFETY: the attributes are readable for their size; what they point to lives through the call, and is as long as they say.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::Config;

    const ANY: u32 = u32::MAX;

    /// A datagram from `from`, with so many words of options (IPv4), or of that next header (IPv6).
    fn frame(from: SocketAddr, options: u8, next: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        match from.ip() {
            IpAddr::V4(ip) => {
                frame.extend([0x08, 0x00, 0x45 + options, 0, 0, 28 + options * 4, 0, 0, 0, 0, 64, 17, 0, 0]);
                frame.extend(ip.octets());
                frame.extend([192, 0, 2, 9]);
                frame.extend(vec![1; usize::from(options) * 4]);
            }
            IpAddr::V6(ip) => {
                frame.extend([0x86, 0xdd, 0x6a, 0xbc, 0, 0, 0, 8, next, 64]);
                frame.extend(ip.octets());
                frame.extend(Ipv6Addr::LOCALHOST.octets());
            }
        }
        frame.extend(from.port().to_be_bytes());
        frame.extend([0x1f, 0x90, 0, 8, 0, 0]);
        frame
    }

    #[test]
    fn every_byte_of_an_address_counts_and_what_is_written_otherwise_is_not_looked_for() {
        let sockets = crate::udp::open(&Config { workers: 2, ..Config::default() }).unwrap().0;
        let steering = Steering::attach(sockets[0].fd()).expect("CAP_BPF");
        let v4 = SocketAddr::from((Ipv4Addr::new(198, 51, 100, 7), 0x8123));
        let v6 = SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0x1234, 0x5678, 0x9abc, 0xdef0, 0x1111, 0x2222), 0x8123));
        steering.steer(v4, 1);
        steering.steer(v6, 3);
        assert_eq!((steering.run(&frame(v4, 0, 17)), steering.run(&frame(v6, 0, 17))), (1, 3));
        for (remote, bytes) in [(v4, 26..30), (v6, 22..38)] {
            let port = if remote.is_ipv4() { 34..36 } else { 54..56 };
            for place in bytes.chain(port) {
                let mut other = frame(remote, 0, 17);
                other[place] ^= 0x80;
                assert_eq!(steering.run(&other), ANY, "{remote}, byte {place}");
            }
        }
        assert_eq!(steering.run(&frame(v4, 1, 17)), ANY, "options");
        assert_eq!(steering.run(&frame(v6, 0, 0)), ANY, "an extension header");
        steering.forget(v6);
        assert_eq!((steering.run(&frame(v4, 0, 17)), steering.run(&frame(v6, 0, 17))), (1, ANY));
    }
}
