//! Tells the server, at a browser's pace, which packets have arrived and when. By the clock and not with the packets: the last ones of a burst
//! are told of though nothing follows them.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::direct::{Lane, arrivals};

/// Tells as long as the participant's media is there.
pub(super) async fn run(lane: Weak<Lane>) {
    let mut ticks = interval(Duration::from_micros(arrivals::INTERVAL));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(lane) = lane.upgrade() else { return };
        lane.tell_arrivals();
    }
}
