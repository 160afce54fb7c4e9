//! `prunelens prune`: a pruned checkpoint or SAE as files, with a report of its sparsity.

mod checkpoint;
mod folder;
mod report;
mod sae;
mod tensors;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use self::{checkpoint::Checkpoint, folder::Staged, report::Matrix, sae::SaeFiles};
use crate::{
    cli::prune::PruneOutput,
    demo,
    error::{Error, Result},
    interrupt, output,
    session::{Compress, Models, Session, SessionSpec, Source},
};

/// The report, beside the weights.
const REPORT: &str = "pruning.json";

/// `prunelens prune model`.
pub fn model(spec: &SessionSpec, output: &PruneOutput) -> Result<()> {
    if spec.pruned_model.is_some() {
        return Err(Error::Usage("prune model makes the pruned model itself; leave out --pruned-model".into()));
    }
    if spec.compress == Compress::None {
        return Err(Error::Usage("nothing to prune: --compress is none".into()));
    }
    let checkpoint = match &spec.model {
        Source::Path(dir) => Checkpoint::Folder(dir.clone()),
        Source::Demo => Checkpoint::Memory { weights: demo::WEIGHTS, others: demo::MODEL_FILES.to_vec() },
    };
    let staged = Staged::new(&output.out, output.force, folder_of(&spec.model))?;
    let models = Models::load(spec, &mut output::listener())?;
    let matrices = checkpoint::write(&checkpoint, &models.pruned, &staged, &mut interrupt::tick)?;
    let mut settings = Map::new();
    settings.insert("model".into(), json!(models.original.name));
    settings.insert("compress".into(), json!(spec.compress.to_string()));
    settings.insert("calibration".into(), json!(models.calibration.label));
    finish(staged, settings, matrices, output, checkpoint::is_weight_file)
}

/// `prunelens prune sae`.
pub fn sae(spec: &SessionSpec, output: &PruneOutput) -> Result<()> {
    let files = match &spec.sae {
        Some(Source::Demo) => SaeFiles::Memory { config: demo::SAE_CONFIG, weights: demo::SAE_WEIGHTS },
        Some(Source::Path(dir)) => SaeFiles::Folder(dir.clone()),
        None => return Err(Error::Usage("an SAE to prune is needed: give its folder with --sae".into())),
    };
    let staged = Staged::new(&output.out, output.force, spec.sae.as_ref().and_then(folder_of))?;
    // The SAE trained on the pruned model has no part in this.
    let session = Session::load(&SessionSpec { trained_sae: None, ..spec.clone() }, &mut output::listener())?;
    let pruning = session.pruning(spec.ratio, spec.criterion, &mut interrupt::tick)?;
    let matrices = sae::write(&files, &session.sae, &pruning, &staged, &mut interrupt::tick)?;
    let mut settings = Map::new();
    settings.insert("sae".into(), json!(session.sae.config.name));
    settings.insert("criterion".into(), json!(spec.criterion.name()));
    settings.insert("ratio".into(), json!(spec.ratio));
    settings.insert("hook".into(), json!(session.hook.to_string()));
    settings.insert("model".into(), json!(session.original.name));
    settings.insert("compression".into(), json!(session.compression));
    settings.insert("calibration".into(), json!(session.calibration.label));
    finish(staged, settings, matrices, output, sae::is_sae_file)
}

fn folder_of(source: &Source) -> Option<&Path> {
    match source {
        Source::Path(dir) => Some(dir),
        Source::Demo => None,
    }
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
    let report = report::Report::new(out.display().to_string(), settings, matrices);
    let json = output::json(&report)?;
    staged.write(REPORT, json.as_bytes())?;
    staged.finish(stale)?;
    if output.json { output::answer(&json) } else { output::answer(&output::printable(&report.table())) }
}
