use proptest::prelude::*;

use super::*;
use crate::results::examples;
use crate::results::{Packets, Percentiles, ServerResult};

fn slo(text: &str) -> Slo {
    text.parse().unwrap()
}

#[test]
fn a_promise_reads_as_it_is_written() {
    let promise = slo("p99<20ms,loss<0.1%,freeze<=1%");
    assert_eq!(promise.promises().len(), 3);
    let latency = promise.promises()[0];
    assert_eq!((latency.metric, latency.inclusive, latency.limit()), (Metric::LatencyP99, false, 20.0));
    assert_eq!(promise.promise(Metric::Loss).unwrap().limit(), 0.001);
    assert!(promise.promise(Metric::Freeze).unwrap().inclusive);
    assert_eq!(promise.to_string(), "p99<20ms,loss<0.1%,freeze<=1%");
    assert_eq!(slo(" P99.9 <= 1.5 s ,\tmax<900µs").to_string(), "p99.9<=1.5s,max<900us");
}

#[test]
fn every_metric_can_be_promised() {
    for metric in Metric::ALL {
        let unit = match metric.dimension() {
            Dimension::Share => "%",
            Dimension::Time => "ms",
            Dimension::Memory => "KiB",
        };
        assert_eq!(slo(&format!("{}<5{unit}", metric.name())).promises()[0].metric, metric);
    }
}

#[test]
fn an_error_says_where_it_is_and_what_would_be_right() {
    let cases = [
        ("", 1, "a promise is missing, such as p99<20ms or loss<0.1%"),
        ("p99<20ms,", 10, "a promise is missing, such as p99<20ms or loss<0.1%"),
        ("p99", 4, "p99 wants < or <= and a limit here, as in p99<20ms"),
        ("p99>20ms", 4, "p99 wants < or <= and a limit here, as in p99<20ms"),
        ("loss < lots", 8, "loss wants a number here, as in loss<0.1%"),
        ("p99<-2ms", 5, "p99 wants a number here, as in p99<20ms"),
        ("p99<1.2.3ms", 5, "p99 wants a number here, as in p99<20ms"),
        ("p99<1e3ms", 6, "p99 is a time and wants us, ms or s here, as in p99<20ms"),
        ("p99<20", 7, "p99 is a time and wants us, ms or s here, as in p99<20ms"),
        ("p99<20%", 7, "p99 is a time and wants us, ms or s here, as in p99<20ms"),
        ("memory<60MB", 10, "memory is measured in KiB or MiB, which is missing here, as in memory<60KiB"),
        ("loss<0.1ms", 9, "loss is a share and wants % here, as in loss<0.1%"),
        ("loss<0%", 6, "nothing is below 0; if none at all is meant, write loss<=0%"),
        ("freeze<=100%", 9, "freeze never exceeds 100%, so this promises nothing"),
        ("p99<20ms loss<1%", 10, "promises are separated by commas, as in p99<20ms,loss<0.1%"),
        ("p99<20ms,p99<30ms", 10, "p99 is promised a second time"),
    ];
    for (text, column, message) in cases {
        let error = text.parse::<Slo>().unwrap_err();
        assert_eq!((error.column, error.kind.to_string().as_str()), (column, message), "{text:?}");
    }
    let error = "p99<20ms,los<1%".parse::<Slo>().unwrap_err();
    assert!(
        error.to_string().starts_with("at column 10 of the promise: \"los\" is not measured (is loss meant?); known are p50,"),
        "{error}"
    );
    assert!("latency<1ms".parse::<Slo>().unwrap_err().to_string().contains("(is p99 meant?)"));
    assert!("jitter<1ms".parse::<Slo>().unwrap_err().to_string().contains("\"jitter\" is not measured; known"));
}

#[test]
fn columns_count_characters_and_what_is_quoted_is_bounded() {
    let error = "p99<20µs,ö<1%".parse::<Slo>().unwrap_err();
    assert_eq!(error.column, 10);
    assert!("x".repeat(100_000).parse::<Slo>().unwrap_err().to_string().len() < 300);
}

#[test]
fn a_run_within_its_limits_breaks_nothing() {
    let run = examples::broadcast(50, 5, 1);
    let promise = slo("p50<5ms,p90<9ms,p99<20ms,p99.9<1s,max<5s,loss<1%,freeze<1%,join-p95<1s,join-p99<1s,first-frame-p95<1s,failures<=0%");
    assert_eq!(promise.check(&run), []);
}

#[test]
fn the_worst_kind_of_media_decides_and_is_named() {
    let mut run = examples::broadcast(50, 5, 1);
    run.media[1].latency_ms.p99 = 31.0;
    let breaches = slo("p99<20ms").check(&run);
    assert_eq!(breaches.len(), 1);
    assert_eq!(breaches[0].to_string(), "p99<20ms: 31.0 ms for audio to viewers");
}

#[test]
fn the_most_exceeded_limit_comes_first() {
    let mut run = examples::broadcast(50, 5, 1);
    run.media[0].latency_ms.p99 = 40.0;
    run.media[0].packets.lost = run.media[0].packets.expected / 100;
    let promises: Vec<String> = slo("p99<20ms,loss<0.1%").check(&run).into_iter().map(|breach| breach.promise).collect();
    assert_eq!(promises, ["loss<0.1%", "p99<20ms"]);
}

