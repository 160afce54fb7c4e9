//! `prunelens prune model|sae`.

use std::path::PathBuf;

use candle_core::DType;
use clap::{Args, Subcommand, ValueEnum};
use prunelens_core::{
    demo,
    error::{Error, Result},
    hub::Kind,
    prune::{
        codes::Codes,
        write::{Change, Checkpoint, Copy, Matrix, Report, SaeFiles, Staged, checkpoint, compressed_tensors, sae},
    },
    session::{Compress, Models, Session, SessionSpec},
};
use serde_json::{Map, Value, json};

use super::setup;
use crate::{
    interrupt, output,
    settings::{ModelSettings, SessionSettings},
};

#[derive(Args, Clone, Debug)]
#[command(subcommand_required = true, arg_required_else_help = false)]
pub struct PruneArgs {
    #[command(subcommand)]
    pub target: PruneTarget,
}

#[derive(Clone, Debug, Subcommand)]
pub enum PruneTarget {
    /// Write a copy of the model with its weights compressed by --compress; with none, as plain floats.
    Model(Box<PruneModelArgs>),
    /// Write a copy of the SAE at a setting of its --knob: weights pruned by --ratio and --criterion, rounded, cut to a rank, or latents dropped.
    Sae(Box<PruneSaeArgs>),
}

#[derive(Args, Clone, Debug)]
#[command(mut_arg("pruned_model", |arg| arg.hide(true)))]
pub struct PruneModelArgs {
    #[command(flatten)]
    pub output: PruneOutput,
    /// How weights are stored: as plain floats, or as compressed-tensors has them (codes of 4 or 8 bits, fp8, 2:4 with a bitmask).
    #[arg(long, value_name = "FORMAT", default_value = "plain")]
    pub format: Format,
    #[command(flatten)]
    pub model: ModelSettings,
}

/// How a model's weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Floats of --dtype, or zeros in the model's own files.
    Plain,
    /// As llm-compressor writes and vLLM reads them.
    CompressedTensors,
}

#[derive(Args, Clone, Debug)]
pub struct PruneSaeArgs {
    #[command(flatten)]
    pub output: PruneOutput,
    #[command(flatten)]
    pub session: SessionSettings,
}

#[derive(Args, Clone, Debug)]
pub struct PruneOutput {
    /// Folder to write; it must not exist, or be empty, unless --force is given.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace files that are already in the folder.
    #[arg(long)]
    pub force: bool,
    /// Print the sparsity report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &PruneArgs) -> Result<()> {
    match &args.target {
        PruneTarget::Model(args) => {
            let spec = setup::headless(args.model.clone())?.spec;
            // What is written is the same wherever it is made.
            let dtype = spec.dtype.unwrap_or(DType::F32);
            write_model(&SessionSpec { dtype: Some(dtype), ..spec }, dtype, args.format, &args.output)
        }
        PruneTarget::Sae(args) => write_sae(&setup::headless(args.session.clone())?.spec, &args.output),
    }
}

/// The report, beside the weights.
const REPORT: &str = "pruning.json";

