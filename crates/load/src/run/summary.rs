//! From what was counted to what is said.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use switchyard_client::now_micros;

use super::Shared;
use super::outcome::{JoinError, Session};
use crate::measure::Publication;
use crate::process::{Usage, cores};
use crate::results::{BenchResult, FORMAT, Frames, Joins, Layers, Load, MediaResult, Percentiles, RunResult, Sample, ServerResult};
use crate::scenario::Subscribe;

/// Packets that waited longer than this in the bench's sockets, one in a hundred, say that the bench is behind.
const READ_LAG: f64 = 20.0;
/// Timers that fire later than this, one in a hundred, say that the bench does not get the CPU it needs.
const TIMER_LAG: f64 = 20.0;
/// A share of sends that may be late.
const LATE_SHARE: f64 = 0.01;
/// All cores as busy as this: what server and bench share is used up.
const BUSY: f64 = 0.95;
/// The part of the server's CPU time that forwarding may have been while people joined.
const MOST_FORWARDED: f64 = 1.0 / 3.0;

/// What was read at the edges of the measured time.
pub(super) struct Figures {
    /// The server before anybody came, and with everybody there.
    pub(super) before: Option<Usage>,
    pub(super) joined: Option<Usage>,
    /// Packets that arrived until everybody was there.
    pub(super) received_joining: u64,
    /// The server at the beginning of the measured time and at its end.
    pub(super) from: Option<Usage>,
    pub(super) to: Option<Usage>,
    /// The bench likewise.
    pub(super) bench: (Option<Usage>, Option<Usage>),
    pub(super) measured: Duration,
    pub(super) opened: Instant,
    pub(super) kernel_drops: u64,
    pub(super) timer_lag: Percentiles,
    pub(super) read_lag: Percentiles,
}

pub(super) fn summarise(shared: &Shared, figures: &Figures, samples: Vec<Sample>) -> RunResult {
    let media = media(shared, figures);
    let received: u64 = media.iter().map(|media| media.packets.received).sum();
    let scenario = &shared.scenario;
    RunResult {
        format: FORMAT,
        switchyard_version: shared.options.version.clone(),
        scenario: scenario.name.clone(),
        description: scenario.description.clone(),
        url: shared.options.target.shown().to_owned(),
        server_kind: shared.options.target.kind(),
        seed: scenario.seed,
        started: shared.options.started.clone(),
        promise: shared.options.promise.clone(),
        load: load(shared),
        measured_seconds: figures.measured.as_secs_f64(),
        joins: joins(shared),
        server: server(shared, figures, received),
        bench: bench(shared, figures),
        media,
        samples,
    }
}

fn load(shared: &Shared) -> Load {
    let scenario = &shared.scenario;
    let in_a_room: u64 = scenario.roles.iter().map(|role| u64::from(role.count) * role.publishes().count() as u64).sum();
    let subscriptions: u64 = scenario
        .roles
        .iter()
        .filter(|role| role.subscribe == Subscribe::All)
        .map(|role| u64::from(role.count) * (in_a_room - role.publishes().count() as u64))
        .sum();
    let rooms = u64::from(scenario.rooms);
    Load { rooms, participants: scenario.participants().into(), publications: in_a_room * rooms, subscriptions: subscriptions * rooms }
}

fn joins(shared: &Shared) -> Joins {
    let board = shared.board();
    let mut joins = Joins { attempted: board.joins.len() as u64, ..Joins::default() };
    let mut connected = Vec::new();
    for join in &board.joins {
        match &join.result {
            Ok(took) => {
                joins.succeeded += 1;
                connected.push(took.as_secs_f64() * 1000.0);
            }
            Err(error) => {
                match error {
                    JoinError::Refused(_) => joins.refused += 1,
                    JoinError::Failed(_) => joins.failed += 1,
                }
                *joins.errors.entry(error.to_string()).or_default() += 1;
            }
        }
    }
    let since = |at: fn(&crate::measure::Meter) -> Option<u64>| {
        let took = |session: &Session| Some(at(&session.sink.lock())?.saturating_sub(session.began_micros) as f64 / 1000.0);
        Percentiles::of(&mut board.sessions.iter().filter_map(took).collect())
    };
    joins.connected_ms = Percentiles::of(&mut connected);
    joins.first_packet_ms = since(|meter| meter.first_packet_at);
    joins.first_frame_ms = since(|meter| meter.first_frame_at);
    joins
}

