//! What forwarding a packet costs, beside the least it could cost on this machine in the same run.
//!
//! `cargo bench --bench fan_out` prints five sets of tables.
//!
//! **Saturated.** One publisher in this process sends video frames the way Chromium cuts them (3 to 10 packets of about 1,130 bytes that
//! differ by a byte) to the real worker: its thread, its socket, its forwarder with keyed peers that proved their paths. The floor is
//! a bare loop on another thread that seals the very same datagrams once each with AES-128-GCM and sends them with the same batching: one
//! `UDP_SEGMENT` run for each destination, one `sendmmsg` for many. The next frame starts when the last one has left, so nothing is
//! lost. The sinks are the same for both: sockets on loopback that are emptied between frames while nobody measures, so that neither
//! side pays for waking a reader. The floor does not receive; the worker does. CPU is the thread's own (user and system), by datagram that
//! was read from a sink.
//!
//! **Full** ([`full`]). The same frames in real time to subscribers whose lines are measured and paced, of three encodings, beside subscribers who have none of that.
//!
//! **Spanning** ([`spanning`], [`paced`]). One to 200, saturated as above: everybody on one worker; two rooms of half the size on two workers, which
//! says what this machine's cores take from each other; and one room over two workers. Then paced, so that the workers are busy half of the
//! time: the latency from the publisher's system call to the kernel's stamp at a subscriber's socket, beside a bare loop's, and the time
//! packets wait between the two workers. This process's own thread, which sends and reads samples, runs on the same cores.
//!
//! **Clients** ([`clients`]). The real program with real DTLS clients in another process: one to 50, ten all to all, one to 200. The floor is a bare
//! loop in this process with the same pattern to sockets of another process. CPU is the whole server process's by packet that the clients counted.
//!
//! **Alone** ([`alone`]). The forwarder without sockets beside the sealing that it does, with caches as the burst before left them and with caches that something else has used since.
//!
//! Arguments: `alone`, `saturated`, `full`, `spanning` or `clients` for one of them; `--quick` for a short run; `--check` to fail where a figure is beyond its bound, which
//! only `full` has.

mod alone;
mod arrivals;
mod clients;
mod cpu;
mod floor;
mod full;
mod paced;
mod saturated;
mod sinks;
mod spanning;
#[path = "../../crates/worker/tests/support/mod.rs"]
mod support;
mod through;

/// How much to measure.
#[derive(Clone, Copy)]
struct Scale {
    /// Interleaved repetitions; medians are printed.
    rounds: usize,
    /// Datagrams delivered in one repetition of the saturated bench, about.
    datagrams: usize,
    /// Length of one repetition with real clients.
    seconds: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // This program again, as the other end.
    match arguments[..] {
        ["clients-child", url, publishers, participants, rate] => {
            return clients::child::clients(url, clients::Pattern::parse(publishers, participants, rate)?);
        }
        ["sinks-child", server, publishers, participants, rate] => {
            return clients::child::sinks(server.parse()?, clients::Pattern::parse(publishers, participants, rate)?);
        }
        _ => {}
    }
    // `cargo test --benches` runs this without `--bench`: only whether it still works.
    let quick = arguments.contains(&"--quick") || !arguments.contains(&"--bench");
    let scale =
        if quick { Scale { rounds: 1, datagrams: 20_000, seconds: 2 } } else { Scale { rounds: 9, datagrams: 200_000, seconds: 10 } };
    let only = arguments.iter().find(|argument| !argument.starts_with("--"));
    if only.is_none_or(|only| *only == "alone") {
        alone::run(scale)?;
    }
    if only.is_none_or(|only| *only == "saturated") {
        saturated::run(scale)?;
    }
    if only.is_none_or(|only| *only == "full") {
        full::run(scale, arguments.contains(&"--check"))?;
    }
    if only.is_none_or(|only| *only == "spanning") {
        spanning::run(scale)?;
    }
    if only.is_none_or(|only| *only == "clients") {
        clients::run(scale)?;
    }
    Ok(())
}

/// The middle one; with an even number the upper of the two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
