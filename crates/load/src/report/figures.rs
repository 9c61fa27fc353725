//! Numbers as people read them: three digits that matter, a unit, and never a zero for something that is not.

/// What stands where there is no figure.
pub const NONE: &str = "–";

/// A duration given in milliseconds: "0.42 ms", "18.3 ms", "1.25 s".
pub fn milliseconds(value: f64) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    match value.abs() {
        0.0 => "0 ms".to_owned(),
        tiny if tiny < 0.0005 => "<0.001 ms".to_owned(),
        small if small < 0.01 => format!("{value:.3} ms"),
        size if size < 9_995.0 => format!("{} ms", three_digits(value)),
        _ => format!("{} s", three_digits(value / 1000.0)),
    }
}

/// A figure without the zeros at the end of its fraction, for an axis: "20.0 ms" as "20 ms".
pub fn brief(figure: &str) -> String {
    let (number, unit) = figure.split_once(' ').unwrap_or((figure, ""));
    let number = trimmed(number.to_owned());
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

/// A share from 0 to 1 in percent: "0 %", "<0.001 %", "0.042 %", "12.5 %". Neither 0 nor 100 % unless it is exactly that.
pub fn share(value: f64) -> String {
    let percent = value * 100.0;
    if !percent.is_finite() {
        return NONE.to_owned();
    }
    match percent {
        _ if value == 0.0 => "0 %".to_owned(),
        _ if value == 1.0 => "100 %".to_owned(),
        tiny if tiny > 0.0 && tiny < 0.0005 => "<0.001 %".to_owned(),
        small if small < 0.0995 => format!("{percent:.3} %"),
        nearly if nearly > 99.99 && nearly < 100.0 => ">99.99 %".to_owned(),
        high if high > 99.0 && high < 100.0 => format!("{percent:.2} %"),
        _ => format!("{} %", three_digits(percent)),
    }
}

/// A count with its thousands apart: "1,234,567".
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number of things that may be a fraction, such as packets a second: whole from 10 on.
pub fn quantity(value: f64) -> String {
    if !value.is_finite() {
        NONE.to_owned()
    } else if (0.0..9.95).contains(&value) {
        trimmed(format!("{value:.1}"))
    } else {
        let whole = count(value.abs().round() as u64);
        if value < 0.0 { format!("-{whole}") } else { whole }
    }
}

/// Bits a second: "950 bit/s", "64.2 kbit/s", "472 Mbit/s", "1.25 Gbit/s".
pub fn bits_per_second(value: f64) -> String {
    scaled(value, 1000.0, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s"])
}

/// Memory given in KiB: "62.5 KiB", "1.21 MiB".
pub fn kibibytes(value: f64) -> String {
    scaled(value, 1024.0, &["KiB", "MiB", "GiB"])
}

/// Seconds: "0.8 s", "12.5 s", "2 min 5 s", "3 h 20 min".
pub fn seconds(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return NONE.to_owned();
    }
    if value < 59.95 {
        return format!("{} s", trimmed(format!("{value:.1}")));
    }
    let whole = value.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Microseconds: "2.41 µs".
pub fn microseconds(value: f64) -> String {
    if value.is_finite() { format!("{} µs", three_digits(value)) } else { NONE.to_owned() }
}

/// A figure that may be absent.
pub fn or_none(value: Option<f64>, show: impl FnOnce(f64) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), show)
}

fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    let mut value = value;
    let mut unit = 0;
    // 999.5 would be shown as 1000.
    while value.abs() >= step * 0.9995 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let figure = if value == 0.0 { "0".to_owned() } else { three_digits(value) };
    format!("{figure} {}", units[unit])
}

fn three_digits(value: f64) -> String {
    match value.abs() {
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        size if size < 1e15 => {
            let whole = count(value.abs().round() as u64);
            if value < 0.0 { format!("-{whole}") } else { whole }
        }
        _ => format!("{value:e}"),
    }
}

/// Without zeros at the end of a fraction.
fn trimmed(number: String) -> String {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.').to_owned() } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_nothing_is_never_shown_as_zero() {
        assert_eq!(share(0.0), "0 %");
        assert_eq!(share(1e-9), "<0.001 %");
        assert_eq!(share(0.000_42), "0.042 %");
        assert_eq!(milliseconds(0.0), "0 ms");
        assert_eq!(bits_per_second(0.0), "0 bit/s");
        assert_eq!(milliseconds(0.000_1), "<0.001 ms");
        assert_eq!(milliseconds(0.004), "0.004 ms");
    }

    #[test]
    fn what_is_not_everything_is_never_shown_as_all() {
        assert_eq!(share(1.0), "100 %");
        assert_eq!(share(0.999_99), ">99.99 %");
        assert_eq!(share(0.9981), "99.81 %");
    }

    #[test]
    fn three_digits_are_shown_with_the_unit_that_fits() {
        assert_eq!(milliseconds(0.421), "0.42 ms");
        assert_eq!(milliseconds(18.34), "18.3 ms");
        assert_eq!(milliseconds(1_234.0), "1,234 ms");
        assert_eq!(milliseconds(12_340.0), "12.3 s");
        assert_eq!(bits_per_second(472_000_000.0), "472 Mbit/s");
        assert_eq!(bits_per_second(999_900.0), "1.00 Mbit/s");
        assert_eq!(kibibytes(62.5), "62.5 KiB");
        assert_eq!(kibibytes(1240.0), "1.21 MiB");
        assert_eq!(microseconds(2.408), "2.41 µs");
        assert_eq!(share(0.125), "12.5 %");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(quantity(49_999.6), "50,000");
        assert_eq!(quantity(2.5), "2.5");
        assert_eq!(milliseconds(20.0), "20.0 ms");
    }

    #[test]
    fn a_brief_figure_has_no_zeros_behind() {
        assert_eq!(brief(&milliseconds(20.0)), "20 ms");
        assert_eq!(brief(&share(0.0005)), "0.05 %");
        assert_eq!(brief(&share(0.1)), "10 %");
        assert_eq!(brief("1,200"), "1,200");
    }

    #[test]
    fn a_long_time_is_in_minutes_and_hours() {
        assert_eq!(seconds(12.0), "12 s");
        assert_eq!(seconds(59.99), "1 min");
        assert_eq!(seconds(125.0), "2 min 5 s");
        assert_eq!(seconds(12_000.0), "3 h 20 min");
    }

    #[test]
    fn no_number_is_a_dash() {
        for show in [milliseconds, share, bits_per_second, quantity, seconds, kibibytes, microseconds] {
            assert_eq!(show(f64::NAN), NONE);
            assert_eq!(show(f64::INFINITY), NONE);
        }
        assert_eq!(or_none(None, share), NONE);
    }
}