fn media(shared: &Shared, figures: &Figures) -> Vec<MediaResult> {
    let board = shared.board();
    let closed = figures.opened + figures.measured;
    let mut groups: BTreeMap<(&'static str, usize), MediaResult> = BTreeMap::new();
    let mut wanted: BTreeMap<(&'static str, usize), Vec<f64>> = BTreeMap::new();
    let rooms = super::rooms(&shared.scenario);
    for session in &board.sessions {
        let whole = session.connected <= figures.opened && session.ended.is_none_or(|ended| ended >= closed);
        let subscribes = shared.scenario.roles[session.role].subscribe == Subscribe::All;
        let mut meter = session.sink.lock();
        let rotates = shared.scenario.roles[session.role].rotates.is_some();
        let mut seen_of: HashSet<&'static str> = HashSet::new();
        for (number, publication) in (0..).zip(shared.publications.iter()) {
            if rooms[number as usize] != session.room || session.own.contains(&number) {
                continue;
            }
            let totals = meter.totals(number);
            if !subscribes && totals.received == 0 {
                continue;
            }
            let spanned = totals.span.map_or(0, |(first, last)| last - first + 1);
            // Who was there all the time should have everything; of the rest it is known from the first packet to the last.
            let expected = match (whole && subscribes, publication.churns) {
                _ if publication.is_selective => totals.received + totals.lost,
                (true, false) => publication.expected(),
                (_, false) => spanned,
                (_, true) => totals.received,
            };
            // What is shown should have come, if only a part of it.
            let is_missing =
                publication.is_selective && whole && subscribes && !rotates && meter.shows(number) && publication.expected() > 0;
            if expected == 0 && !is_missing {
                continue;
            }
            let group = groups.entry((publication.media, session.role)).or_default();
            group.packets.expected += expected;
            group.packets.received += totals.received;
            group.packets.lost += expected.saturating_sub(totals.received);
            group.packets.duplicated += totals.duplicated;
            group.packets.reordered += totals.reordered;
            group.packets.retransmitted += totals.retransmitted;
            // A header of twelve bytes, and of extensions what a server sends.
            group.bitrate_bps += (totals.bytes + 12 * totals.received) as f64 * 8.0 / figures.measured.as_secs_f64();
            if publication.media != "audio" {
                let is_expected = if publication.is_selective { is_missing && totals.seen.paused == 0 } else { whole };
                add_frames(&mut group.frames, &totals.seen, is_expected.then_some(figures.measured));
            }
            if publication.is_selective {
                let (reached, in_vain) = meter.take_reached(number, now_micros());
                let layers = group.layers.get_or_insert_default();
                layers.receivers += u64::from(seen_of.insert(publication.media));
                add_layers(layers, publication, &totals.seen);
                layers.unreached += u64::from(in_vain);
                let times = wanted.entry((publication.media, session.role)).or_default();
                times.extend(reached.into_iter().map(|micros| micros as f64 / 1000.0));
            }
        }
    }
    let mut sent: BTreeMap<&'static str, u64> = BTreeMap::new();
    for publication in shared.publications.iter() {
        *sent.entry(publication.media).or_default() += publication.expected();
    }
    let several = shared.scenario.roles.len() > 1;
    groups
        .into_iter()
        .map(|((media, role), mut group)| {
            group.name = if several { format!("{media} to {}", shared.scenario.roles[role].name) } else { media.to_owned() };
            group.packets.sent = sent.get(media).copied().unwrap_or(0);
            if let Some(layers) = &mut group.layers {
                layers.receiver_bitrate_bps = group.bitrate_bps / layers.receivers.max(1) as f64;
                layers.wanted_ms = wanted.get_mut(&(media, role)).map(Percentiles::of).unwrap_or_default();
            }
            group.latency_ms = shared.groups.latency.get(&(media, role)).map(crate::measure::LatencyOf::take).unwrap_or_default();
            group
        })
        .collect()
}

/// A picture that was never shown stood still all the time.
fn add_frames(frames: &mut Frames, seen: &crate::measure::decoder::Seen, whole: Option<Duration>) {
    frames.expected += seen.shown + seen.dropped;
    frames.complete += seen.shown;
    frames.dropped += seen.dropped;
    frames.freezes += seen.freezes;
    frames.frozen_seconds += seen.frozen as f64 / 1e6;
    frames.watched_seconds += seen.watched as f64 / 1e6;
    if let Some(whole) = whole.filter(|_| seen.watched == 0) {
        frames.freezes += 1;
        frames.frozen_seconds += whole.as_secs_f64();
        frames.watched_seconds += whole.as_secs_f64();
    }
}

fn add_layers(layers: &mut Layers, publication: &Publication, seen: &crate::measure::decoder::Seen) {
    for (picture, micros) in publication.encodings.iter().zip(seen.by_encoding) {
        layers.add_time(&picture.name, picture.size, micros as f64 / 1e6);
    }
    layers.as_wanted_seconds += seen.as_wanted as f64 / 1e6;
    layers.switches += seen.switches;
    layers.pauses += seen.pauses;
    layers.paused_seconds += seen.paused as f64 / 1e6;
}

fn server(shared: &Shared, figures: &Figures, received: u64) -> Option<ServerResult> {
    let (before, joined, from, to) = (figures.before?, figures.joined?, figures.from?, figures.to?);
    let cpu = to.cpu.saturating_sub(from.cpu).as_secs_f64();
    let per_packet = (received > 0).then(|| cpu * 1e6 / received as f64);
    let joins = shared.board().joins.iter().filter(|join| join.result.is_ok()).count();
    let forwarding = per_packet.unwrap_or(0.0) * figures.received_joining as f64 / 1e6;
    let whole = joined.cpu.saturating_sub(before.cpu).as_secs_f64();
    let all_before = shared.scenario.roles.iter().all(|role| role.churn.is_none() && role.joins_after.is_none());
    let participants = shared.connected.load(Ordering::Relaxed);
    Some(ServerResult {
        cpu_seconds: cpu,
        cpu_us_per_packet: per_packet,
        cpu_ms_per_join: if all_before { of_a_join(whole, forwarding, joins) } else { None },
        threads: Some(to.threads),
        memory_kib_before: Some(before.memory_kib),
        memory_kib_joined: Some(to.memory_kib),
        memory_kib_per_participant: (participants > 0)
            .then(|| to.memory_kib.saturating_sub(before.memory_kib) as f64 / participants as f64),
    })
}

/// Milliseconds of CPU that each of `joins` took of the server's `whole` seconds while people joined, of which `forwarding` were for packets. With few there a packet costs more
/// than with everybody, because fewer leave together: where packets were much of it, what joins cost can't be told.
fn of_a_join(whole: f64, forwarding: f64, joins: usize) -> Option<f64> {
    (joins > 0 && forwarding <= whole * MOST_FORWARDED).then(|| (whole - forwarding) * 1e3 / joins as f64)
}

fn bench(shared: &Shared, figures: &Figures) -> BenchResult {
    let whole = figures.measured.as_secs_f64() * cores() as f64;
    let share = |(from, to): (Option<Usage>, Option<Usage>)| {
        from.zip(to).map_or(0.0, |(from, to)| to.cpu.saturating_sub(from.cpu).as_secs_f64() / whole)
    };
    let (cpu_share, server_share) = (share(figures.bench), share((figures.from, figures.to)));
    let sends_late = shared.sends_late.load(Ordering::Relaxed);
    let late_share = sends_late as f64 / shared.sends.load(Ordering::Relaxed).max(1) as f64;
    let bottleneck = if figures.kernel_drops > 0 {
        Some(format!("the kernel dropped {} datagrams because the bench read its sockets too slowly", figures.kernel_drops))
    } else if cpu_share + server_share > BUSY {
        let percent = |share: f64| (share * 100.0).round();
        Some(format!(
            "all of this machine's cores were busy, {} % with the bench and {} % with the server: each slows the other",
            percent(cpu_share),
            percent(server_share)
        ))
    } else if figures.read_lag.p99 > READ_LAG {
        Some(format!("one packet in a hundred waited for {:.0} ms or more before the bench read it", figures.read_lag.p99))
    } else if figures.timer_lag.p99 > TIMER_LAG {
        Some(format!("one of the bench's timers in a hundred fired {:.0} ms late or more", figures.timer_lag.p99))
    } else if late_share > LATE_SHARE {
        Some(format!("the bench sent {:.1} % of its packets late", late_share * 100.0))
    } else {
        None
    };
    BenchResult { cpu_share, timer_lag_ms: figures.timer_lag, sends_late, kernel_drops: figures.kernel_drops, bottleneck }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_join_costs_is_told_only_where_little_else_was_done() {
        assert_eq!(of_a_join(3.0, 0.0, 1000), Some(3.0));
        assert_eq!(of_a_join(3.0, 0.75, 1000), Some(2.25), "packets are not the joins' cost");
        assert_eq!(of_a_join(3.0, 1.5, 1000), None, "what is left would be a guess");
        assert_eq!(of_a_join(3.0, 0.0, 0), None, "nobody joined");
    }
}
