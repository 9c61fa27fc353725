//! `switchyard healthcheck`: asks a server from beside it whether it is alive. For containers, whose image has no other program that could.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::cli::Serve;

/// How long the server may take to answer, at all its addresses together: less than the 5 s that the image of the container gives the question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of a line that says how a request ended; the server's own is shorter.
const MAX_STATUS_LINE: usize = 256;

/// Asks the server that runs with these options; returns the address that answered.
pub fn healthcheck(options: &Serve) -> anyhow::Result<SocketAddr> {
    let (listens, option) = options.admin.map_or((options.http, "http"), |admin| (admin, "admin"));
    ensure!(listens.port() != 0, "with {option} = \"{listens}\" the server takes any free port, which nobody else can know: choose one");
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let (first, second) = reachable_at(listens);
    let asked = |address| ask(address, deadline).map(|()| address).with_context(|| format!("http://{address}/healthz"));
    match (asked(first), second) {
        (Err(_), Some(second)) => asked(second),
        (outcome, _) => outcome,
    }
}

/// Where this machine reaches what listens at an address. `[::]` takes IPv4 as well, unless the machine is set otherwise or has no IPv6.
fn reachable_at(listens: SocketAddr) -> (SocketAddr, Option<SocketAddr>) {
    let at = |ip: IpAddr| SocketAddr::new(ip, listens.port());
    match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (at(Ipv4Addr::LOCALHOST.into()), None),
        IpAddr::V6(ip) if ip.is_unspecified() => (at(Ipv4Addr::LOCALHOST.into()), Some(at(Ipv6Addr::LOCALHOST.into()))),
        _ => (listens, None),
    }
}

fn ask(address: SocketAddr, deadline: Instant) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; MAX_STATUS_LINE];
    let mut length = 0;
    while length < answer.len() && !answer[..length].contains(&b'\n') {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = match stream.read(&mut answer[length..]) {
            // The time is over, in the words of a socket.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            read => read?,
        };
        ensure!(read > 0, "the connection ended without an answer");
        length += read;
    }
    let line = String::from_utf8_lossy(&answer[..length]);
    let line = line.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some("200") if line.starts_with("HTTP/1.1 ") => Ok(()),
        _ => bail!("it answers {line:?}"),
    }
}

/// The time until `deadline`, if there is any.
fn left(deadline: Instant) -> anyhow::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    ensure!(!left.is_zero(), "no answer within {} s", ANSWER_TIMEOUT.as_secs());
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_every_address_is_asked_on_loopback() {
        let asked = |listens: &str| {
            let (first, second) = reachable_at(listens.parse().unwrap());
            [Some(first), second].into_iter().flatten().map(|address| address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(asked("[::]:80"), ["127.0.0.1:80", "[::1]:80"]);
        assert_eq!(asked("0.0.0.0:80"), ["127.0.0.1:80"]);
        assert_eq!(asked("192.0.2.7:80"), ["192.0.2.7:80"]);
    }
}
