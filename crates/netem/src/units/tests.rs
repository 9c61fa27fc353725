use super::*;

fn ratio(text: &str) -> Result<u32, UnitError> {
    text.parse().map(Ratio::billionths)
}

fn rate(text: &str) -> Result<u64, UnitError> {
    text.parse().map(Rate::bits_per_second)
}

fn time(text: &str) -> Result<Duration, UnitError> {
    text.parse().map(|time: Time| time.0)
}

#[test]
fn quantities_are_read_with_their_units() {
    assert_eq!(ratio("5 %"), Ok(50_000_000));
    assert_eq!(ratio("0.05"), Ok(50_000_000));
    assert_eq!(ratio("100%"), Ok(1_000_000_000));
    assert_eq!(rate("2 Mbit/s"), Ok(2_000_000));
    assert_eq!(rate("1.5Mbps"), Ok(1_500_000));
    assert_eq!(rate("64kbit"), Ok(64_000));
    assert_eq!(rate("64000"), Ok(64_000));
    assert_eq!(rate("Unlimited"), Ok(u64::MAX));
    assert_eq!("64 KiB".parse(), Ok(Bytes(65_536)));
    assert_eq!("64kB".parse(), Ok(Bytes(64_000)));
    assert_eq!(time("60ms"), Ok(Duration::from_millis(60)));
    assert_eq!(time(" 1.5 s "), Ok(Duration::from_millis(1_500)));
    assert_eq!(time("250µs"), Ok(Duration::from_micros(250)));
    assert_eq!(time("2 min"), Ok(Duration::from_secs(120)));
    assert_eq!(time("0.25"), Ok(Duration::from_millis(250)));
}

#[test]
fn an_error_says_what_would_be_right() {
    let said = |error: UnitError| error.to_string();
    assert_eq!(said(ratio("some").unwrap_err()), "`some` is not a ratio, such as \"5 %\" or 0.05");
    assert_eq!(said(ratio("5").unwrap_err()), "`5` is out of range: a ratio is a number from 0 to 1, or from \"0 %\" to \"100 %\"");
    assert!(said(rate("2 MB/s").unwrap_err()).starts_with("`mb/s` in `2 MB/s` is no unit of a rate, such as \"2 Mbit/s\""));
    assert!(said(time("60 lightyears").unwrap_err()).starts_with("`lightyears` in `60 lightyears` is no unit of a duration"));
    assert!(said(time("25h").unwrap_err()).contains("at most \"24h\""));
    assert!(said(time("-5ms").unwrap_err()).starts_with("`-5ms` is not a duration"));
    assert!(said(time("").unwrap_err()).starts_with("`` is not a duration"));
    assert!(said(time("1.2.3s").unwrap_err()).starts_with("`1.2.3s` is not a duration"));
    assert!(said(rate("99999999 Gbit/s").unwrap_err()).contains("at most 1000 Gbit/s"));
}

#[test]
fn what_is_shown_can_be_read_again() {
    for billionths in [0, 1, 50_000_000, 70_000_000, 123_456_789, 999_999_999, 1_000_000_000] {
        assert_eq!(Ratio(billionths).to_string().parse(), Ok(Ratio(billionths)));
    }
    for bits in [0, 1, 1_500, 1_500_000, 2_000_000_000, 123_456_789, u64::MAX] {
        assert_eq!(Rate(bits).to_string().parse(), Ok(Rate(bits)));
    }
    for bytes in [0, 28, 1_000, 1_024, 64_000, 65_536, 1_000_000, 1 << 20] {
        assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
    }
    for nanos in [0, 1, 1_500, 60_000_000, 1_500_000_000, 120_000_000_000, 86_400_000_000_000] {
        assert_eq!(Time(Duration::from_nanos(nanos)).to_string().parse(), Ok(Time(Duration::from_nanos(nanos))));
    }
    assert_eq!(Ratio::percent(5).to_string(), "5%");
    assert_eq!(Rate(1_500_000).to_string(), "1500kbit/s");
    assert_eq!(Time(Duration::from_millis(60)).to_string(), "60ms");
}

#[test]
fn numbers_and_texts_are_deserialized_alike() {
    #[derive(Deserialize)]
    struct Table {
        loss: Ratio,
        #[serde(with = "duration")]
        delay: Duration,
        #[serde(with = "optional_duration", default)]
        repeat: Option<Duration>,
        rate: Rate,
    }
    for text in ["loss = 0.5\ndelay = 1\nrate = 2000", "loss = '50%'\ndelay = '1 s'\nrate = '2kbit/s'"] {
        let table: Table = toml::from_str(text).unwrap();
        assert_eq!((table.loss, table.delay, table.repeat, table.rate), (Ratio::percent(50), Duration::from_secs(1), None, Rate(2_000)));
    }
    let error = toml::from_str::<Table>("loss = -1\ndelay = 1\nrate = 1").err().unwrap().to_string();
    assert!(error.contains("line 1") && error.contains("out of range"), "{error}");
}
