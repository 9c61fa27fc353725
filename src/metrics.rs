//! What monitoring reads (OpenMetrics 1.0, which Prometheus scrapes): `switchyard_<subsystem>_<name>`.
//!
//! Workers count in their own memory (`switchyard_worker`); it is read when somebody scrapes. What the control plane counts is here.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use switchyard_forward::{ESTIMATE_BOUNDS, WorkerIndex};
use switchyard_negotiation::Mode;
use switchyard_protocol::ErrorCode;
use switchyard_worker::{Scrape, Waits};

use crate::server::Server;
use crate::tls::Tls;

/// What the text is (OpenMetrics 1.0, "Text format").
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets of joining times, in seconds.
const JOIN_BOUNDS: [f64; 10] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// How a join went: who came by what, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Join {
    by: &'static str,
    /// `joined`, or the protocol's error code.
    outcome: String,
}

/// By what somebody joins.
type By = [(&'static str, &'static str); 1];

/// What the control plane counts.
#[derive(Debug)]
pub struct Metrics {
    joins: Family<Join, Counter>,
    join_times: Family<By, Histogram, fn() -> Histogram>,
    away: Gauge,
}

impl Metrics {
    pub fn new() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(JOIN_BOUNDS);
        Self { joins: Family::default(), join_times: Family::new_with_constructor(histogram), away: Gauge::default() }
    }

    /// Somebody asked to come in, and was let in or `refused`.
    pub fn joined(&self, mode: Mode, refused: Option<ErrorCode>) {
        let outcome = refused.map_or_else(|| "joined".to_owned(), name);
        self.joins.get_or_create(&Join { by: by(mode), outcome }).inc();
    }

    /// The media of somebody is secure who had asked to come in at `asked`.
    pub fn connected(&self, mode: Mode, asked: Instant) {
        self.join_times.get_or_create(&[("by", by(mode))]).observe(asked.elapsed().as_secs_f64());
    }

    /// A session without a connection, until it is dropped.
    pub fn away(&self) -> Away {
        self.away.inc();
        Away(self.away.clone())
    }

    /// All there is to read, of the server as well.
    pub fn registry(&self, server: &Arc<Server>) -> Registry {
        let mut registry = Registry::with_prefix("switchyard");
        registry.register("signaling_joins", "Requests to come in, by what they came and what came of them", self.joins.clone());
        registry.register_with_unit(
            "signaling_join",
            "From a request to come in until media is secure",
            Unit::Seconds,
            self.join_times.clone(),
        );
        registry.register("signaling_sessions_away", "Sessions that wait for their client to come back", self.away.clone());
        registry.register_collector(Box::new(Live(Arc::downgrade(server))));
        registry
    }
}

/// See [`Metrics::away`].
#[derive(Debug)]
pub struct Away(Gauge);

impl Drop for Away {
    fn drop(&mut self) {
        self.0.dec();
    }
}

const fn by(mode: Mode) -> &'static str {
    match mode {
        Mode::Meeting => "websocket",
        Mode::Ingress => "whip",
        Mode::Egress => "whep",
    }
}

/// An error code as it is written in the protocol.
fn name(code: ErrorCode) -> String {
    serde_json::to_value(code).ok().and_then(|code| code.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The text of a scrape.
pub fn scrape(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(32 * 1024);
    text::encode(&mut text, registry)?;
    process(&mut text)?;
    Ok(text)
}

/// The process, under the names that all exporters use (`prometheus/client_golang`, "process collector").
fn process(text: &mut String) -> fmt::Result {
    use fmt::Write;
    let end = text.rfind("# EOF").unwrap_or(text.len());
    text.truncate(end);
    let Some(process) = Process::read() else { return text.write_str("# EOF\n") };
    for (name, kind, help, value) in [
        ("process_cpu_seconds", "counter", "User and system time", process.cpu.as_secs_f64()),
        ("process_resident_memory_bytes", "gauge", "Resident memory", process.resident as f64),
        ("process_threads", "gauge", "Threads", process.threads as f64),
        ("process_open_fds", "gauge", "Open descriptors", process.descriptors as f64),
    ] {
        let suffix = if kind == "counter" { "_total" } else { "" };
        write!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name}{suffix} {value}\n")?;
    }
    text.write_str("# EOF\n")
}

struct Process {
    cpu: Duration,
    resident: u64,
    threads: u64,
    descriptors: usize,
}

impl Process {
    /// From `/proc` (proc_pid_stat(5)).
    fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name, in parentheses, may hold anything; what follows begins with the third field.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let tick = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
        Some(Self {
            cpu: Duration::from_secs_f64((field(14)? + field(15)?) as f64 / tick as f64),
            resident: field(24)? * page as u64,
            threads: field(20)?,
            descriptors: std::fs::read_dir("/proc/self/fd").ok()?.count(),
        })
    }
}

