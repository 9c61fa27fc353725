//! One room over two workers, beside the same room on one.

use std::time::Duration;

use crate::paced::{self, Paced};
use crate::through::{Cost, FRAMES, Layout, Through};
use crate::{Scale, median};

const SUBSCRIBERS: usize = 200;

/// What crossing costs: all workers saturated.
pub fn run(scale: Scale) -> anyhow::Result<()> {
    println!("Spanning: 1 → {SUBSCRIBERS}, saturated, {} interleaved rounds", scale.rounds);
    println!("  layout                   µs a packet   beside one worker (min … max)   packets a run   packets a call");
    let layouts = [Layout::One, Layout::Apart, Layout::Spanning];
    let mut rooms = layouts.map(|layout| Through::new(SUBSCRIBERS, layout)).into_iter().collect::<Result<Vec<_>, _>>()?;
    for room in &mut rooms {
        room.measure(FRAMES.iter().sum::<usize>() * SUBSCRIBERS)?;
    }
    let mut costs: Vec<Vec<Cost>> = layouts.iter().map(|_| Vec::new()).collect();
    for _ in 0..scale.rounds {
        for (room, costs) in rooms.iter_mut().zip(&mut costs) {
            costs.push(room.measure(scale.datagrams)?.0);
        }
    }
    let names = ["one worker", "two rooms on two workers", "one room over two"];
    for (name, of_layout) in names.iter().zip(&costs) {
        let ratios: Vec<f64> = of_layout.iter().zip(&costs[0]).map(|(cost, one)| cost.micros / one.micros).collect();
        let of = |what: fn(&Cost) -> f64| median(of_layout.iter().map(what).collect());
        println!(
            "  {name:24} {:11.3}   {:11.2} ({:.2} … {:.2})       {:13.2}   {:14.1}",
            of(|cost| cost.micros),
            median(ratios.clone()),
            ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratios.iter().copied().fold(0.0, f64::max),
            of(|cost| cost.datagrams as f64 / cost.runs),
            of(|cost| cost.datagrams as f64 / cost.calls),
        );
    }
    drop(rooms);
    let micros = |layout: usize| median(costs[layout].iter().map(|cost| cost.micros).collect());
    halves(scale, micros(0))
}

/// How long a packet takes while the workers are busy half of the time. `micros`: what a packet costs on one worker.
fn halves(scale: Scale, micros: f64) -> anyhow::Result<()> {
    let time = Duration::from_secs(scale.seconds);
    // What keeps one worker busy half of the time; over two workers twice as much does.
    let half = 0.5e6 / (micros * SUBSCRIBERS as f64);
    println!(
        "Half busy: bursts of three, {} rounds of {} s; latency from the publisher to a subscriber's socket",
        scale.rounds, scale.seconds
    );
    println!("  layout                            packets/s   busy   latency µs p50 / p99 / p99.9    between workers µs p50 / p99");
    let mut rooms = [Layout::One, Layout::Spanning].map(|layout| Through::new(SUBSCRIBERS, layout));
    let show = |name: &str, rounds: Vec<Paced>| {
        let of = |what: &dyn Fn(&Paced) -> f64| median(rounds.iter().map(what).collect());
        let latency = [0.5, 0.99, 0.999].map(|quantile| of(&|paced| paced.latency(quantile)));
        print!("  {name:32} {:10.0}  {:4.0} %", of(&|paced| paced.rate), of(&|paced| paced.busy) * 100.0);
        print!("   {:9.0} / {:5.0} / {:7.0}", latency[0], latency[1], latency[2]);
        if rounds.iter().any(|paced| paced.waits.0 > 0) {
            print!("   {:18.0} / {:5.0}", of(&|paced| paced.waits.1), of(&|paced| paced.waits.2));
        }
        let lost: usize = rounds.iter().map(|paced| paced.lost).sum();
        if lost > 0 {
            let arrived: usize = rounds.iter().map(|paced| paced.latencies.len()).sum();
            print!("   {:.3} % lost", lost as f64 * 100.0 / (arrived + lost) as f64);
        }
        println!();
    };
    show("bare loop", (0..scale.rounds).map(|_| paced::bare(SUBSCRIBERS, half, time)).collect::<Result<_, _>>()?);
    let rows = [("one worker", 0, half), ("over two", 1, half), ("over two", 1, 2.0 * half)];
    for (name, room, rate) in rows {
        let room = rooms[room].as_mut().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        show(name, (0..scale.rounds).map(|_| paced::through(room, rate, time)).collect::<Result<_, _>>()?);
    }
    Ok(())
}
