//! What can be chosen about a job: described once as data, which gives the form, the flags of `prunelens metrics` and the
//! checks of every value.

use std::collections::BTreeMap;

use prunelens_core::{
    compare::Variant,
    error::{Error, Result},
    sae::{Criterion, Dial, MAX_RATIO},
    session::Session,
    text::shorten,
};
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};
use serde_json::Value;

use crate::data::{DEMO, Data};

/// One parameter of a metric family. Families that mean the same by a parameter share its description.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// "rows"; its flag is `--rows`.
    pub name: &'static str,
    /// One sentence, for the form and for `--help`.
    pub help: &'static str,
    /// Which values it takes.
    pub kind: Kind,
    /// What is taken where nothing is given, as a user would type it; empty where nothing is a value of its own.
    pub default: fn(&Session) -> String,
    /// It is no flag of its own, only a field of forms: a flag of the session or of the command says it.
    pub of_session: bool,
}

/// What a parameter's values are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A whole number in these bounds.
    Count {
        /// Smallest that is taken.
        least: u64,
        /// Largest that is taken.
        most: u64,
    },
    /// A number in these bounds.
    Number {
        /// Smallest that is taken.
        least: f64,
        /// Largest that is taken.
        most: f64,
    },
    /// One pruning ratio.
    Ratio,
    /// Several, or several settings of another knob: whole numbers.
    Ratios,
    /// A knob, and perhaps where it stands.
    Knob,
    /// Several whole numbers in these bounds; `2-5` stands for all from 2 to 5.
    Counts {
        /// Smallest that is taken.
        least: u64,
        /// Largest that is taken.
        most: u64,
    },
    /// Some of the four variants.
    Variants,
    /// One criterion.
    Criterion,
    /// Some criteria.
    Criteria,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Yes or no.
    Flag,
    /// A file or folder.
    Path,
    /// A folder of data sets, or the name of those built in.
    Data,
    /// Words of the user's own, with commas between.
    Words,
}

/// Most numbers or words in one list.
const LONGEST_LIST: usize = 1000;
/// Above any SAE's.
const MAX_RANK: f64 = 1e6;
/// Longest text of a value, in bytes.
const LONGEST_TEXT: usize = 1 << 16;

