//! Probes: clusters of packets sent faster than the estimate, whose spacing on arrival tells how fast the line is.

/// Names the packets of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster(u8);

/// What is to be sent to probe the line: at least [`Probe::bytes`] in at least [`Probe::PACKETS`] packets, at [`Probe::rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What its packets are recorded under.
    pub cluster: Cluster,
    /// Bits in a second.
    pub rate: u64,
    /// Bytes on the line, all packets together.
    pub bytes: u32,
}

impl Probe {
    /// Packets that a probe has at least: fewer than that and one late packet decides.
    pub const PACKETS: u32 = 5;
}

/// How long a probe lasts, in microseconds: long enough for feedback in steps of 250 µs and receivers that take packets in batches, short enough that the queue it
/// makes isn't noticed.
const LENGTH: i64 = 20_000;
/// After so long the rest of a probe's packets is not waited for, in microseconds, beyond the round trip.
const PATIENCE: i64 = 500_000;
/// The part of a probe's packets that has to arrive.
const ARRIVED: f64 = 0.7;
/// A probe that arrives slower than this part of what it was sent at has filled the line.
const SATURATED: f64 = 0.9;

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Finding {
    /// The line carries this, in bits a second; no more was tried.
    Carried(f64),
    /// The line was full at this rate.
    Full(f64),
    /// Too little of it was sent, arrived or was reported, or all at once.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    probe: Probe,
    begun: i64,
    packets: u32,
    bytes: u32,
    arrived: u32,
    missing: u32,
    arrived_bytes: u32,
    first_sent: i64,
    last_sent: i64,
    first_arrived: i64,
    last_arrived: i64,
    first_size: u32,
    last_size: u32,
}

/// The probe under way.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    active: Option<Active>,
    clusters: u8,
}

impl Probes {
    pub(crate) const fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Begins a probe at `rate` bits in a second.
    pub(crate) fn begin(&mut self, now: i64, rate: f64) -> Probe {
        self.clusters = self.clusters.wrapping_add(1);
        let bytes = rate * LENGTH as f64 / 8e6;
        let probe = Probe { cluster: Cluster(self.clusters), rate: rate as u64, bytes: bytes as u32 };
        self.active = Some(Active {
            probe,
            begun: now,
            packets: 0,
            bytes: 0,
            arrived: 0,
            missing: 0,
            arrived_bytes: 0,
            first_sent: 0,
            last_sent: 0,
            first_arrived: i64::MAX,
            last_arrived: i64::MIN,
            first_size: 0,
            last_size: 0,
        });
        probe
    }

    fn of(&mut self, cluster: Cluster) -> Option<&mut Active> {
        self.active.as_mut().filter(|active| active.probe.cluster == cluster)
    }

    pub(crate) fn sent(&mut self, cluster: Cluster, size: u16) {
        if let Some(active) = self.of(cluster) {
            active.packets += 1;
            active.bytes += u32::from(size);
        }
    }

    pub(crate) fn missing(&mut self, cluster: Cluster) {
        if let Some(active) = self.of(cluster) {
            active.missing += 1;
        }
    }

    pub(crate) fn arrived(&mut self, cluster: Cluster, sent: i64, arrived: i64, size: u16) {
        let Some(active) = self.of(cluster) else { return };
        let size = u32::from(size);
        if active.arrived == 0 {
            active.first_sent = sent;
        }
        if arrived < active.first_arrived {
            (active.first_arrived, active.first_size) = (arrived, size);
        }
        active.arrived += 1;
        active.arrived_bytes += size;
        (active.last_sent, active.last_size) = (active.last_sent.max(sent), size);
        active.last_arrived = active.last_arrived.max(arrived);
    }

    /// Ends the probe if all of it is reported or will never be; says what it found.
    pub(crate) fn poll(&mut self, now: i64, round_trip: i64) -> Option<Finding> {
        let active = self.active?;
        let complete = active.bytes >= active.probe.bytes && active.packets >= Probe::PACKETS;
        let reported = complete && active.arrived + active.missing >= active.packets;
        if !reported && now - active.begun < round_trip + PATIENCE {
            return None;
        }
        self.active = None;
        if !complete || active.arrived < Probe::PACKETS - 1 || f64::from(active.arrived) < ARRIVED * f64::from(active.packets) {
            return Some(Finding::Nothing);
        }
        let (sending, arriving) = (active.last_sent - active.first_sent, active.last_arrived - active.first_arrived);
        if sending <= 0 {
            return Some(Finding::Nothing);
        }
        let sent = f64::from(active.arrived_bytes - active.last_size) * 8e6 / sending as f64;
        // A line that is full spaces packets by their own length, one that isn't by that of the packet before. All in one tick is faster than anything.
        let spaced = active.arrived_bytes - active.first_size.min(active.last_size);
        let arrived = f64::from(spaced) * 8e6 / arriving.max(250) as f64;
        let sent = sent.min(active.probe.rate as f64);
        Some(if arrived < SATURATED * sent { Finding::Full(arrived) } else { Finding::Carried(sent.min(arrived)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a probe of 8 Mbit/s, ten packets 2 ms apart, finds if packets arrive `spacing` apart and `lost` of them don't.
    fn found(spacing: i64, lost: i64) -> Option<Finding> {
        let mut probes = Probes::default();
        let probe = probes.begin(0, 8e6);
        assert_eq!((probe.rate, probe.bytes), (8_000_000, 20_000));
        for _ in 0..10 {
            probes.sent(probe.cluster, 2_000);
        }
        for packet in 0..10 {
            assert_eq!(probes.poll(50_000, 0), None);
            if packet % 2 == 1 && packet / 2 < lost {
                probes.missing(probe.cluster);
            } else {
                probes.arrived(probe.cluster, packet * 2_000, 50_000 + packet * spacing, 2_000);
            }
        }
        probes.poll(100_000, 0)
    }

    #[test]
    fn the_spacing_on_arrival_is_the_lines_rate() {
        assert_eq!(found(2_000, 0), Some(Finding::Carried(8e6)));
        assert_eq!(found(1_000, 0), Some(Finding::Carried(8e6)), "never more than was tried");
        assert_eq!(found(4_000, 0), Some(Finding::Full(4e6)));
        assert!(matches!(found(4_000, 3), Some(Finding::Full(rate)) if rate < 4e6));
        assert_eq!(found(2_000, 4), Some(Finding::Nothing), "too little of it arrived");
    }

    #[test]
    fn a_probe_whose_packets_are_not_reported_ends() {
        let mut probes = Probes::default();
        let probe = probes.begin(0, 1e6);
        probes.sent(probe.cluster, 2_000);
        assert_eq!(probes.poll(100_000 + PATIENCE - 1, 100_000), None);
        assert!(probes.is_active());
        assert_eq!(probes.poll(100_000 + PATIENCE, 100_000), Some(Finding::Nothing));
        assert!(!probes.is_active());
    }
}
