use std::path::PathBuf;

use super::*;

/// Set to write the example files anew instead of comparing with them.
const WRITE: &str = "SWITCHYARD_WRITE_EXAMPLES";

fn example_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn assert_example(name: &str, document: &Document) {
    let json = document.to_json().unwrap();
    let file = example_file(name);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, &json).unwrap();
    }
    let stored = std::fs::read_to_string(&file).unwrap();
    assert!(stored == json, "{name} is out of date: run the tests with {WRITE}=1 and look at the difference");
    assert!(Document::from_json(&stored).unwrap() == *document, "{name} reads as something else");
}

#[test]
fn the_format_of_a_run_is_that_of_the_example_file() {
    assert_example("broadcast.json", &examples::broadcast(200, 12, 7).into());
    assert_example("layers.json", &examples::layered().into());
}

#[test]
fn the_format_of_a_search_is_that_of_the_example_file() {
    assert_example("capacity.json", &examples::capacity(2).into());
}

#[test]
fn what_was_written_reads_as_the_same() {
    for document in [Document::from(examples::broadcast(3, 4, 1)), examples::silent().into(), examples::bench_bound().into()] {
        assert_eq!(Document::from_json(&document.to_json().unwrap()).unwrap(), document);
    }
}

#[test]
fn a_file_of_another_format_or_kind_says_so() {
    let later = r#"{"kind":"run","format":2,"sections":[]}"#;
    assert!(matches!(Document::from_json(later), Err(ReadError::Format(2))));
    let other = r#"{"kind":"holiday","format":1}"#;
    assert_eq!(Document::from_json(other).unwrap_err().to_string(), "results of the kind \"holiday\"; known are \"run\" and \"capacity\"");
    let truncated = examples::broadcast(1, 1, 1);
    let json = Document::from(truncated).to_json().unwrap();
    assert!(matches!(Document::from_json(&json[..json.len() / 2]), Err(ReadError::Malformed(_))));
}

#[test]
fn fields_that_are_added_later_do_not_disturb() {
    let document = Document::from(examples::broadcast(1, 1, 1));
    let json = document.to_json().unwrap().replacen("\"seed\"", "\"weather\": \"fine\",\n  \"seed\"", 1);
    assert_eq!(Document::from_json(&json).unwrap(), document);
}

#[test]
fn a_figure_that_is_no_number_is_not_written() {
    let mut run = examples::broadcast(1, 1, 1);
    run.measured_seconds = f64::NAN;
    assert!(matches!(Document::from(run).to_json(), Err(WriteError::NotFinite(_))));
}

#[test]
fn time_with_an_encoding_adds_up_by_its_name_and_size() {
    let mut layers = Layers::default();
    for (name, size, seconds) in [("f", (1280, 720), 2.0), ("q", (320, 180), 5.0), ("f", (1280, 720), 1.0), ("f", (640, 360), 2.0)] {
        layers.add_time(name, size, seconds);
    }
    let times: Vec<(&str, u16, f64)> = layers.encodings.iter().map(|time| (time.name.as_str(), time.width, time.seconds)).collect();
    assert_eq!(times, [("q", 320, 5.0), ("f", 640, 2.0), ("f", 1280, 3.0)], "the smallest first");
    layers.as_wanted_seconds = 7.5;
    assert_eq!((layers.encoding_share("f"), layers.encoding_share("q"), layers.as_wanted_share()), (Some(0.5), Some(0.5), Some(0.75)));
    assert_eq!((Layers::default().encoding_share("q"), Layers::default().as_wanted_share()), (None, None), "nothing has no share");
}

#[test]
fn percentiles_of_a_few_values_are_among_them() {
    let mut values: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
    values.push(f64::NAN);
    let found = Percentiles::of(&mut values);
    let expected =
        Percentiles { count: 1000, min: 1.0, mean: 500.5, p50: 500.0, p90: 900.0, p95: 950.0, p99: 990.0, p999: 999.0, max: 1000.0 };
    assert_eq!(found, expected);
    let one = Percentiles::of(&mut vec![7.0]);
    assert_eq!((one.count, one.p50, one.p999, one.max), (1, 7.0, 7.0, 7.0));
    assert_eq!(Percentiles::of(&mut Vec::new()).measured(), None);
}

#[test]
fn the_worst_of_distributions_is_no_better_than_all_values_together() {
    let mut fast: Vec<f64> = (0..900).map(|value| f64::from(value) / 100.0).collect();
    let mut slow: Vec<f64> = (0..100).map(|value| 50.0 + f64::from(value)).collect();
    let mut all: Vec<f64> = fast.iter().chain(&slow).copied().collect();
    let (fast, slow, all) = (Percentiles::of(&mut fast), Percentiles::of(&mut slow), Percentiles::of(&mut all));
    let worst = Percentiles::worst([&fast, &Percentiles::default(), &slow].into_iter());
    assert_eq!((worst.count, worst.min, worst.max), (all.count, all.min, all.max));
    assert!((worst.mean - all.mean).abs() < 1e-9);
    for (worst, all) in [(worst.p50, all.p50), (worst.p90, all.p90), (worst.p95, all.p95), (worst.p99, all.p99), (worst.p999, all.p999)] {
        assert!(worst >= all, "{worst} < {all}");
    }
}

#[test]
fn the_total_is_the_sum_and_nothing_has_no_share() {
    let run = examples::broadcast(10, 4, 2);
    let total = run.total();
    assert_eq!(total.packets.received, run.media[0].packets.received + run.media[1].packets.received);
    assert_eq!(total.frames, run.media[0].frames);
    assert_eq!(run.packets_per_second(), Some(total.packets.received as f64 / 4.0));
    assert_eq!(Packets::default().lost_share(), None);
    assert_eq!(Frames::default().frozen_share(), None);
    assert_eq!(Joins::default().failed_share(), None);
}
