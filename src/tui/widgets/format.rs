//! Numbers as people read them, in few cells: one format a kind.

pub use prunelens_core::text::bytes;

use crate::words::ago;
pub use crate::words::time;

/// An activation: two decimals below 100, else one.
pub fn activation(value: f32) -> String {
    if value.abs() < 99.995 { format!("{value:.2}") } else { format!("{value:.1}") }
}

/// A share as whole percent, one decimal below 10 %, two where one would leave nothing.
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    match value.abs() {
        0.0 => "0 %".into(),
        size if size < 0.005 => "<0.01 %".into(),
        size if size < 0.05 => format!("{value:.2} %"),
        size if size < 9.95 => format!("{value:.1} %"),
        _ => format!("{value:.0} %"),
    }
}

/// `.93`, for cosines in narrow columns.
pub fn cosine(value: f32) -> String {
    let text = format!("{value:.2}");
    match text.strip_prefix("0.") {
        Some(digits) => format!(".{digits}"),
        None => text.replace("-0.", "-."),
    }
}

/// A loss or a share of variance: three decimals.
pub fn loss(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "-".into() }
}

/// A mean number of latents: one decimal.
pub fn l0(value: f64) -> String {
    if value.is_finite() { format!("{value:.1}") } else { "-".into() }
}

/// A figure of unknown kind: three decimals, fewer when it is large, a power of ten when it is tiny.
pub fn figure(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "-".into(),
        0.0 => "0".into(),
        v if v < 0.0005 => format!("{value:.0e}"),
        v if v < 10.0 => format!("{value:.3}"),
        v if v < 100.0 => format!("{value:.2}"),
        v if v < 1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A rate a second, or a minute where that says more: the number and what it is by.
pub fn pace(rate: f64) -> (String, &'static str) {
    if rate > 0.0 && rate < 1.0 { (format!("{:.0}", 60.0 * rate), "min") } else { (format!("{rate:.0}"), "s") }
}

/// How long ago, of two times in milliseconds; a clock that went back makes it "just now".
pub fn age(now: u64, then: u64) -> String {
    ago(now.saturating_sub(then) / 1000)
}

/// A count: `2.6M`, `124M`, `24k`.
pub fn count(value: u64) -> String {
    let v = value as f64;
    match v {
        v if v >= 9.95e9 => format!("{:.0}B", v / 1e9),
        v if v >= 0.9995e9 => format!("{:.1}B", v / 1e9),
        v if v >= 9.95e6 => format!("{:.0}M", v / 1e6),
        v if v >= 0.9995e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e4 => format!("{:.0}k", v / 1e3),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_format_a_kind() {
        assert_eq!([8.2134, 99.994, 123.46].map(activation), ["8.21", "99.99", "123.5"]);
        assert_eq!([0.0, 0.008, 0.5, 1.0].map(percent), ["0 %", "0.8 %", "50 %", "100 %"]);
        assert_eq!([0.93, 1.0, -0.25].map(cosine), [".93", "1.00", "-.25"]);
        assert_eq!(
            [0.0, 3.4567, 32.0, 1234.5, 1e-5, f64::NAN].map(figure),
            ["0", "3.457", "32.00", "1234", "1e-5", "-"]
        );
        assert_eq!(
            [0.0, 0.05, 0.99, 3.4].map(pace),
            [("0", "s"), ("3", "min"), ("59", "min"), ("3", "s")].map(|(n, by)| (n.into(), by))
        );
        assert_eq!(
            [512, 24_576, 2_600_000, 135_000_000, 1_500_000_000].map(count),
            ["512", "25k", "2.6M", "135M", "1.5B"]
        );
    }
}
