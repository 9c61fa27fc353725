//! What a run measured, as tables and as facts.

use super::figures::{self, NONE};
use super::judgement::judge;
use super::table::Table;
use super::timeline;
use crate::results::{MediaResult, Percentiles, RunResult, ServerKind, share};

/// A figure with its name.
pub(super) struct Fact {
    /// Its name.
    pub(super) name: &'static str,
    /// The figure with its unit.
    pub(super) value: String,
}

/// Errors that are listed; a server whose errors all differ has more.
const ERRORS_SHOWN: usize = 12;
/// Characters of an error that are shown.
const ERROR_CHARS: usize = 160;
/// Rows of the table over time: what can still be read.
const TIMES_SHOWN: usize = 60;

fn fact(name: &'static str, value: String) -> Fact {
    Fact { name, value }
}

/// What was asked of the server, in a line.
pub(super) fn load(run: &RunResult) -> String {
    let many = |count: u64, one: &str, more: &str| format!("{} {}", figures::count(count), if count == 1 { one } else { more });
    let load = &run.load;
    format!(
        "{}, {}, {}, {}; measured for {}",
        many(load.rooms, "room", "rooms"),
        many(load.participants, "participant", "participants"),
        many(load.publications, "publication", "publications"),
        many(load.subscriptions, "subscription", "subscriptions"),
        figures::seconds(run.measured_seconds)
    )
}

/// The protocol's name.
pub(super) fn protocol(kind: ServerKind) -> &'static str {
    match kind {
        ServerKind::Signaling => "signaling",
        ServerKind::Whip => "WHIP and WHEP",
    }
}

/// Several runs, a row for each.
pub(super) fn overview(runs: &[&RunResult]) -> Table {
    let head = ["", "people", "packets/s", "lost", "p50", "p99", "frozen", "joined in", "CPU a packet", "memory each", "outcome"];
    let mut table = Table::new("Runs", &head);
    for run in runs {
        let (total, server) = (run.total(), run.server.as_ref());
        let latency = total.latency_ms.measured();
        let milliseconds = |value: Option<f64>| figures::or_none(value, figures::milliseconds);
        table.row(vec![
            run.scenario.clone(),
            figures::count(run.load.participants),
            figures::or_none(run.packets_per_second(), figures::quantity),
            figures::or_none(total.packets.lost_share(), figures::share),
            milliseconds(latency.map(|latency| latency.p50)),
            milliseconds(latency.map(|latency| latency.p99)),
            figures::or_none(total.frames.frozen_share(), figures::share),
            milliseconds(run.joins.connected_ms.measured().map(|joins| joins.p95)),
            figures::or_none(server.and_then(|server| server.cpu_us_per_packet), figures::microseconds),
            figures::or_none(server.and_then(|server| server.memory_kib_per_participant), figures::kibibytes),
            judge(run).tone.word().to_owned(),
        ]);
    }
    table
}

/// The figures that matter most, each with a word of explanation.
pub(super) fn tiles(run: &RunResult) -> Vec<(Fact, String)> {
    let total = run.total();
    let latency = total.latency_ms.measured();
    let joins = run.joins.connected_ms.measured();
    let mut tiles = vec![
        (fact("Participants", figures::count(run.load.participants)), format!("{} subscriptions", figures::count(run.load.subscriptions))),
        (
            fact("Latency, p99", figures::or_none(latency.map(|latency| latency.p99), figures::milliseconds)),
            latency.map_or_else(|| "nothing arrived".to_owned(), |latency| format!("median {}", figures::milliseconds(latency.p50))),
        ),
        (
            fact("Packets lost", figures::or_none(total.packets.lost_share(), figures::share)),
            format!("{} of {}", figures::count(total.packets.lost), figures::count(total.packets.expected)),
        ),
        (
            fact("Video frozen", figures::or_none(total.frames.frozen_share(), figures::share)),
            match total.frames.watched_seconds > 0.0 {
                true => format!("{} freezes", figures::count(total.frames.freezes)),
                false => "no video to be seen".to_owned(),
            },
        ),
        (
            fact("Packets a second", figures::or_none(run.packets_per_second(), figures::quantity)),
            format!("{} received", figures::bits_per_second(total.bitrate_bps)),
        ),
        (
            fact("Connected, p95", figures::or_none(joins.map(|joins| joins.p95), figures::milliseconds)),
            format!("{} of {} got in", figures::count(run.joins.succeeded), figures::count(run.joins.attempted)),
        ),
    ];
    if let Some(server) = &run.server {
        let packet = figures::or_none(server.cpu_us_per_packet, figures::microseconds);
        tiles.push((fact("Server CPU a packet", packet), format!("{} of CPU time", figures::seconds(server.cpu_seconds))));
        let memory = figures::or_none(server.memory_kib_per_participant, figures::kibibytes);
        let joined = server.memory_kib_joined.map_or(NONE.to_owned(), |kib| figures::kibibytes(kib as f64));
        tiles.push((fact("Memory a participant", memory), format!("{joined} in all")));
    }
    tiles
}