/// A copy of the model.
fn write_model(spec: &SessionSpec, dtype: DType, format: Format, output: &PruneOutput) -> Result<()> {
    if spec.pruned_model.is_some() {
        return Err(Error::Usage(
            "prune model makes the compressed model itself; leave out --compressed-model (--pruned-model)".into(),
        ));
    }
    let folder = spec.model.locate(Kind::Model, &spec.hub, &mut output::listener())?;
    let checkpoint = match &folder {
        Some(dir) => Checkpoint::Folder(dir.clone()),
        None => Checkpoint::Memory { weights: demo::WEIGHTS, others: demo::MODEL_FILES.to_vec() },
    };
    let staged = Staged::new(&output.out, output.force, folder.as_deref())?;
    let (models, matrices) = match format {
        Format::Plain => {
            let models = Models::load(spec, &mut output::listener())?;
            let copy = Copy { change: change(&spec.compress), dtype };
            let matrices = checkpoint::write(&checkpoint, &models.pruned, copy, &staged, &mut interrupt::tick)?;
            (models, matrices)
        }
        Format::CompressedTensors => {
            has_a_format(&spec.compress)?;
            // Codes are there while the copy is made, and not where it comes from the cache.
            let models =
                Models::load(&SessionSpec { compress: Compress::None, ..spec.clone() }, &mut output::listener())?;
            compressed_tensors::held(&models.original)?;
            let mut codes = Codes::new();
            let rows = models.calibration.rows();
            let made = spec.compress.apply_coded(&models.original, rows, Some(&mut codes), &mut output::listener())?;
            let matrices = compressed_tensors::write(&checkpoint, &made, &codes, dtype, &staged, &mut interrupt::tick)?;
            (models, matrices)
        }
    };
    output::warn(&models.warnings);
    let mut settings = Map::new();
    settings.insert("model".into(), json!(models.original.name));
    settings.insert("compress".into(), json!(spec.compress.to_string()));
    settings.insert("calibration".into(), json!(models.calibration.label));
    finish(staged, settings, matrices, output, checkpoint::is_weight_file)
}

/// Refuse now what compressed-tensors has no place for, before anything is made.
fn has_a_format(compress: &Compress) -> Result<()> {
    if compress.is_coded() || compress.is_two_of_four() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--format compressed-tensors: {compress} gives no codes and no 2:4 matrices; expected rtn or gptq with int4, int8 or fp8 last, \
         wanda:2:4 or sparsegpt:2:4; or take --format plain"
    )))
}

/// What a rule changes of the weights.
fn change(compress: &Compress) -> Change {
    match compress {
        Compress::None => Change::Nothing,
        _ if compress.is_a_mask() => Change::Zeros,
        _ => Change::Values,
    }
}

/// A copy of the SAE.
fn write_sae(spec: &SessionSpec, output: &PruneOutput) -> Result<()> {
    let spec = &spec.of_one_layer(&mut output::listener())?;
    let Some(source) = &spec.sae else {
        return Err(Error::Usage("an SAE to prune is needed: give its folder with --sae".into()));
    };
    let folder = source.locate(Kind::Sae, &spec.hub, &mut output::listener())?;
    // SAEs trained on the pruned model have no part in this.
    let alone = spec.clone().untrained();
    let files = match &folder {
        None => {
            let demo::Files { config, weights, .. } = demo::sae_files(spec.layer)?;
            SaeFiles::Memory { config, weights }
        }
        Some(dir) => SaeFiles::Folder(dir.clone()),
    };
    let staged = Staged::new(&output.out, output.force, folder.as_deref())?;
    let session = Session::load(&alone, &mut output::listener())?;
    output::warn(&session.warnings);
    let pruning = session.pruning(session.setting, &mut interrupt::tick)?;
    let matrices = sae::write(&files, &session.sae, &pruning, &staged, &mut interrupt::tick)?;
    let mut settings = Map::new();
    settings.insert("sae".into(), json!(session.sae.config.name));
    settings.extend(session.setting.entries().into_iter().map(|(name, value)| (name.to_owned(), value)));
    settings.insert("hook".into(), json!(session.hook.to_string()));
    settings.insert("model".into(), json!(session.models.original.name));
    settings.insert("compression".into(), json!(session.models.compression));
    settings.insert("calibration".into(), json!(session.models.calibration.label));
    finish(staged, settings, matrices, output, sae::is_sae_file)
}

/// Put the folder in its place and print the report.
fn finish(
    staged: Staged,
    settings: Map<String, Value>,
    matrices: Vec<Matrix>,
    output: &PruneOutput,
    stale: impl Fn(&str) -> bool,
) -> Result<()> {
    let out: PathBuf = output.out.clone();
    let report = Report::new(out.display().to_string(), settings, matrices);
    let json = output::json(&report)?;
    staged.write(REPORT, json.as_bytes())?;
    staged.finish(stale)?;
    if output.json { output::answer(&json) } else { output::answer(&output::printable(&report.table())) }
}
