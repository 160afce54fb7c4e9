//! From a trained state to an SAE as others read it: for activations as the model gives them.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value};

use super::{
    report::{self, Report},
    spec::TrainSpec,
    state::State,
};
use crate::{
    error::Result,
    model::{HookPoint, Model, Space},
    sae::{Normalize, Sae, SaeConfig, formats},
};

/// Where an SAE was trained, and what it is called.
pub struct Trainee<'a> {
    /// Of the SAE.
    pub name: String,
    /// Whose activations it was trained on.
    pub model: &'a Model,
    /// Where in the model.
    pub hook: HookPoint,
    /// Whether the rows of text began with BOS.
    pub bos: bool,
    /// Tokens in a row.
    pub context: usize,
    /// Names of the text's files.
    pub text: String,
}

impl Trainee<'_> {
    /// Write the SAE that a state has come to, and its report, into a folder that is there.
    pub fn save(&self, state: State, report: &Report, folder: &Path, dtype: DType) -> Result<()> {
        let sae = self.sae(report.settings, state)?;
        let (spec, report) = (report.settings, report.to_json()?);
        // First: a folder with an SAE has its report, whatever ends the process.
        report::write(folder, &report)?;
        formats::save(&sae, folder, dtype, self.metadata(spec, &report))
    }

    fn sae(&self, spec: &TrainSpec, state: State) -> Result<Sae> {
        let (weights, activation) = state.finish(spec);
        let (d_in, d_sae) = (weights.d_in, weights.d_sae);
        let matrix = |values: Vec<f32>| Tensor::from_vec(values, (d_sae, d_in), &Device::Cpu);
        let config = SaeConfig {
            name: self.name.clone(),
            architecture: spec.architecture.saved_as(),
            d_in,
            d_sae,
            hook: self.hook,
            module: None,
            normalize: if spec.layer_norm { Normalize::LayerNorm } else { Normalize::None },
            apply_b_dec_to_input: true,
            prepend_bos: self.bos,
            space: if self.model.processed { Space::Tl } else { Space::Raw },
            source: Value::Null,
            folded: None,
            warnings: Vec::new(),
        };
        Ok(Sae {
            config,
            w_enc: matrix(weights.w_enc)?,
            b_enc: weights.b_enc,
            w_dec: matrix(weights.w_dec)?,
            b_dec: weights.b_dec,
            activation,
            decode_scale: None,
        })
    }

    /// What its `cfg.json` says of the training, beside the `report` of it.
    fn metadata(&self, spec: &TrainSpec, report: &Value) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("model_name".into(), self.model.name.clone().into());
        out.insert("context_size".into(), self.context.into());
        out.insert("dataset_path".into(), self.text.clone().into());
        out.insert("training_architecture".into(), spec.architecture.trained_as().into());
        out.insert("prunelens".into(), report.clone());
        out
    }
}
