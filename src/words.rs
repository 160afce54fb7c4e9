//! Durations in words, for screens and for commands. Bytes are [`prunelens_core::text::bytes`].

/// A duration: `0:12`, `3 min`, `2 h 05`.
pub fn time(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "?".into();
    }
    let s = seconds.clamp(0.0, 1e9).round() as u64;
    match s {
        0..100 => format!("{}:{:02}", s / 60, s % 60),
        100..3600 => format!("{} min", (s + 30) / 60),
        _ => format!("{} h {:02}", s / 3600, s % 3600 / 60),
    }
}

/// How long ago, roughly.
pub fn ago(seconds: u64) -> String {
    match seconds / 60 {
        0 => "just now".into(),
        minutes @ 1..60 => format!("{minutes} min ago"),
        minutes @ 60..2880 => format!("{} h ago", minutes / 60),
        minutes => format!("{} days ago", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_as_exactly_as_helps() {
        assert_eq!([12.0, 75.0, 180.0, 7500.0, f64::INFINITY].map(time), ["0:12", "1:15", "3 min", "2 h 05", "?"]);
        assert_eq!(
            [59, 60, 7199, 7200, 172_800].map(ago),
            ["just now", "1 min ago", "1 h ago", "2 h ago", "2 days ago"]
        );
    }
}