impl Kind {
    /// The placeholder in help.
    pub fn value_name(self) -> &'static str {
        match self {
            Self::Count { .. } | Self::Number { .. } => "N",
            Self::Ratio => "R",
            Self::Ratios | Self::Counts { .. } | Self::Variants | Self::Criteria | Self::Words => "LIST",
            Self::Criterion | Self::Choice(_) => "NAME",
            Self::Flag => "WHEN",
            Self::Knob => "KNOB",
            Self::Path | Self::Data => "PATH",
        }
    }

    /// The few values there are, where they are few.
    pub fn choices(self) -> Option<Vec<&'static str>> {
        match self {
            Self::Choice(names) => Some(names.to_vec()),
            Self::Criterion => Some(Criterion::ALL.map(Criterion::name).to_vec()),
            Self::Flag => Some(vec!["no", "yes"]),
            _ => None,
        }
    }

    /// What a user typed as a value; the message says what was expected.
    pub fn parse(self, text: &str) -> Result<ParamValue, String> {
        let text = text.trim();
        if text.len() > LONGEST_TEXT {
            return Err(format!("more than {LONGEST_TEXT} bytes"));
        }
        let value = match self {
            Self::Count { .. } => ParamValue::Number(whole(text).ok_or_else(|| self.expected())? as f64),
            Self::Number { .. } | Self::Ratio => ParamValue::Number(text.parse().map_err(|_| self.expected())?),
            Self::Ratios => {
                let numbers = items(text).map(str::parse).collect::<Result<_, _>>();
                ParamValue::Numbers(numbers.map_err(|_| self.expected())?)
            }
            Self::Counts { most, .. } => ParamValue::Numbers(counts(text, most).ok_or_else(|| self.expected())?),
            Self::Variants | Self::Criteria | Self::Words => ParamValue::Words(items(text).map(String::from).collect()),
            Self::Flag => ParamValue::Flag(match text {
                "yes" | "true" | "on" => true,
                "no" | "false" | "off" => false,
                _ => return Err(self.expected()),
            }),
            Self::Data if text == DEMO => ParamValue::Text(DEMO.into()),
            Self::Path | Self::Data => {
                let path = std::path::absolute(text).map_err(|e| format!("{}: {e}", self.expected()))?;
                ParamValue::Text(path.display().to_string())
            }
            Self::Criterion | Self::Knob | Self::Choice(_) => ParamValue::Text(text.to_owned()),
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Whether a value, from wherever it comes, is one of these.
    pub fn check(self, value: &ParamValue) -> Result<(), String> {
        let among = |x: f64, least: f64, most: f64| x >= least && x <= most;
        let fits = match (self, value) {
            (Self::Count { least, most }, ParamValue::Number(x)) => {
                x.fract() == 0.0 && among(*x, least as f64, most as f64)
            }
            (Self::Counts { least, most }, ParamValue::Numbers(all)) => {
                !all.is_empty() && all.iter().all(|x| x.fract() == 0.0 && among(*x, least as f64, most as f64))
            }
            (Self::Number { least, most }, ParamValue::Number(x)) => among(*x, least, most),
            (Self::Ratio, ParamValue::Number(x)) => among(*x, 0.0, MAX_RATIO),
            (Self::Ratios, ParamValue::Numbers(all)) => {
                let whole = |x: f64| x.fract() == 0.0 && among(x, 1.0, MAX_RANK);
                !all.is_empty() && all.iter().all(|x| among(*x, 0.0, MAX_RATIO) || whole(*x))
            }
            (Self::Knob, ParamValue::Text(text)) => text.parse::<Dial>().is_ok(),
            (Self::Criterion | Self::Choice(_), ParamValue::Text(name)) => {
                self.choices().unwrap_or_default().contains(&name.as_str())
            }
            (Self::Path | Self::Data, ParamValue::Text(text)) => !text.is_empty(),
            (Self::Flag, ParamValue::Flag(_)) => true,
            (Self::Variants, _) => value.words().is_some_and(|all| all.iter().all(|w| w.parse::<Variant>().is_ok())),
            (Self::Criteria, _) => value.words().is_some_and(|all| all.iter().all(|w| w.parse::<Criterion>().is_ok())),
            (Self::Words, _) => value.words().is_some(),
            _ => false,
        };
        let short = match value {
            ParamValue::Numbers(all) => all.len() <= LONGEST_LIST,
            ParamValue::Words(all) => all.len() <= LONGEST_LIST,
            _ => true,
        };
        if fits && short { Ok(()) } else { Err(self.expected()) }
    }

    /// Whether a value names a file or folder.
    pub fn is_place(self, value: &str) -> bool {
        match self {
            Self::Path => true,
            Self::Data => value != DEMO,
            _ => false,
        }
    }

    /// What a value must be, in words.
    pub fn expected(self) -> String {
        match self {
            Self::Count { least, most: u64::MAX } => format!("expected a whole number, at least {least}"),
            Self::Count { least, most } => format!("expected a whole number from {least} to {most}"),
            Self::Number { least, most } => format!("expected a number from {least} to {most}"),
            Self::Ratio => format!("expected a number from 0 to {MAX_RATIO}"),
            Self::Ratios => {
                format!("expected numbers from 0 to {MAX_RATIO} with commas between, or bits or ranks of another knob")
            }
            Self::Knob => "expected ratio, bits, rank or latents, or bits:4, rank:128, latents:0.25".into(),
            Self::Counts { least, most } => {
                format!("expected whole numbers from {least} to {most} with commas between, or a range such as 2-5")
            }
            Self::Variants => {
                format!("expected some of {}, with commas between", Variant::ALL.map(Variant::name).join(", "))
            }
            Self::Criteria => {
                format!("expected some of {}, with commas between", Criterion::ALL.map(Criterion::name).join(", "))
            }
            Self::Criterion | Self::Choice(_) | Self::Flag => {
                format!("expected one of {}", self.choices().unwrap_or_default().join(", "))
            }
            Self::Path => "expected a file or folder".into(),
            Self::Data => format!("expected a folder, or {DEMO}"),
            Self::Words => "expected words with commas between".into(),
        }
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn whole(text: &str) -> Option<u64> {
    // Beyond this a double does not hold every whole number.
    text.parse::<u64>().ok().filter(|n| *n <= 1 << 53)
}

fn counts(text: &str, most: u64) -> Option<Vec<f64>> {
    let mut all = Vec::new();
    for item in items(text) {
        let (first, last) = match item.split_once('-') {
            Some((first, last)) => (whole(first.trim())?, whole(last.trim())?),
            None => (whole(item)?, whole(item)?),
        };
        if first > last || last > most || last - first >= LONGEST_LIST as u64 || all.len() > LONGEST_LIST {
            return None;
        }
        all.extend((first..=last).map(|n| n as f64));
    }
    Some(all)
}

/// A value chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParamValue {
    /// Yes or no.
    Flag(bool),
    /// A number.
    #[serde(serialize_with = "plain")]
    Number(f64),
    /// Some numbers.
    Numbers(Vec<f64>),
    /// A word or a path.
    Text(String),
    /// Some words.
    Words(Vec<String>),
}

/// Whole numbers without a fraction.
fn plain<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if x.fract() == 0.0 && x.abs() < 1e15 { serializer.serialize_i64(*x as i64) } else { serializer.serialize_f64(*x) }
}

impl ParamValue {
    /// As options read it: whole numbers are whole.
    fn as_json(&self) -> Value {
        let number = |x: &f64| if x.fract() == 0.0 && x.abs() < 1e15 { (*x as i64).into() } else { Value::from(*x) };
        match self {
            Self::Flag(yes) => (*yes).into(),
            Self::Number(x) => number(x),
            Self::Numbers(all) => all.iter().map(number).collect(),
            Self::Text(text) => text.as_str().into(),
            Self::Words(words) => words.as_slice().into(),
        }
    }

    fn words(&self) -> Option<&[String]> {
        match self {
            Self::Words(words) => Some(words),
            // What an empty list reads back as.
            Self::Numbers(none) if none.is_empty() => Some(&[]),
            _ => None,
        }
    }
}

/// As a user would type it.
impl std::fmt::Display for ParamValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers = |all: &[f64]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        f.write_str(&match self {
            Self::Flag(yes) => if *yes { "yes" } else { "no" }.into(),
            Self::Number(x) => x.to_string(),
            Self::Numbers(all) => numbers(all),
            Self::Text(text) => text.clone(),
            Self::Words(words) => words.join(","),
        })
    }
}

