//! `prunelens inspect model`: how a model's files hold its weights.

use std::path::PathBuf;

use clap::Args;
use prunelens_core::{
    error::{Error, Result},
    hub::Kind,
    model::{Opened, contents::Contents},
};

use crate::{cli::setup, interrupt, output, settings::ModelSettings};

#[derive(Args, Clone, Debug)]
pub struct InspectModelArgs {
    /// A Hugging Face folder, a GGUF file, or a hub id.
    #[arg(value_name = "PATH-or-ID")]
    pub model: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Never touch the network: take only what is on this machine.
    #[arg(long)]
    pub offline: bool,
}

pub fn run(args: &InspectModelArgs) -> Result<()> {
    let settings = ModelSettings {
        model: Some(args.model.clone()),
        offline: args.offline.then_some(true),
        ..ModelSettings::default()
    };
    let spec = setup::headless(settings)?.spec;
    let path = spec.model.locate(Kind::Model, &spec.hub, &mut output::listener())?;
    let path = path.ok_or_else(|| Error::Usage("a model is needed: its folder, its file or its hub id".into()))?;
    let contents = Opened::open(&path)?.contents(&mut interrupt::tick)?;
    output::warn(&contents.warnings);
    output::answer_as(args.json, &contents, || table(&contents))
}

/// For people to read.
fn table(contents: &Contents) -> String {
    let mut rows = vec![["matrix", "shape", "stored as", "bits", "zeros"].map(str::to_owned)];
    rows.extend(contents.matrices.iter().map(|matrix| {
        let shape: Vec<_> = matrix.shape.iter().map(usize::to_string).collect();
        let zeros = 100.0 * matrix.zeros as f64 / matrix.weights.max(1) as f64;
        [
            matrix.name.clone(),
            shape.join("x"),
            matrix.scheme.clone(),
            format!("{:.3}", matrix.bits_per_weight),
            format!("{zeros:.2} %"),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(width);
    let mut text: String = rows
        .iter()
        .map(|[name, shape, scheme, bits, zeros]| {
            format!("{name:<a$}  {shape:>b$}  {scheme:<c$}  {bits:>d$}  {zeros:>e$}\n")
        })
        .collect();
    let whose = if contents.matrices.iter().any(|matrix| matrix.compressed) { "compressed" } else { "the blocks'" };
    text.push_str(&format!(
        "\n{}: {}, {} parameters in {:.1} MB; {whose} matrices: {:.3} bits a weight, {:.2} % zeros\n",
        contents.model,
        contents.family,
        contents.parameters,
        contents.bytes as f64 / 1e6,
        contents.bits_per_weight,
        100.0 * contents.share_of_zeros
    ));
    text
}
