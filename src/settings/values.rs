//! Readers of values: of flags, where what they refuse is wrong use (exit code 2), and of session files.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use candle_core::DType;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use prunelens_core::{
    model::HookPoint,
    sae::{Criterion, Dial, MAX_RATIO},
    session::{DTYPES, Processing, dtype_by_name, layers::PLACE},
};
use prunelens_metrics::{Kind, ParamValue};
use serde::{Deserialize, Deserializer, de::Error};

const THREADS: RangeInclusive<u64> = 1..=1024;

/// A hook point, or the same of every layer: `blocks.{layer}.hook_resid_post`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookName {
    hook: HookPoint,
    every_layer: bool,
}

impl HookName {
    /// The hook, of a layer that is not named if it is of every one.
    pub fn hook(self) -> HookPoint {
        self.hook
    }

    /// The layer, if one is named.
    pub fn layer(self) -> Option<usize> {
        (!self.every_layer).then_some(self.hook.layer)
    }

    /// The same of one layer.
    pub fn at(self, layer: usize) -> HookPoint {
        HookPoint { layer, ..self.hook }
    }
}

impl From<HookPoint> for HookName {
    fn from(hook: HookPoint) -> Self {
        Self { hook, every_layer: false }
    }
}

impl FromStr for HookName {
    type Err = prunelens_core::error::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let every_layer = name.contains(PLACE);
        let hook = if every_layer { name.replace(PLACE, "0").parse() } else { name.parse() };
        Ok(Self { hook: hook?, every_layer })
    }
}

/// A pruning ratio, 0 to 0.99.
pub fn ratio(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ratio) if (0.0..=MAX_RATIO).contains(&ratio) => Ok(ratio),
        _ => Err(format!("expected a number from 0 to {MAX_RATIO}")),
    }
}

/// The opposite of what is said, where a flag leaves out what its setting has.
pub fn not(text: &str) -> Result<bool, String> {
    text.parse::<bool>().map(|said| !said).map_err(|_| "expected true or false".into())
}

/// A knob, and perhaps where it stands.
pub fn knob(text: &str) -> Result<Dial, String> {
    text.parse::<Dial>().map_err(|e| e.to_string())
}

/// An average-norm factor.
pub fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(factor),
        _ => Err("expected a number above 0".into()),
    }
}

/// Bytes, `500MiB` or `4GiB`; in powers of ten `500MB` or `4GB`.
pub fn size_in_bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("KiB", 1_u64 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    let parsed = units.iter().find_map(|(unit, bytes)| {
        let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        (0.0..1e6).contains(&number).then_some((number * *bytes as f64) as u64)
    });
    parsed.ok_or_else(|| "expected a size such as 500MiB or 4GiB".into())
}

/// The same in a session file.
pub fn size_from<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    size_in_bytes(&text).map(Some).map_err(D::Error::custom)
}

/// A time, up to a day.
pub fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|s| (0.0..=86_400.0).contains(s));
    seconds.ok_or_else(|| "expected a number from 0 to 86400".into())
}

/// Numbers of layers in the order given, `0-11` or `3,7`.
pub fn layers(text: &str) -> Result<Vec<usize>, String> {
    match (Kind::Counts { least: 0, most: 9999 }).parse(text)? {
        ParamValue::Numbers(all) => Ok(all.into_iter().map(|n| n as usize).collect()),
        _ => Err("expected whole numbers".into()),
    }
}

/// Terminal size, `120x36`.
pub fn size(text: &str) -> Result<(u16, u16), String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    match parsed {
        Some((w @ 1..=1000, h @ 1..=1000)) => Ok((w, h)),
        _ => Err("expected WIDTHxHEIGHT in cells, such as 120x36, each from 1 to 1000".into()),
    }
}

pub fn dtype() -> impl TypedValueParser<Value = DType> {
    PossibleValuesParser::new(DTYPES.map(|(name, _)| name))
        .try_map(|name| dtype_by_name(&name).ok_or("unknown element type"))
}

pub fn processing() -> impl TypedValueParser<Value = Processing> {
    PossibleValuesParser::new(Processing::NAMES.map(|(name, _)| name)).try_map(|name| name.parse::<Processing>())
}

pub fn criterion() -> impl TypedValueParser<Value = Criterion> {
    PossibleValuesParser::new(Criterion::ALL.map(Criterion::name)).try_map(|name| name.parse::<Criterion>())
}

pub fn threads() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(THREADS)
}

/// Rows of calibration, and tokens in each.
const ROWS: RangeInclusive<u64> = 1..=100_000;

pub fn rows() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(ROWS)
}

pub fn rows_from<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let n = u64::deserialize(deserializer)?;
    let wrong = || D::Error::custom(format!("{n}: expected a number from 1 to 100000"));
    if ROWS.contains(&n) { Ok(Some(n)) } else { Err(wrong()) }
}

/// A text in a session file, parsed as the flag is.
pub fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
}

/// The same, or a list of them.
pub fn from_texts<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        Many(Vec<String>),
    }
    let texts = match Texts::deserialize(deserializer)? {
        Texts::One(text) => vec![text],
        Texts::Many(texts) => texts,
    };
    if texts.is_empty() {
        return Err(D::Error::custom("expected at least one value, found an empty list"));
    }
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect::<Result<_, _>>().map(Some)
}

pub fn dtype_from<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DType>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let found = dtype_by_name(&name);
    found.map(Some).ok_or_else(|| D::Error::custom(format!("{name:?} is none of f32, bf16 and f16")))
}

pub fn ratio_from<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    number_from("ratio", ratio, deserializer)
}

pub fn factor_from<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    number_from("factor", factor, deserializer)
}

fn number_from<'de, D: Deserializer<'de>>(
    name: &str,
    parse: fn(&str) -> Result<f64, String>,
    deserializer: D,
) -> Result<Option<f64>, D::Error> {
    let number = f64::deserialize(deserializer)?;
    parse(&number.to_string()).map(Some).map_err(|e| D::Error::custom(format!("{name} {number}: {e}")))
}

pub fn threads_from<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let n = u64::deserialize(deserializer)?;
    let wrong = || D::Error::custom(format!("threads {n}: expected a number from 1 to 1024"));
    if THREADS.contains(&n) { Ok(Some(n)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_stop_at_their_limits() {
        for good in ["0", "0.5", "0.99", "5e-1"] {
            assert!(ratio(good).is_ok(), "{good}");
        }
        for bad in ["-0.1", "0.991", "1", "NaN", "inf", "", "50%"] {
            assert!(ratio(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn units_of_bytes_are_what_they_say() {
        assert_eq!(["1.5GiB", "500 MB", "2KiB"].map(size_in_bytes), [Ok(3 << 29), Ok(500_000_000), Ok(2048)]);
        for bad in ["4", "GiB", "-1MB", "4gib", "4G"] {
            assert!(size_in_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(size("120x36"), Ok((120, 36)));
        for bad in ["0x10", "10x0", "1001x5", "120", "x", "-1x5", "99999999999x1"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