/// What was chosen, by the names of the parameters; what is not here keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Params(pub BTreeMap<String, ParamValue>);

impl Params {
    /// Choose a value, in place of an earlier one.
    pub fn set(&mut self, name: &str, value: ParamValue) {
        self.0.insert(name.to_owned(), value);
    }

    /// Whether every name and value is one that `known` describes; for values from files and flags.
    pub fn check(&self, family: &str, known: &[Param]) -> Result<()> {
        for (name, value) in &self.0 {
            let param = known.iter().find(|p| p.name == name).ok_or_else(|| {
                let names: Vec<_> = known.iter().map(|p| p.name).collect();
                Error::Usage(format!("{family} has no parameter {name:?}; it has {}", names.join(", ")))
            })?;
            param.kind.check(value).map_err(|why| {
                Error::Usage(format!("{family}: {name} = {}: {why}", shorten(&value.to_string(), 200)))
            })?;
        }
        Ok(())
    }

    /// All of it as a family's own options.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T> {
        let values = self.0.iter().map(|(name, value)| (name.clone(), value.as_json())).collect();
        serde_json::from_value(Value::Object(values)).map_err(|e| Error::Usage(format!("parameters: {e}")))
    }

    /// One value, if it was chosen.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let wrong =
            |_| Error::Usage(format!("parameter {name}: {} is of another kind", shorten(&value.to_string(), 200)));
        serde_json::from_value(value.as_json()).map(Some).map_err(wrong)
    }
}

/// Parameters that several families have.
pub const VARIANTS: Param = Param {
    name: "variants",
    help: "Variants to measure, with commas between [default: all that are loaded]",
    kind: Kind::Variants,
    default: |_| String::new(),
    of_session: false,
};

/// What is turned on the SAE that is compressed as its model was.
pub const KNOB: Param = Param {
    name: "knob",
    help: "What is turned on the pruned variant's SAE: ratio, bits, rank or latents, or bits:4, rank:128, latents:0.25",
    kind: Kind::Knob,
    default: |session| Dial::from(session.setting).to_string(),
    of_session: true,
};

/// Share of the SAE's weights that are set to zero.
pub const RATIO: Param = Param {
    name: "ratio",
    help: "Share of the pruned variant's SAE weights set to zero, where the knob is the ratio",
    kind: Kind::Ratio,
    default: |session| session.spec.ratio.to_string(),
    of_session: true,
};

/// By which the SAE's weights are ranked.
pub const CRITERION: Param = Param {
    name: "criterion",
    help: "How the SAE's weights are ranked for pruning, or its latents",
    kind: Kind::Criterion,
    default: |session| session.spec.criterion.to_string(),
    of_session: true,
};

