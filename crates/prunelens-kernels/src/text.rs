//! Text from strangers, made fit to show, and bytes in words.

/// Whether a character could change what a terminal shows beyond its own cell: control characters, and the marks that
/// reorder or hide text.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Unsafe characters as escapes.
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// At most `limit` characters, escaped.
pub fn shorten(text: &str, limit: usize) -> String {
    let mut out: String = text.chars().take(limit).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    safe(&out)
}

/// Bytes in GiB with one decimal, in whole MiB or KiB below.
pub fn bytes(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    match mib {
        m if m >= 1023.5 => format!("{:.1} GiB", m / 1024.0),
        m if m >= 1.0 => format!("{m:.0} MiB"),
        _ => format!("{:.0} KiB", mib * 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_in_binary_units() {
        assert_eq!([0, 100 << 10, 61 << 20, 3 << 29].map(bytes), ["0 KiB", "100 KiB", "61 MiB", "1.5 GiB"]);
    }
}
