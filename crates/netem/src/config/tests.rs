use super::*;

const FULL: &str = "loss=5%,burst_loss=2%,burst_length=8,burst_density=80%,delay=60ms,jitter=10ms,coherence=20ms,duplicate=0.1%,reorder=1%,reorder_by=25ms,\
                    rate=2Mbit/s,rate@10s=500kbit/s,rate@20s=0bit/s,overhead=42,queue=64KiB,black_hole@5s=2s,black_hole@15s=100ms,repeat=30s,limit=1000";

fn error(text: &str) -> String {
    text.parse::<Config>().unwrap_err().to_string()
}

#[test]
fn the_command_line_form_says_everything_and_is_shown_as_it_is_read() {
    let config: Config = FULL.parse().unwrap();
    assert_eq!(config.loss, Ratio::percent(5));
    assert_eq!(config.delay, Duration::from_millis(60));
    assert_eq!(config.rate, Rate::bits(2_000_000));
    assert_eq!(config.queue, Queue::Bytes(65_536));
    assert_eq!(config.rate_steps[1], RateStep { at: Duration::from_secs(20), rate: Rate::bits(0) });
    assert_eq!(config.black_holes[0], BlackHole { at: Duration::from_secs(5), length: Duration::from_secs(2) });
    assert_eq!(config.to_string(), FULL);
    assert_eq!("perfect".parse(), Ok(Config::default()));
    assert_eq!(Config::default().to_string(), "perfect");
    assert!(Config::default().is_perfect() && !config.is_perfect());
    let spaced: Config = " rate = 2 Mbit/s , burst-loss = 0.02, queue = 200 ms".parse().unwrap();
    assert_eq!(spaced, Config { rate: Rate::bits(2_000_000), burst_loss: Ratio::percent(2), ..Config::default() });
}

#[test]
fn a_table_and_a_text_in_a_file_mean_the_same() {
    #[derive(Deserialize)]
    struct File {
        line: Config,
    }
    let table = r#"
        [line]
        loss = "5 %"
        burst_loss = "2 %"
        burst_length = 8
        burst_density = 0.8
        delay = "60ms"
        jitter = "10 ms"
        coherence = "20ms"
        duplicate = "0.1 %"
        reorder = "1 %"
        reorder_by = "25ms"
        rate = "2 Mbit/s"
        overhead = 42
        queue = "64 KiB"
        limit = 1000
        rate_steps = [{ at = "10s", rate = "500 kbit/s" }, { at = "20s", rate = 0 }]
        black_holes = [{ at = "5s", for = "2s" }, { at = 15, for = 0.1 }]
        repeat = "30s"
    "#;
    let table: File = toml::from_str(table).unwrap();
    let text: File = toml::from_str(&format!("line = \"{FULL}\"")).unwrap();
    assert_eq!(table.line, text.line);
    assert_eq!(serde_json::to_string(&text.line).unwrap(), format!("\"{FULL}\""));
}

#[test]
fn errors_in_a_file_name_the_line_and_what_is_right() {
    #[derive(Debug, Deserialize)]
    struct File {
        #[expect(dead_code, reason = "only whether it can be read matters")]
        line: Config,
    }
    let error = |text: &str| toml::from_str::<File>(text).unwrap_err().to_string();
    for (text, expected) in [
        ("[line]\ndealy = \"60ms\"", &["line 2", "unknown field `dealy`", "`delay`"] as &[_]),
        ("[line]\n\ndelay = \"60 parsecs\"", &["line 3", "`parsecs`", "a duration, such as"]),
        ("[line]\ndelay = 60", &["line 1", "delay is 0s to 10s, not 1min"]),
        ("[line]\nloss = 5", &["line 2", "from \"0 %\" to \"100 %\""]),
        ("[line]\nrate = true", &["line 2", "invalid type", "a rate, such as"]),
        ("[line]\nrate_steps = [{ at = \"1s\", speed = 1 }]", &["line 2", "unknown field `speed`"]),
        ("line = \"loss=5%;delay=1s\"", &["line 1", "loss:"]),
        ("line = 5", &["line 1", "a table, or a text"]),
    ] {
        let said = error(text);
        assert!(expected.iter().all(|part| said.contains(part)), "{text:?}: {said}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    for (text, expected) in [
        ("", "`` is not `key=value`"),
        ("loss", "`loss` is not `key=value`"),
        ("loss=1%,loss=2%", "`loss` is said twice"),
        ("latency=1s", "there is no `latency`; there are delay, jitter"),
        ("delay=abc", "delay: `abc` is not a duration"),
        ("rate@abc=1kbit/s", "rate@abc: `abc` is not a duration"),
        ("limit=2.5", "limit: `2.5` is not a whole number"),
        ("limit=0", "limit is 1 to 1000000, not 0"),
        ("queue=5 pages", "queue: `pages` in `5 pages` is no unit of a queue's size"),
        ("jitter=3s", "jitter is 0s to 2s, not 3s"),
        ("burst_loss=60%,burst_length=1", "can't come to 60% of all"),
        ("burst_loss=60%,burst_density=50%", "can't come to 60% of all"),
        ("rate=10", "rate is 1kbit/s to unlimited, not 10bit/s"),
        ("rate=0", "a rate of 0 needs a later step"),
        ("rate=1Mbit/s,rate@2s=0", "a rate of 0 needs a later step"),
        ("rate=0,rate@2s=0,repeat=4s", "a rate of 0 needs a later step"),
        ("rate@0s=1Mbit/s", "rate step at 0s: each must come after"),
        ("rate@1s=1Mbit/s,rate@1000ms=2Mbit/s", "rate step at 1s: each must come after"),
        ("black_hole@1s=2s,black_hole@2s=1s", "black hole at 2s: each must come after"),
        ("black_hole@1s=0s", "black hole at 1s: each must come after"),
        ("black_hole@1s=2s,repeat=2s", "black hole at 1s is not over before it all repeats"),
        ("delay=1s,repeat=2s", "repeat needs rate steps or black holes"),
    ] {
        assert!(error(text).contains(expected), "{text:?}: {}", error(text));
    }
}