/// Where data sets lie.
pub const DATA: Param = Param {
    name: "data",
    help: "Folder of the data sets, as `prunelens data` writes them: labelled texts, or entities for ravel; demo: those built in [default: demo on the demo's model]",
    kind: Kind::Data,
    default: |session| Data::of_session(session).map_or_else(String::new, |_| DEMO.into()),
    of_session: false,
};

/// Text that is measured on.
pub const TEXT: Param = Param {
    name: "text",
    help: "Text or tokens to measure on; empty: the session's, else the built-in held-out text",
    kind: Kind::Path,
    default: |session| session.spec.text.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
    of_session: true,
};

/// Tokens of a row or a text where nothing is chosen.
pub const CONTEXT: usize = 128;

/// Tokens of a text that are read.
pub const CONTEXT_SIZE: Param = Param {
    name: "context",
    help: "Tokens in a row [default: 128, or the model's context if that is shorter]",
    kind: Kind::Count { least: 2, most: 1 << 20 },
    default: |session| default_context(session).to_string(),
    of_session: false,
};

/// Tokens of a text that are read, unless others are asked for.
pub fn default_context(session: &Session) -> usize {
    CONTEXT.min(session.models.original.config.n_ctx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_typed_and_written_back() {
        for (kind, text) in [
            (Kind::Count { least: 1, most: u64::MAX }, "64"),
            (Kind::Ratio, "0.25"),
            (Kind::Ratios, "0,0.25,0.5"),
            (Kind::Counts { least: 0, most: 99 }, "1,2,5"),
            (Kind::Variants, "original,pruned"),
            (Kind::Criteria, "wanda,random"),
            (Kind::Knob, "bits:4"),
            (Kind::Ratios, "8,4,2"),
            (Kind::Criterion, "paper"),
            (Kind::Flag, "yes"),
            (Kind::Choice(&["a", "b"]), "b"),
            (Kind::Data, "demo"),
        ] {
            let value = kind.parse(text).unwrap();
            assert_eq!(value.to_string(), text);
            let json = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<ParamValue>(&json).unwrap(), value, "{json}");
        }
        assert_eq!(Kind::Counts { least: 0, most: 99 }.parse("0-3, 7").unwrap().to_string(), "0,1,2,3,7");
        assert_eq!(serde_json::to_string(&ParamValue::Number(64.0)).unwrap(), "64");
        // A folder of the same name is told by its path.
        let folder = Kind::Data.parse("./demo").unwrap().to_string();
        assert!(std::path::Path::new(&folder).is_absolute() && folder.ends_with("demo"), "{folder}");
        assert!(Kind::Data.is_place(&folder) && !Kind::Data.is_place("demo") && !Kind::Words.is_place("a"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (kind, text) in [
            (Kind::Count { least: 1, most: 10 }, "0"),
            (Kind::Count { least: 1, most: 10 }, "11"),
            (Kind::Count { least: 1, most: 10 }, "2.5"),
            (Kind::Count { least: 1, most: u64::MAX }, "18446744073709551615"),
            (Kind::Ratio, "1"),
            (Kind::Ratio, "NaN"),
            (Kind::Ratios, ""),
            (Kind::Ratios, "0.5,inf"),
            (Kind::Counts { least: 0, most: 1_000_000 }, "0-999999"),
            (Kind::Counts { least: 0, most: 9 }, "5-2"),
            (Kind::Variants, "best"),
            (Kind::Criterion, ""),
            (Kind::Flag, "maybe"),
        ] {
            let why = kind.parse(text).unwrap_err();
            assert!(why.contains("expected"), "{kind:?} {text:?}: {why}");
        }
    }

    #[test]
    fn unknown_and_misfitting_parameters_are_named() {
        let known = [VARIANTS, RATIO];
        let params = |json: &str| serde_json::from_str::<Params>(json).unwrap();
        assert!(params(r#"{"ratio": 0.5, "variants": []}"#).check("core", &known).is_ok());
        let message = params(r#"{"rows": 5}"#).check("core", &known).unwrap_err().to_string();
        assert!(message.contains("rows") && message.contains("variants, ratio"), "{message}");
        for json in [r#"{"ratio": 2}"#, r#"{"ratio": "x"}"#, r#"{"variants": ["x"]}"#, r#"{"variants": 3}"#] {
            let message = params(json).check("core", &known).unwrap_err().to_string();
            assert!(message.contains("expected"), "{message}");
        }
    }
}
