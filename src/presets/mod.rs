//! Sessions by name: models and SAEs that belong together, as data in `presets.toml`.

use std::sync::OnceLock;

use prunelens_core::{
    error::{Error, Result},
    hub::HubId,
    session::{Layer, Source, layers::ranges},
};
use serde::Deserialize;

/// Presets that differ in their layer only.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Family {
    /// Without the layer.
    pub name: String,
    pub about: String,
    /// Empty for the demo, which has none to choose.
    #[serde(default)]
    pub layers: Vec<usize>,
    model: Option<String>,
    sae: Option<String>,
    trained_sae: Option<String>,
    /// Layers that have a trained SAE, if not all do.
    trained_layers: Option<Vec<usize>>,
    /// Can be used instead of pruning the model here.
    pruned_model: Option<String>,
    dtype: Option<String>,
    #[serde(default)]
    pub sizes: Sizes,
    /// What `{each}` stands for, by position in `layers`.
    #[serde(default)]
    each: Vec<String>,
}

/// About how much is downloaded, in millions of bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Sizes {
    pub model: u64,
    pub sae: u64,
    pub trained_sae: u64,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preset {
    pub name: String,
    pub about: String,
    pub model: Option<String>,
    pub sae: Option<String>,
    pub trained_sae: Option<String>,
    pub pruned_model: Option<String>,
    pub dtype: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    preset: Vec<Family>,
}

/// All of them.
pub fn families() -> &'static [Family] {
    static FAMILIES: OnceLock<Vec<Family>> = OnceLock::new();
    // The table is compiled in, and a test reads it.
    FAMILIES.get_or_init(|| toml::from_str::<Table>(include_str!("presets.toml")).map_or(Vec::new(), |t| t.preset))
}

/// Whether this is meant to be a preset's name rather than a file's.
pub fn is_name(text: &str) -> bool {
    families().iter().any(|family| family.model_name() == text.split('/').next().unwrap_or(text))
}

/// The preset of this name, or what there is instead.
pub fn find(name: &str) -> Result<Preset> {
    let name = name.trim_end_matches('/');
    if let Some(family) = families().iter().find(|family| family.layers.is_empty() && family.name == name) {
        return Ok(family.preset(None));
    }
    let (stem, layer) = name.rsplit_once('/').unwrap_or((name, ""));
    let known = |name: &str| families().iter().find(|family| family.name == name && !family.layers.is_empty());
    let family = known(name).or_else(|| known(stem)).ok_or_else(|| {
        let names: Vec<String> = families().iter().map(Family::pattern).collect();
        Error::invalid(format!(
            "there is no preset {:?}; there are {}",
            prunelens_core::text::shorten(name, 80),
            names.join(", ")
        ))
    })?;
    let layer = layer.parse::<usize>().ok().filter(|layer| family.name == stem && family.layers.contains(layer));
    layer.map(|layer| family.preset(Some(layer))).ok_or_else(|| {
        Error::invalid(format!(
            "there is no preset {:?}: {} has the layers {}; add one, as in {}/{}",
            prunelens_core::text::shorten(name, 80),
            family.name,
            ranges(&family.layers),
            family.name,
            family.layers[0]
        ))
    })
}

/// SAEs of all layers and which is the session's own, where its model and SAE are those of a preset; those trained on the pruned
/// model where the session's own is the preset's.
pub fn layers(model: &Source, sae: &Source, trained_sae: Option<&Source>) -> (Vec<Layer>, Option<usize>) {
    let hub = |text: &Option<String>| text.as_deref().and_then(HubId::parse).map(Source::Hub);
    let is = |preset: &Preset| hub(&preset.model).as_ref() == Some(model) && hub(&preset.sae).as_ref() == Some(sae);
    let found = families().iter().find_map(|family| {
        let own = family.presets().into_iter().find(is)?;
        Some((family, own)).filter(|_| family.layers.len() > 1)
    });
    let Some((family, own)) = found else { return (Vec::new(), None) };
    let trained = trained_sae.is_some() && hub(&own.trained_sae).as_ref() == trained_sae;
    let layer = |number: &usize| {
        let preset = family.preset(Some(*number));
        let other = || hub(&preset.trained_sae).filter(|_| trained);
        // What was trained elsewhere belongs to the session's own layer.
        let trained_sae = if preset.sae == own.sae { trained_sae.cloned() } else { other() };
        Some(Layer { number: *number, sae: hub(&preset.sae)?, trained_sae })
    };
    let layers: Vec<Layer> = family.layers.iter().filter_map(layer).collect();
    let own = layers.iter().find(|layer| layer.sae == *sae).map(|layer| layer.number);
    (layers, own)
}

impl Family {
    /// The part in front of the first slash.
    fn model_name(&self) -> &str {
        self.name.split('/').next().unwrap_or(&self.name)
    }

    /// With a word for the layer.
    pub fn pattern(&self) -> String {
        if self.layers.is_empty() { self.name.clone() } else { format!("{}/LAYER", self.name) }
    }

    /// All presets of the family.
    pub fn presets(&self) -> Vec<Preset> {
        match self.layers.is_empty() {
            true => vec![self.preset(None)],
            false => self.layers.iter().map(|layer| self.preset(Some(*layer))).collect(),
        }
    }

    fn preset(&self, layer: Option<usize>) -> Preset {
        let at = self.layers.iter().position(|l| Some(*l) == layer);
        let each = at.and_then(|at| self.each.get(at)).map_or("", String::as_str);
        let number = layer.map_or(String::new(), |layer| layer.to_string());
        let fill =
            |text: &Option<String>| text.as_ref().map(|text| text.replace("{layer}", &number).replace("{each}", each));
        let trained = self.trained_layers.as_ref().is_none_or(|layers| layer.is_some_and(|l| layers.contains(&l)));
        Preset {
            name: layer.map_or(self.name.clone(), |layer| format!("{}/{layer}", self.name)),
            about: self.about.clone(),
            model: fill(&self.model),
            sae: fill(&self.sae),
            trained_sae: fill(&self.trained_sae).filter(|_| trained),
            pruned_model: self.pruned_model.clone(),
            dtype: self.dtype.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
