//! What the kernel knows of processes and sockets on this machine: CPU, memory, threads, datagrams dropped for want of room.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::time::Duration;

/// A process of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u32);

/// A process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time so far, to the kernel's tick.
    pub cpu: Duration,
    /// Resident memory, in KiB.
    pub memory_kib: u64,
    /// Threads.
    pub threads: u64,
}

/// What the kernel dropped because a socket's queue was full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// At the ports asked for.
    pub own: u64,
    /// At all other UDP sockets of this network namespace.
    pub others: u64,
}

impl Process {
    /// The process with this id.
    pub fn new(id: u32) -> Self {
        Self(id)
    }

    /// This process.
    pub fn own() -> Self {
        Self(std::process::id())
    }

    /// What it uses now; an error once it has ended.
    pub fn usage(self) -> io::Result<Usage> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Ok(Usage { cpu: self.cpu()?, memory_kib: field("VmRSS:"), threads: field("Threads:") })
    }

    /// User and system time of all its threads, to the nanosecond where the kernel tells it; else to its tick.
    fn cpu(self) -> io::Result<Duration> {
        let mut total = Duration::ZERO;
        let threads = fs::read_dir(format!("/proc/{}/task", self.0))?;
        for thread in threads {
            // One that has just ended took its time with it; the next line makes good for it.
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            let nanoseconds = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
            total += Duration::from_nanos(nanoseconds);
        }
        Ok(total.max(self.ticks()?))
    }

    /// The process' own count, which includes threads that have ended.
    fn ticks(self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name, which may contain anything, ends with the last parenthesis; the 14th and 15th fields are the times.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        // Hundredths of a second on every Linux (sysconf(_SC_CLK_TCK)).
        Ok(Duration::from_millis(10 * (ticks(11) + ticks(12))))
    }
}

/// Datagrams dropped so far at the sockets bound to `ports`, and at the others.
pub fn kernel_drops(ports: &HashSet<u16>) -> io::Result<Drops> {
    let mut drops = Drops::default();
    for table in ["/proc/self/net/udp", "/proc/self/net/udp6"] {
        // Without IPv6 there is no second table.
        let Ok(table) = fs::read_to_string(table) else { continue };
        for line in table.lines().skip(1) {
            let mut fields = line.split_whitespace();
            let port = fields.nth(1).and_then(|address| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok());
            let dropped = fields.last().and_then(|field| field.parse::<u64>().ok());
            if let (Some(port), Some(dropped)) = (port, dropped) {
                *if ports.contains(&port) { &mut drops.own } else { &mut drops.others } += dropped;
            }
        }
    }
    Ok(drops)
}

/// The machine's cores.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let before = Process::own().usage().unwrap();
        let mut sum = 0u64;
        while Process::own().usage().unwrap().cpu < before.cpu + Duration::from_millis(30) {
            sum = (0..100_000).fold(sum, |sum, n| sum.wrapping_mul(31).wrapping_add(n));
        }
        let after = Process::own().usage().unwrap();
        assert!(after.memory_kib > 100 && after.threads > 0, "{after:?} {sum}");
    }

    #[test]
    fn what_a_full_socket_drops_is_counted_where_it_belongs() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ports = HashSet::from([socket.local_addr().unwrap().port()]);
        assert_eq!(kernel_drops(&ports).unwrap().own, 0);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        // More than any receive buffer takes by default.
        for _ in 0..20_000 {
            sender.send_to(&[0; 1400], socket.local_addr().unwrap()).unwrap();
        }
        assert!(kernel_drops(&ports).unwrap().own > 0);
        assert_eq!(kernel_drops(&HashSet::new()).unwrap().own, 0);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(Process::new(u32::MAX - 1).usage().is_err());
    }
}