/// How people got in.
pub(super) fn joins(run: &RunResult) -> Table {
    let mut table = Table::new("Joins", &["", "count", "min", "p50", "p90", "p95", "p99", "max"]);
    let joins = &run.joins;
    for (name, times) in
        [("connected", &joins.connected_ms), ("first packet", &joins.first_packet_ms), ("first frame", &joins.first_frame_ms)]
    {
        let times = times.measured();
        let mut cells = vec![name.to_owned(), times.map_or("0".to_owned(), |times| figures::count(times.count))];
        let columns: [fn(&Percentiles) -> f64; 6] = [|t| t.min, |t| t.p50, |t| t.p90, |t| t.p95, |t| t.p99, |t| t.max];
        cells.extend(columns.map(|column| figures::or_none(times.map(column), figures::milliseconds)));
        table.row(cells);
    }
    table
}

/// What went wrong with joins, the most frequent first; nothing if all went well.
pub(super) fn join_errors(run: &RunResult) -> Option<Table> {
    let mut errors: Vec<(&str, u64)> = run.joins.errors.iter().map(|(error, &count)| (error.as_str(), count)).collect();
    errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut table = Table::new("Joins that failed", &["why joins failed", "times"]);
    for (error, count) in errors.iter().take(ERRORS_SHOWN) {
        let shown: String = error.chars().take(ERROR_CHARS).collect();
        let more = if error.chars().nth(ERROR_CHARS).is_some() { "…" } else { "" };
        table.row(vec![format!("{shown}{more}"), figures::count(*count)]);
    }
    let rest: u64 = errors.iter().skip(ERRORS_SHOWN).map(|(_, count)| *count).fold(0, u64::saturating_add);
    if rest > 0 {
        table.row(vec![format!("{} others", errors.len() - ERRORS_SHOWN), figures::count(rest)]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// What was sent and what arrived.
pub(super) fn packets(run: &RunResult) -> Table {
    let mut table =
        Table::new("Packets", &["", "sent", "expected", "packets/s", "bitrate", "lost", "lost %", "copies", "reordered", "resent"]);
    let cells = |media: &MediaResult| {
        let packets = &media.packets;
        vec![
            media.name.clone(),
            figures::count(packets.sent),
            figures::count(packets.expected),
            figures::or_none(share(packets.received as f64, run.measured_seconds), figures::quantity),
            figures::bits_per_second(media.bitrate_bps),
            figures::count(packets.lost),
            figures::or_none(packets.lost_share(), figures::share),
            figures::count(packets.duplicated),
            figures::count(packets.reordered),
            figures::count(packets.retransmitted),
        ]
    };
    run.media.iter().for_each(|media| table.row(cells(media)));
    table.total(cells(&run.total()));
    table
}

/// How long packets took.
pub(super) fn latency(run: &RunResult) -> Table {
    let mut table = Table::new("Latency", &["", "packets", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"]);
    for media in &run.media {
        let latency = media.latency_ms.measured();
        let mut cells = vec![media.name.clone(), figures::count(media.latency_ms.count)];
        let columns: [fn(&Percentiles) -> f64; 8] =
            [|l| l.min, |l| l.mean, |l| l.p50, |l| l.p90, |l| l.p95, |l| l.p99, |l| l.p999, |l| l.max];
        cells.extend(columns.map(|column| figures::or_none(latency.map(column), figures::milliseconds)));
        table.row(cells);
    }
    table
}

/// What could be seen; nothing if there was no video.
pub(super) fn frames(run: &RunResult) -> Option<Table> {
    let mut table =
        Table::new("Video", &["", "frames", "complete", "dropped", "dropped %", "freezes", "frozen for", "watched", "frozen %"]);
    let is_video = |media: &&MediaResult| media.frames.expected > 0 || media.frames.watched_seconds > 0.0;
    let cells = |media: &MediaResult| {
        let frames = &media.frames;
        vec![
            media.name.clone(),
            figures::count(frames.expected),
            figures::count(frames.complete),
            figures::count(frames.dropped),
            figures::or_none(share(frames.dropped as f64, frames.expected as f64), figures::share),
            figures::count(frames.freezes),
            figures::seconds(frames.frozen_seconds),
            figures::seconds(frames.watched_seconds),
            figures::or_none(frames.frozen_share(), figures::share),
        ]
    };
    run.media.iter().filter(is_video).for_each(|media| table.row(cells(media)));
    table.total(cells(&run.total()));
    (!table.rows.is_empty()).then_some(table)
}

/// Which part of what was published came; nothing if everybody gets all of it.
pub(super) fn layers(run: &RunResult) -> Option<Table> {
    let head =
        ["", "on the screen", "as wanted", "a receiver", "switches", "wanted p50", "wanted p95", "never came", "pauses", "paused for"];
    let mut table = Table::new("Layers", &head);
    for media in &run.media {
        let Some(layers) = &media.layers else { continue };
        let wanted = layers.wanted_ms.measured();
        let shown = layers.encodings.iter().filter_map(|time| {
            let part = figures::share(share(time.seconds, layers.watched_seconds()).filter(|part| *part > 0.0)?);
            let name = if time.name.is_empty() { String::new() } else { format!("{} ", time.name) };
            Some(format!("{name}{}x{} {part}", time.width, time.height))
        });
        table.row(vec![
            media.name.clone(),
            shown.collect::<Vec<String>>().join(", "),
            figures::or_none(layers.as_wanted_share(), figures::share),
            figures::bits_per_second(layers.receiver_bitrate_bps),
            figures::count(layers.switches),
            figures::or_none(wanted.map(|wanted| wanted.p50), figures::milliseconds),
            figures::or_none(wanted.map(|wanted| wanted.p95), figures::milliseconds),
            figures::count(layers.unreached),
            figures::count(layers.pauses),
            figures::seconds(layers.paused_seconds),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// What it cost the server; nothing if its process was not watched.
pub(super) fn server(run: &RunResult) -> Vec<Fact> {
    let Some(server) = &run.server else { return Vec::new() };
    let kibibytes = |kib: Option<u64>| figures::or_none(kib.map(|kib| kib as f64), figures::kibibytes);
    vec![
        fact("CPU a packet", figures::or_none(server.cpu_us_per_packet, figures::microseconds)),
        fact("CPU a join", figures::or_none(server.cpu_ms_per_join, figures::milliseconds)),
        fact("CPU time", figures::seconds(server.cpu_seconds)),
        fact("threads", server.threads.map_or_else(|| NONE.to_owned(), figures::count)),
        fact("memory before", kibibytes(server.memory_kib_before)),
        fact("memory with everybody", kibibytes(server.memory_kib_joined)),
        fact("memory a participant", figures::or_none(server.memory_kib_per_participant, figures::kibibytes)),
    ]
}

/// How the bench itself fared.
pub(super) fn bench(run: &RunResult) -> Vec<Fact> {
    let bench = &run.bench;
    let lag = bench.timer_lag_ms.measured();
    vec![
        fact("CPU, of all cores", figures::share(bench.cpu_share)),
        fact("timers late, p99", figures::or_none(lag.map(|lag| lag.p99), figures::milliseconds)),
        fact("timers late, at most", figures::or_none(lag.map(|lag| lag.max), figures::milliseconds)),
        fact("packets sent late", figures::count(bench.sends_late)),
        fact("dropped by the kernel", figures::count(bench.kernel_drops)),
    ]
}

/// The run over time, in as many rows as can be read; nothing if it was not sampled.
pub(super) fn over_time(run: &RunResult) -> Option<Table> {
    let buckets = timeline::buckets(&run.samples, TIMES_SHOWN);
    let head = ["after", "participants", "packets/s", "lost", "p50", "p99", "frozen", "server CPU", "bench CPU"];
    let mut table = Table::new("Over time", &head);
    for sample in &buckets {
        table.row(vec![
            figures::seconds(sample.at_seconds),
            figures::count(sample.participants),
            figures::quantity(sample.packets_per_second),
            figures::or_none(sample.lost_share, figures::share),
            figures::or_none(sample.latency_p50_ms, figures::milliseconds),
            figures::or_none(sample.latency_p99_ms, figures::milliseconds),
            figures::or_none(sample.frozen_share, figures::share),
            figures::or_none(sample.server_cpu_share, figures::share),
            figures::share(sample.bench_cpu_share),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}