#[test]
fn the_limit_itself_breaks_less_than_and_keeps_at_most() {
    let mut run = examples::broadcast(50, 5, 1);
    run.media[0].latency_ms.p99 = 20.0;
    assert_eq!(slo("p99<20ms").check(&run).len(), 1);
    assert_eq!(slo("p99<=20ms").check(&run), []);
}

#[test]
fn a_promise_about_nothing_measured_is_broken() {
    let silent = examples::silent();
    for metric in ["p50<1s", "p99<1s", "max<1s", "loss<50%", "freeze<50%"] {
        let breaches = slo(metric).check(&silent);
        assert_eq!(breaches.len(), 1, "{metric}");
        assert_eq!(breaches[0].cause, Cause::NotMeasured("no packets arrived".to_owned()), "{metric}");
    }
    let mut empty = examples::broadcast(5, 2, 1);
    empty.media.clear();
    empty.joins = Default::default();
    empty.server = None;
    for metric in Metric::ALL {
        let limit = match metric.dimension() {
            Dimension::Share => "<=50%",
            Dimension::Time => "<9s",
            Dimension::Memory => "<9MiB",
        };
        let breaches = slo(&format!("{}{limit}", metric.name())).check(&empty);
        assert!(matches!(breaches.as_slice(), [Breach { cause: Cause::NotMeasured(_), .. }]), "{metric:?}: {breaches:?}");
    }
}

#[test]
fn one_kind_of_media_that_never_arrives_breaks_the_promise_about_all() {
    let mut run = examples::broadcast(50, 5, 1);
    let audio = &mut run.media[1];
    audio.packets = Packets { received: 0, lost: audio.packets.expected, ..audio.packets };
    audio.latency_ms = Percentiles::default();
    let breaches = slo("p99<20ms").check(&run);
    assert_eq!(breaches[0].to_string(), "p99<20ms: no packets of audio to viewers arrived");
}

#[test]
fn a_promise_about_freezes_without_video_is_broken() {
    let mut run = examples::broadcast(50, 5, 1);
    run.media.remove(0);
    assert_eq!(slo("freeze<1%").check(&run)[0].to_string(), "freeze<1%: no video was to be seen");
}

#[test]
fn a_figure_that_is_no_number_breaks_the_promise() {
    for value in [f64::NAN, -f64::NAN, f64::INFINITY] {
        let mut run = examples::broadcast(50, 5, 1);
        run.media[0].latency_ms.p99 = value;
        let breaches = slo("p99<20ms").check(&run);
        assert!(matches!(breaches.as_slice(), [Breach { cause: Cause::NotMeasured(_), .. }]), "{breaches:?}");
    }
}

#[test]
fn what_the_server_costs_can_be_promised_where_it_is_known() {
    let mut run = examples::broadcast(50, 5, 1);
    run.server = Some(ServerResult {
        cpu_us_per_packet: Some(4.5),
        cpu_ms_per_join: Some(2.9),
        memory_kib_per_participant: Some(61.5),
        ..ServerResult::default()
    });
    assert_eq!(slo("packet-cpu<5us,join-cpu<3ms,memory<0.1MiB").check(&run), []);
    let broken = slo("packet-cpu<4us,join-cpu<2ms,memory<60KiB").check(&run);
    assert_eq!(broken[2].to_string(), "memory<60KiB: 61.5 KiB");
    assert_eq!(broken.len(), 3);
    run.server = None;
    assert!(matches!(slo("memory<62KiB").check(&run)[0].cause, Cause::NotMeasured(_)), "of a server elsewhere nobody knows");
}

#[test]
fn refused_joins_count_as_failures() {
    let mut run = examples::broadcast(99, 5, 1);
    run.joins.refused = 2;
    run.joins.failed = 1;
    run.joins.succeeded -= 3;
    assert_eq!(slo("failures<1%").check(&run)[0].to_string(), "failures<1%: 3.00 %");
    assert_eq!(slo("failures<5%").check(&run), []);
}

prop_compose! {
    fn any_promise()(index in 0..Metric::ALL.len(), inclusive: bool, value in 0.0..=99.0f64, unit in 0..3usize) -> Promise {
        let metric = Metric::ALL[index];
        let unit = match metric.dimension() {
            Dimension::Share => Unit::Percent,
            Dimension::Time => [Unit::Microseconds, Unit::Milliseconds, Unit::Seconds][unit],
            Dimension::Memory => [Unit::Kibibytes, Unit::Mebibytes][unit % 2],
        };
        Promise { metric, inclusive: inclusive || value == 0.0, limit: Quantity { value, unit } }
    }
}

proptest! {
    #[test]
    fn what_is_shown_reads_as_the_same(promises in prop::collection::vec(any_promise(), 1..14)) {
        let mut different: Vec<Promise> = Vec::new();
        for promise in promises {
            if different.iter().all(|other| other.metric != promise.metric) {
                different.push(promise);
            }
        }
        let written = Slo { promises: different };
        prop_assert_eq!(written.to_string().parse::<Slo>().unwrap(), written);
    }

    #[test]
    fn any_text_is_read_or_refused_with_a_column_in_it(text in "[a-z0-9.%<=, µ-]{0,40}") {
        match text.parse::<Slo>() {
            Ok(slo) => prop_assert_eq!(slo.to_string().parse::<Slo>().unwrap(), slo),
            Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.column)),
        }
    }
}
