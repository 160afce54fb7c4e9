//! `prunelens presets`.

use std::collections::HashMap;

use clap::Args;
use prunelens_core::{
    error::Result,
    hub::{self, HubId, HubSettings, Kind},
    session::layers::ranges,
};
use serde::Serialize;

use crate::{
    output,
    presets::{Family, Preset, Sizes, families},
    settings as config,
};

#[derive(Args, Clone, Debug)]
pub struct PresetsArgs {
    /// Print one JSON object, with every preset.
    #[arg(long)]
    pub json: bool,
}

/// A preset as the JSON lists it.
#[derive(Serialize)]
struct Listed {
    name: String,
    about: String,
    model: Option<Part>,
    sae: Option<Part>,
    trained_sae: Option<Part>,
}

#[derive(Serialize)]
struct Part {
    id: String,
    /// Of the download, approximately.
    bytes: u64,
    /// All of it is in the hub's cache.
    cached: bool,
}

/// Looks things up in the cache, each once.
struct Lookup {
    settings: Option<HubSettings>,
    known: HashMap<String, bool>,
}

impl Lookup {
    fn part(&mut self, id: &Option<String>, kind: Kind, megabytes: u64) -> Option<Part> {
        let id = id.as_ref()?;
        let settings = self.settings.as_ref();
        let look = || Some(hub::cached(settings?, &HubId::parse(id)?, kind).is_some());
        let cached = *self.known.entry(id.clone()).or_insert_with(|| look().unwrap_or(false));
        Some(Part { id: id.clone(), bytes: megabytes * 1_000_000, cached })
    }

    fn listed(&mut self, preset: Preset, sizes: Sizes) -> Listed {
        Listed {
            model: self.part(&preset.model, Kind::Model, sizes.model),
            sae: self.part(&preset.sae, Kind::Sae, sizes.sae),
            trained_sae: self.part(&preset.trained_sae, Kind::Sae, sizes.trained_sae),
            name: preset.name,
            about: preset.about,
        }
    }
}

/// `prunelens presets`.
pub fn run(args: &PresetsArgs) -> Result<()> {
    let mut lookup = Lookup { settings: HubSettings::new(true, &config::environment).ok(), known: HashMap::new() };
    let mut all = |family: &Family| -> Vec<Listed> {
        family.presets().into_iter().map(|preset| lookup.listed(preset, family.sizes)).collect()
    };
    if args.json {
        let presets: Vec<Listed> = families().iter().flat_map(&mut all).collect();
        return output::answer(&output::json(&serde_json::json!({ "presets": presets }))?);
    }
    let mut text = String::new();
    for family in families() {
        let presets = all(family);
        text += &format!("{:<26} {:<14} {}\n", family.pattern(), layers(family), about_size(&presets));
        text += &format!("    {}\n", family.about);
        if let Some(cached) = in_cache(family, &presets) {
            text += &format!("    in the cache: {cached}\n");
        }
    }
    text += "\nprunelens --session NAME opens one; prunelens session init --preset NAME writes it as a file to edit.\n";
    output::answer(&output::printable(&text))
}

fn layers(family: &Family) -> String {
    match family.layers.len() {
        0 => String::new(),
        1 => format!("layer {}", ranges(&family.layers)),
        _ => format!("layers {}", ranges(&family.layers)),
    }
}

/// What a first start downloads.
fn about_size(presets: &[Listed]) -> String {
    let size = |part: &Option<Part>| part.as_ref().map_or(0, |part| part.bytes);
    let Some(first) = presets.first().filter(|first| first.model.is_some()) else {
        return "no download".into();
    };
    let saes = |p: &Listed| size(&p.sae) + size(&p.trained_sae);
    let (least, most) = (presets.iter().map(saes).min().unwrap_or(0), presets.iter().map(saes).max().unwrap_or(0));
    let range = if least == most { readable(most) } else { format!("{} to {}", readable(least), readable(most)) };
    format!("about {} and {range} a layer", readable(size(&first.model)))
}

fn readable(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn in_cache(family: &Family, presets: &[Listed]) -> Option<String> {
    let cached = |part: &Option<Part>| part.as_ref().is_some_and(|part| part.cached);
    let layers = |of: fn(&Listed) -> &Option<Part>| -> Vec<usize> {
        family.layers.iter().zip(presets).filter(|(_, p)| cached(of(p))).map(|(layer, _)| *layer).collect()
    };
    let mut parts = Vec::new();
    if presets.first().is_some_and(|first| cached(&first.model)) {
        parts.push("the model".to_owned());
    }
    for (name, found) in [("SAEs", layers(|p| &p.sae)), ("trained SAEs", layers(|p| &p.trained_sae))] {
        if !found.is_empty() {
            parts.push(format!("{name} of {}", ranges(&found)));
        }
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}