/// What is read from the server at the moment of a scrape.
struct Live(Weak<Server>);

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(server) = self.0.upgrade() else { return Ok(()) };
        let gauges = [
            ("server_rooms", "Rooms that somebody is in or waits at, or that were made to be there", server.rooms.count()),
            ("signaling_sessions", "Sessions over WebSockets, those included whose client is away", server.resumable.count()),
            ("signaling_http_sessions", "Sessions of WHIP and WHEP", server.resources.count()),
            ("turn_clients", "Clients of the server's own TURN server", server.relay.as_ref().map_or(0, |relay| relay.clients())),
            ("signaling_websockets", "Open WebSockets", server.sockets_open()),
            ("server_draining", "1 while the server takes no new rooms because it goes down", usize::from(server.drain.is_on())),
            ("server_ready", "1 while a newcomer would be let in", usize::from(server.is_ready().is_ok())),
        ];
        for (name, help, value) in gauges {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))?;
        }
        if let Some(until) = server.tls.as_ref().and_then(Tls::valid_until) {
            let (name, help) = ("tls_certificate_expiry_seconds", "When the TLS certificate expires, as seconds since 1970");
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_gauge(&until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())?;
        }
        let workers = server.rooms.workers();
        let scrapes: Vec<Scrape> = (0..workers.count()).map(|worker| workers.scrape(WorkerIndex(worker))).collect();
        let busy: Vec<f64> = (0..workers.count()).map(|worker| workers.awake(WorkerIndex(worker)).as_secs_f64()).collect();
        media(&mut encoder, &scrapes, &busy)
    }
}

/// What workers count, by worker.
fn media(encoder: &mut DescriptorEncoder<'_>, scrapes: &[Scrape], busy: &[f64]) -> fmt::Result {
    let label = |worker: usize| [("worker", worker.to_string())];
    for (at, (name, help, _)) in scrapes.first().into_iter().flat_map(|scrape| scrape.counters.all()).enumerate() {
        if name == "awake_nanos" {
            continue;
        }
        let name = format!("worker_{name}");
        let mut metric = encoder.encode_descriptor(&name, trim(help), None, MetricType::Counter)?;
        for (worker, scrape) in scrapes.iter().enumerate() {
            let value = scrape.counters.all().nth(at).map_or(0, |(_, _, value)| value);
            metric.encode_family(&label(worker))?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
    }
    let help = "Time in which a media thread had work";
    let mut metric = encoder.encode_descriptor("worker_busy", help, Some(&Unit::Seconds), MetricType::Counter)?;
    for (worker, busy) in busy.iter().enumerate() {
        metric.encode_family(&label(worker))?.encode_counter::<NoLabelSet, _, u64>(busy, None)?;
    }
    let mut metric = encoder.encode_descriptor("worker_peers", "Peer connections", None, MetricType::Gauge)?;
    for (worker, scrape) in scrapes.iter().enumerate() {
        metric.encode_family(&label(worker))?.encode_gauge(&i64::from(scrape.peers))?;
    }
    let mut metric = encoder.encode_descriptor("media_drops", "What went no further, and why", None, MetricType::Counter)?;
    for (worker, scrape) in scrapes.iter().enumerate() {
        for (reason, count) in &scrape.drops {
            let labels = [("worker", worker.to_string()), ("reason", reason.label().to_owned())];
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
    }
    for (at, (what, _)) in scrapes.first().into_iter().flat_map(|scrape| &scrape.happenings).enumerate() {
        let name = format!("media_{}", what.label());
        let mut metric = encoder.encode_descriptor(&name, trim(what.help()), None, MetricType::Counter)?;
        for (worker, scrape) in scrapes.iter().enumerate() {
            let count = scrape.happenings.get(at).map_or(0, |(_, count)| *count);
            metric.encode_family(&label(worker))?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
    }
    let help = "From waking up for packets until all their copies were sent; neither what the pacer holds back nor a busy worker's wait for more is in it";
    times(encoder, "worker_forwarding", help, scrapes.iter().map(|scrape| &scrape.forwarding))?;
    times(encoder, "worker_ring_wait", "How long packets of other workers waited to be taken", scrapes.iter().map(|scrape| &scrape.waits))?;
    let help = "What subscribers' lines were estimated to carry, each that reports looked at five times a second";
    let unit = Unit::Other("bits_per_second".into());
    let mut metric = encoder.encode_descriptor("media_estimate", help, Some(&unit), MetricType::Histogram)?;
    for (worker, scrape) in scrapes.iter().enumerate() {
        let bounds = ESTIMATE_BOUNDS.iter().map(|&bound| bound as f64).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(scrape.estimates.buckets).collect();
        let count = scrape.estimates.buckets.iter().sum();
        metric.encode_family(&label(worker))?.encode_histogram::<NoLabelSet>(scrape.estimates.sum as f64, count, &buckets, None)?;
    }
    Ok(())
}

/// A histogram of times, by worker.
fn times<'a>(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, workers: impl Iterator<Item = &'a Waits>) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for (worker, waits) in workers.enumerate() {
        let mut buckets: Vec<(f64, u64)> = waits.doublings().map(|(end, count)| (end.as_secs_f64(), count)).collect();
        // What took longer is counted with the last: its bucket has no end.
        if let Some(last) = buckets.last_mut() {
            last.0 = f64::INFINITY;
        }
        let labels = [("worker", worker.to_string())];
        metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(waits.sum().as_secs_f64(), waits.count(), &buckets, None)?;
    }
    Ok(())
}

/// A documentation comment as a help text: without the space in front, and on one line.
fn trim(help: &str) -> &str {
    help.trim().trim_end_matches('.')
}
