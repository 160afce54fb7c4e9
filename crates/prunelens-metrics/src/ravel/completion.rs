//! Whether a completion names the right attribute, by SAEBench's rules for strings.

use std::sync::LazyLock;

use regex::Regex;

/// `text` is the prompt, `label` what it asks for.
pub fn is_right(text: &str, label: &str, completion: &str) -> bool {
    if label.is_empty() {
        return false;
    }
    let wanted = label.to_lowercase();
    let trimmed = completion.split('"').next().unwrap_or_default().trim_matches([' ', '"']);
    let found = trimmed.replace("\\/", "/").to_lowercase();
    if found.is_empty() {
        return false;
    }
    let mentions = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if mentions(&["coord", "latitude", "longitude"]) {
        return is_near(&wanted, &found);
    }
    if ["United States", "United Kingdom"].iter().any(|country| label.contains(country)) {
        let plain = |s: &str| s.trim().replace("the ", "");
        let found = plain(completion);
        return found.starts_with(&plain(label)) || found.starts_with("England");
    }
    if label.contains("South Korea") {
        return found.starts_with("korea") || found.starts_with("south korea");
    }
    if label.contains("North America") {
        return found.contains(&wanted) || found == "na" || found.starts_with("america");
    }
    if label.contains("Mandarin") {
        return wanted.contains(&found) || found == "chinese";
    }
    if text.contains("language") && wanted.contains(',') {
        return wanted.split(',').any(|language| found.contains(language));
    }
    if text.contains("UTC") && wanted.contains('/') {
        return offset_now(label).is_some_and(|offset| is_utc_offset(label, &offset, &found));
    }
    if wanted.chars().count() < found.chars().count() { found.starts_with(&wanted) } else { wanted.starts_with(&found) }
}

/// Coordinates count as right within two degrees, whatever their sign.
fn is_near(wanted: &str, found: &str) -> bool {
    let wanted: Option<f64> = wanted.trim_matches(['-', '\u{2212}']).trim().parse().ok();
    let digits: String = found.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    match (wanted, digits.parse::<f64>()) {
        (Some(wanted), Ok(found)) => (wanted - found).abs() <= 2.0,
        _ => false,
    }
}

/// Today's offset of a named time zone: `+5:30`, `-8:00`, `+0:00`.
fn offset_now(zone: &str) -> Option<String> {
    let zone = jiff::tz::TimeZone::get(zone).ok()?;
    Some(offset_text(zone.to_offset(jiff::Timestamp::now()).seconds()))
}

fn offset_text(seconds: i32) -> String {
    const DAY: i32 = 24 * 3600;
    let ahead = seconds.rem_euclid(DAY);
    let (sign, size) = if ahead < DAY / 2 { ('+', ahead) } else { ('-', DAY - ahead) };
    let (hours, minutes) = (size / 3600, size / 60 % 60);
    // The hours of half an hour are left out, as upstream does.
    if hours == 0 && size >= 1800 { format!("{sign}:{minutes:02}") } else { format!("{sign}{hours}:{minutes:02}") }
}

/// The patterns are constants; one that did not compile would match nothing.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

fn is_utc_offset(zone: &str, offset: &str, found: &str) -> bool {
    static PADDED: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"[+\-]0\d"));
    static WEST: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"-[5-8]"));
    static EAST: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"\+[0-3]"));
    static CLOCK: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"[+\-]?(\d\d?):\d+"));
    static HOURS: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"[+\-](\d+)"));
    let matches = |regex: &Option<Regex>, text: &str| regex.as_ref().is_some_and(|r| r.is_match(text));
    let number = |regex: &Option<Regex>, text: &str| -> Option<i64> {
        regex.as_ref()?.captures(text)?.get(1)?.as_str().parse().ok()
    };
    let hours = offset.split(':').next().unwrap_or_default();
    if found.starts_with(hours) || (matches(&PADDED, found) && found.replacen('0', "", 1).starts_with(hours)) {
        return true;
    }
    let summer = (matches(&WEST, offset) && zone.starts_with("America"))
        || (matches(&EAST, offset) && (zone.starts_with("Europe") || zone.starts_with("Africa")));
    if summer
        && let (Some(found), Some(wanted)) = (number(&CLOCK, found), number(&CLOCK, offset))
        && (found - wanted).abs() <= 1
    {
        return true;
    }
    // The same time counted the other way round the day.
    number(&HOURS, found).is_some_and(|hours| hours > 11 && offset.contains(&(24 - hours).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_begins_the_longer() {
        assert!(is_right("city", "France", " France. Tokyo"));
        assert!(is_right("city", "Italy", "It"));
        assert!(!is_right("city", "Italy", " Spain"));
        assert!(!is_right("city", "Spain", "\"Spain\""), "what comes before the first quote counts");
        assert!(!is_right("city", "", "x") && !is_right("city", "Japan", "  "));
        assert!(is_right("city", "Österreich", " ÖSTER"));
    }

    #[test]
    fn rules_of_single_places() {
        assert!(is_right("city", "United States", " the United States of America"));
        assert!(!is_right("city", "United States", " the united states"), "case counts here");
        assert!(is_right("city", "United Kingdom", "England"));
        assert!(is_right("city", "South Korea", " Korea, Republic"));
        assert!(is_right("city", "North America", " NA") && !is_right("city", "North America", " north"));
        assert!(is_right("city", "Mandarin", " Chinese") && is_right("city", "Mandarin", " man"));
        assert!(is_right("language", "French,German", " german is"));
        assert!(!is_right("speak", "French,German", " german is"));
    }

    #[test]
    fn coordinates_within_two_degrees() {
        assert!(is_right("latitude", "48", " 49.3 N") && !is_right("latitude", "48", " 51"));
        assert!(is_right("longitude", "-70", "\u{2212}71") && !is_right("longitude", "-70", "west"));
        assert!(!is_right("longitude", "far", "71"));
    }

    #[test]
    fn offsets() {
        assert_eq!(offset_text(0), "+0:00");
        assert_eq!(offset_text(19_800), "+5:30");
        assert_eq!(offset_text(-28_800), "-8:00");
        assert_eq!(offset_text(1800), "+:30");
        assert_eq!(offset_text(13 * 3600), "-11:00");
        for (zone, offset, found, right) in [
            ("Asia/Tokyo", "+9:00", "+9", true),
            ("Asia/Tokyo", "+9:00", "+09:00", true),
            ("Asia/Tokyo", "+9:00", "+8:00", false),
            ("America/New_York", "-5:00", "-4:00", true),
            ("Europe/Paris", "+1:00", "2:00", true),
            ("Asia/Tokyo", "+9:00", "-15", true),
            ("Asia/Tokyo", "+9:00", "nine", false),
            ("Asia/Tokyo", "+9:00", "-99999999999999999999", false),
        ] {
            assert_eq!(is_utc_offset(zone, offset, found), right, "{zone} {found}");
        }
        assert!(!is_right("UTC", "Europe/Nowhere", "+1:00"));
        assert!(is_right("UTC offset", "Asia/Tokyo", " +9:00"));
    }
}
