//! The settings, each said once: as a flag and as a key of session files, with its help and its example.

// Their docs are what --help shows, where brackets stand around what can be left out.
#![allow(rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;

use clap::{Args, Command, ValueEnum};
use prunelens_core::{
    sae::{Criterion, Dial},
    session::{Compress, DeviceSpec, Processing},
};
use serde::Deserialize;

use super::values::{self, HookName};

/// A struct of settings that may each be left open: parts of the same kind, then fields, each with what a session file shows
/// as its value: the default, where there is one. Without that a field is a flag only.
macro_rules! settings {
    ($(#[$meta:meta])* $Name:ident {
        $(..$part:ident: $Part:ty,)*
        $($(#[$about:meta])* $field:ident: $Kind:ty = $example:expr,)*
    }) => {
        #[derive(Args, Deserialize, Clone, Debug, Default)]
        #[serde(rename_all = "kebab-case", default)]
        $(#[$meta])*
        pub struct $Name {
            $(#[command(flatten)] #[serde(skip)] pub $part: $Part,)*
            $($(#[$about])* pub $field: Option<$Kind>,)*
        }

        impl $Name {
            /// Each setting as it is here, or else as it is there.
            pub fn or(self, other: Self) -> Self {
                Self { $($part: self.$part.or(other.$part),)* $($field: self.$field.or(other.$field),)* }
            }

            fn examples() -> Vec<(&'static str, Option<&'static str>)> {
                let parts: Vec<Vec<_>> = vec![$(<$Part>::examples()),*];
                parts.into_iter().flatten().chain([$((stringify!($field), $example)),*]).collect()
            }
        }
    };
}

settings! {
    /// Models: what `train` and `prune model` need, too.
    #[command(next_help_heading = "Session")]
    ModelSettings {
        /// Session file (TOML) with any of these settings, or the name of a preset; flags override it.
        #[arg(long, value_name = "FILE-or-NAME")]
        #[serde(skip)]
        session: PathBuf = None,
        /// Original model: a Hugging Face folder, or a hub id such as openai-community/gpt2 [default: the demo].
        #[arg(long, value_name = "PATH-or-ID")]
        model: PathBuf = Some(r#""models/gpt2""#),
        /// A model compressed elsewhere, pruned or quantised, instead of --compress.
        #[arg(long = "compressed-model", visible_alias = "pruned-model", value_name = "PATH-or-ID", conflicts_with = "compress")]
        #[serde(alias = "compressed-model")]
        pruned_model: PathBuf = Some(r#""models/gpt2-pruned""#),
        /// How to compress the model: wanda:RATIO or N:M, wanda:heads:RATIO, wanda:neurons:RATIO, shortgpt:RATIO, magnitude:RATIO, paper:RATIO, sparsegpt:RATIO or N:M, iterative:PASSES:RULE, rtn:intBITS[:gN][:asym], rtn:fp8, gptq:intBITS[:gN][:actorder], awq:intBITS[:gN], svd:SHARE, asvd:SHARE, svd-llm:SHARE, several joined by +, or none; in the explorer, given more than once, copies to change between [default: wanda:0.5].
        #[arg(long, value_name = "SPEC")]
        #[serde(deserialize_with = "values::from_texts")]
        compress: Vec<Compress> = Some(r#""wanda:0.5""#),
        /// Calibration text or tokens: .txt, .jsonl ("text") or .safetensors ("tokens") [default: built in].
        #[arg(long, value_name = "FILE")]
        calibration: PathBuf = Some(r#""text.txt""#),
        /// Rows of a calibration text that are read, from its beginning [default: 32; Wanda's and GPTQ's papers: 128].
        #[arg(long, value_name = "N", value_parser = values::rows())]
        #[serde(deserialize_with = "values::rows_from")]
        calibration_rows: u64 = Some("128"),
        /// Tokens in each of these rows [default: 256; Wanda's and GPTQ's papers: 2048].
        #[arg(long, value_name = "N", value_parser = values::rows())]
        #[serde(deserialize_with = "values::rows_from")]
        calibration_length: u64 = Some("2048"),
        /// auto, cpu, cuda or cuda:N [default: auto].
        #[arg(long, value_name = "DEVICE")]
        #[serde(deserialize_with = "values::from_text")]
        device: DeviceSpec = Some(r#""auto""#),
        /// Type of the model's weights [default: f32, and bf16 on a GPU].
        #[arg(long, value_name = "TYPE", value_parser = values::dtype())]
        #[serde(deserialize_with = "values::dtype_from")]
        dtype: candle_core::DType = Some(r#""f32""#),
        /// Processor threads to use [default: all].
        #[arg(long, value_name = "N", value_parser = values::threads())]
        #[serde(deserialize_with = "values::threads_from")]
        threads: u64 = Some("4"),
        /// Most that is kept on disk of what took long to make, such as 500MiB or 4GiB [default: 4GiB].
        #[arg(long, value_name = "SIZE", value_parser = values::size_in_bytes)]
        #[serde(deserialize_with = "values::size_from")]
        cache_size: u64 = Some(r#""4GiB""#),
        /// Keep nothing of what took long to make, and use nothing that is kept.
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide_possible_values = true)]
        no_cache: bool = Some("false"),
        /// Never touch the network: take only what is on this machine.
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide_possible_values = true)]
        offline: bool = Some("false"),
    }
}

settings! {
    /// Models, SAEs and how to read them: shared by explore, render, inspect, metrics and bench.
    #[command(next_help_heading = "Session")]
    SessionSettings {
        ..model: ModelSettings,
        /// Pretrained SAE: a folder or file, or a hub id; {layer} in its name stands for the numbers of all layers that have one [default: the demo's, with the demo model].
        #[arg(long, value_name = "PATH-or-ID")]
        sae: PathBuf = Some(r#""saes/blocks.8.hook_resid_post""#),
        /// SAE trained on the pruned model; with {layer} in its name where --sae has it.
        #[arg(long, value_name = "PATH-or-ID")]
        trained_sae: PathBuf = Some(r#""saes/trained-on-pruned""#),
        /// Where the SAE reads, such as blocks.8.hook_resid_post, or blocks.{layer}.hook_resid_post [default: as the SAE's config says].
        #[arg(long, value_name = "NAME")]
        #[serde(deserialize_with = "values::from_text")]
        hook: HookName = Some(r#""blocks.8.hook_resid_post""#),
        /// Layer to begin with, of the demo or where --sae has {layer} in it [default: the first].
        #[arg(long, value_name = "N")]
        layer: usize = Some("8"),
        /// Memory for what is not on screen and can be at once, SAEs of other layers and other compressed copies, such as 500MiB or 4GiB [default: 2GiB].
        #[arg(long, value_name = "SIZE", value_parser = values::size_in_bytes)]
        #[serde(deserialize_with = "values::size_from")]
        kept_memory: u64 = Some(r#""2GiB""#),
        /// What is turned on the SAE that is compressed as the model was: ratio, bits[:2-8], rank[:N] or latents[:SHARE] [default: ratio].
        #[arg(long, value_name = "KNOB", value_parser = values::knob)]
        #[serde(deserialize_with = "values::from_text")]
        knob: Dial = Some(r#""ratio""#),
        /// Share of the SAE's weights set to zero, 0 to 0.99, where the knob is the ratio [default: 0.25].
        #[arg(long, value_name = "R", value_parser = values::ratio)]
        #[serde(deserialize_with = "values::ratio_from")]
        ratio: f64 = Some("0.25"),
        /// How the SAE's weights are ranked for pruning, or its latents [default: wanda].
        #[arg(long, value_name = "NAME", value_parser = values::criterion())]
        #[serde(deserialize_with = "values::from_text")]
        criterion: Criterion = Some(r#""wanda""#),
        /// Read activations as TransformerLens' weight processing gives them [default: auto].
        #[arg(long, value_name = "WHEN", value_parser = values::processing())]
        #[serde(deserialize_with = "values::from_text")]
        tl_processing: Processing = Some(r#""auto""#),
        /// Average-norm factor of an SAE whose files lack it (SAELens' expected_average_only_in).
        #[arg(long, value_name = "F", value_parser = values::factor)]
        #[serde(deserialize_with = "values::factor_from")]
        norm_scaling_factor: f64 = Some("1.0"),
        /// Do not put a BOS token before the prompt.
        #[arg(long = "no-bos", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide_possible_values = true, value_parser = values::not)]
        bos: bool = Some("true"),
        /// Text or tokens for metric jobs: .txt, .jsonl ("text") or .safetensors ("tokens") [default: built in].
        #[arg(long, value_name = "FILE")]
        text: PathBuf = Some(r#""held-out.txt""#),
        /// Text or tokens in which examples of latents are looked for [default: the calibration's].
        #[arg(long, value_name = "FILE")]
        corpus: PathBuf = Some(r#""corpus.jsonl""#),
        /// Memory for what is known of that text, such as 500MiB or 4GiB [default: 1GiB].
        #[arg(long, value_name = "SIZE", value_parser = values::size_in_bytes)]
        #[serde(deserialize_with = "values::size_from")]
        corpus_memory: u64 = Some(r#""1GiB""#),
        /// Folder for result files [default: see `prunelens doctor`].
        #[arg(long, value_name = "DIR")]
        results: PathBuf = Some(r#""results""#),
        /// Where the explorer's metric jobs run, with copies of models and SAEs: cpu, cuda or cuda:N [default: --device].
        #[arg(long, value_name = "DEVICE")]
        #[serde(deserialize_with = "values::from_text")]
        jobs_device: DeviceSpec = Some(r#""cpu""#),
    }
}

settings! {
    /// How the explorer looks.
    #[command(next_help_heading = "Display")]
    DisplaySettings {
        /// A built-in theme, or a theme file (TOML) [default: by the terminal's background].
        #[arg(long, value_name = "NAME|FILE")]
        theme: String = Some(r#""dark""#),
        /// Colours the terminal can show [default: auto].
        #[arg(long, value_name = "DEPTH")]
        color: ColorChoice = Some(r#""auto""#),
        /// Draw with ASCII characters only, as the explorer does where the locale is of no UTF-8.
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide_possible_values = true)]
        ascii: bool = Some("false"),
        /// Take the mouse, which selecting text then needs Shift for.
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide_possible_values = true)]
        mouse: bool = Some("false"),
    }
}

settings! {
    /// All of them: what the explorer is told, and what a session file may say.
    Settings {
        ..session: SessionSettings,
        ..display: DisplaySettings,
    }
}

impl From<ModelSettings> for Settings {
    fn from(model: ModelSettings) -> Self {
        SessionSettings { model, ..SessionSettings::default() }.into()
    }
}

impl From<SessionSettings> for Settings {
    fn from(session: SessionSettings) -> Self {
        Self { session, ..Self::default() }
    }
}

/// Colour depth of the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColorChoice {
    /// What the environment says (NO_COLOR, COLORTERM, TERM).
    #[default]
    Auto,
    Truecolor,
    #[value(name = "256")]
    #[serde(rename = "256")]
    Indexed,
    #[value(name = "16")]
    #[serde(rename = "16")]
    Ansi,
    None,
}

/// A key of session files.
pub struct Key {
    pub name: String,
    /// The flag's help, in the words of a file.
    pub about: String,
    pub example: &'static str,
}

/// The key whose flag is `--no-bos`.
const BOS: &str = "bos";

/// All of them, in the order of the flags.
pub fn keys() -> Vec<Key> {
    let command = Settings::augment_args(Command::new("prunelens"));
    let key = |(field, example): (&str, Option<&'static str>)| {
        let arg = command.get_arguments().find(|arg| arg.get_id() == field)?;
        let help = match field {
            // The flag says the contrary of the key.
            BOS => "Put a BOS token before the prompt [default: true]".to_owned(),
            _ => arg.get_help().map(|help| help.to_string().replace("--", "")).unwrap_or_default(),
        };
        let values: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        let values = if values.is_empty() { String::new() } else { format!(" One of {}.", values.join(", ")) };
        Some(Key { name: field.replace('_', "-"), about: format!("{help}.{values}"), example: example? })
    };
    Settings::examples().into_iter().filter_map(key).collect()
}
