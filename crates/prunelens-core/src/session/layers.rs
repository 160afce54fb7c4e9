//! SAEs of several layers under one name: `{layer}` stands for the number, and a listing says which there are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{SessionSpec, Source};
use crate::{
    error::{Error, Result},
    hub::{self, HubId},
    model::HookPoint,
    progress::Listener,
    prune::Compress,
    text::shorten,
};

/// What stands for the layer's number in a name.
pub const PLACE: &str = "{layer}";

/// The SAEs of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Of the block that they read, from 0.
    pub number: usize,
    /// Trained on the original.
    pub sae: Source,
    /// Trained on the pruned copy, where there is one.
    pub trained_sae: Option<Source>,
}

/// Whether a path has a place for the layer's number.
pub fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(PLACE)
}

/// The path of one layer.
pub fn at(pattern: &Path, layer: usize) -> PathBuf {
    pattern.to_string_lossy().replace(PLACE, &layer.to_string()).into()
}

/// `0-3, 5`: numbers in order, with runs put together.
pub fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &n in numbers {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == n => *end = n,
            _ => runs.push((n, n)),
        }
    }
    let text = |(a, b): &(usize, usize)| if a == b { a.to_string() } else { format!("{a}-{b}") };
    runs.iter().map(text).collect::<Vec<_>>().join(", ")
}

impl Source {
    /// Whether its name has a place for the layer's number.
    pub fn is_pattern(&self) -> bool {
        match self {
            Self::Demo => false,
            Self::Path(path) => is_pattern(path),
            Self::Hub(id) => id.inside.contains(PLACE),
        }
    }

    /// That of one layer; the same where its name has no place for the number.
    fn at(&self, layer: usize) -> Self {
        match self {
            Self::Demo => Self::Demo,
            Self::Path(path) => Self::Path(at(path, layer)),
            Self::Hub(id) => Self::Hub(id.at(&id.inside.replace(PLACE, &layer.to_string()))),
        }
    }

    /// Layers that there is something of under this name, ascending.
    fn layers(&self, hub: &hub::Access, listener: Listener) -> Result<Vec<usize>> {
        let mut found = match self {
            Self::Demo => Vec::new(),
            Self::Path(pattern) => on_disk(pattern)?,
            Self::Hub(id) => {
                let names = hub::names(hub.as_ref().map_err(Error::invalid)?, id, listener)?;
                in_repository(id, &names)?
            }
        };
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// The number in the place for it, where a name begins as a pattern does.
fn number(pattern: &str, name: &str) -> Option<usize> {
    let (before, _) = pattern.split_once(PLACE)?;
    let rest = name.strip_prefix(before)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    // No model is so deep that its layers have more digits, and one number has one spelling.
    let number = rest.get(..end).filter(|digits| digits.len() <= 4)?.parse::<usize>().ok()?;
    let filled = pattern.replace(PLACE, &number.to_string());
    let beyond = name.strip_prefix(&filled)?;
    (beyond.is_empty() || beyond.starts_with('/')).then_some(number)
}

/// Layers that a folder of this machine has something of, ascending.
pub fn on_disk(pattern: &Path) -> Result<Vec<usize>> {
    let names: Vec<_> = pattern.components().collect();
    let Some(place) = names.iter().position(|name| is_pattern(name.as_ref())) else { return Ok(Vec::new()) };
    let folder: PathBuf = names[..place].iter().collect();
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    let own = names[place].as_os_str().to_string_lossy();
    let entries = fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))?;
    let mut others = Vec::new();
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match number(&own, &name).filter(|layer| at(pattern, *layer).exists()) {
            Some(layer) => found.push(layer),
            None if others.len() < 6 => others.push(shorten(&name, 40)),
            None => {}
        }
    }
    if found.is_empty() {
        others.sort();
        return Err(Error::file(
            pattern,
            format!(
                "nothing is there for any layer: expected {own} with a number in place of {PLACE}, found {others:?}"
            ),
        ));
    }
    found.sort_unstable();
    Ok(found)
}

fn in_repository(id: &HubId, names: &[String]) -> Result<Vec<usize>> {
    let found: Vec<usize> = names.iter().filter_map(|name| number(&id.inside, name)).collect();
    if found.is_empty() {
        let some: Vec<String> = names.iter().take(6).map(|name| shorten(name, 60)).collect();
        return Err(Error::invalid(format!(
            "{id}: the repository has nothing for any layer: expected {} with a number in place of {PLACE}, found {some:?}",
            id.inside
        )));
    }
    Ok(found)
}

impl SessionSpec {
    /// Whether it names SAEs of several layers, and not only one.
    pub fn is_layered(&self) -> bool {
        !self.layers.is_empty() || self.sae.as_ref().is_some_and(Source::is_pattern)
    }

    /// The same at another layer.
    pub fn at_layer(&self, layer: usize) -> Self {
        Self { layer: Some(layer), ..self.clone() }
    }

    /// Whether an opened session is what this asks for, which may leave the layer open.
    pub fn is_met_by(&self, opened: &Self) -> bool {
        self == opened || self.layer.is_none() && Self { layer: opened.layer, ..self.clone() } == *opened
    }

    /// The same with one SAE and no other, wherever it reads.
    pub fn with_sae(self, sae: Source) -> Self {
        Self { sae: Some(sae), trained_sae: None, layers: Vec::new(), layer: None, hook: None, ..self }
    }

    /// The same without SAEs that were trained on the pruned copy.
    pub fn untrained(self) -> Self {
        let layers = self.layers.into_iter().map(|layer| Layer { trained_sae: None, ..layer }).collect();
        Self { trained_sae: None, layers, ..self }
    }

    /// With names of one layer's SAEs: of the one that was asked for, else of the first. `layers` has all there are. A session
    /// of one SAE stays what it is.
    pub fn of_one_layer(&self, listener: Listener) -> Result<Self> {
        let layers = if self.layers.is_empty() { self.find_layers(listener)? } else { self.layers.clone() };
        let numbers: Vec<usize> = layers.iter().map(|layer| layer.number).collect();
        let (Some(first), Some(sae)) = (numbers.first(), &self.sae) else {
            return match self.layer {
                Some(layer) => Err(Error::invalid(format!(
                    "--layer {layer}: this session has SAEs of one layer only; put {PLACE} where the number stands in --sae"
                ))),
                None => Ok(self.clone().of_its_copy()),
            };
        };
        let wanted = self.layer.unwrap_or(*first);
        let Some(layer) = layers.iter().find(|layer| layer.number == wanted) else {
            return Err(Error::invalid(format!(
                "--layer {wanted}: there is no SAE of that layer; {} has the layers {}",
                sae.words(),
                ranges(&numbers)
            )));
        };
        Ok(Self {
            sae: Some(layer.sae.clone()),
            trained_sae: layer.trained_sae.clone(),
            hook: self.hook.map(|hook| HookPoint { layer: wanted, ..hook }),
            layer: Some(wanted),
            layers,
            ..self.clone()
        }
        .of_its_copy())
    }

    fn find_layers(&self, listener: Listener) -> Result<Vec<Layer>> {
        let Some(sae) = self.sae.as_ref().filter(|sae| sae.is_pattern()) else { return Ok(Vec::new()) };
        let trained = match &self.trained_sae {
            Some(trained) => trained.layers(&self.hub, listener)?,
            None => Vec::new(),
        };
        let layer = |number| Layer {
            number,
            sae: sae.at(number),
            trained_sae: self.trained_sae.as_ref().filter(|_| trained.contains(&number)).map(|sae| sae.at(number)),
        };
        Ok(sae.layers(&self.hub, listener)?.into_iter().map(layer).collect())
    }

    /// What differs from another session is the SAEs and where and how they read: the models are the same.
    pub fn shares_models(&self, other: &Self) -> bool {
        self.models_alone() == other.models_alone()
    }

    /// Whether both have the same model before it is compressed, on the same calibration.
    pub fn shares_original(&self, other: &Self) -> bool {
        let own = |spec: &Self| Self { compress: Compress::None, ..spec.models_alone() };
        self.pruned_model.is_none() && own(self) == own(other)
    }

    /// All that models are made from, and nothing else.
    fn models_alone(&self) -> Self {
        Self {
            compressions: Vec::new(),
            hook: None,
            sae: None,
            trained_sae: None,
            layers: Vec::new(),
            layer: None,
            kept_memory: 0,
            knob: Default::default(),
            ratio: 0.0,
            criterion: crate::sae::Criterion::Wanda,
            processing: super::Processing::Auto,
            norm_scaling_factor: None,
            bos: true,
            text: None,
            memory: 0,
            results: PathBuf::new(),
            jobs_device: None,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::silent;

    #[test]
    fn the_number_goes_wherever_its_place_is() {
        assert_eq!(at(Path::new("a/l{layer}/sae_{layer}"), 7), Path::new("a/l7/sae_7"));
        assert!(is_pattern(Path::new("a/{layer}")) && !is_pattern(Path::new("a/layer")));
    }

    #[test]
    fn numbers_are_read_where_the_whole_name_fits() {
        assert_eq!(number("blocks.{layer}.hook", "blocks.12.hook"), Some(12));
        assert_eq!(number("l{layer}/sae_{layer}", "l3/sae_3/cfg.json"), Some(3));
        for (pattern, name) in [
            ("blocks.{layer}.hook", "blocks.12.hook_mlp_out"),
            ("l{layer}/sae_{layer}", "l3/sae_4"),
            ("l{layer}", "l03"),
            ("l{layer}", "l"),
            ("l{layer}", "l99999"),
            ("l{layer}", "m3"),
        ] {
            assert_eq!(number(pattern, name), None, "{pattern} {name}");
        }
    }

    #[test]
    fn layers_are_found_in_a_folder_and_one_is_chosen() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["l2/sae", "l10/sae", "l3/other", "notes"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::create_dir_all(folder.path().join("t10")).unwrap();
        let source = |name: &str| Some(Source::Path(folder.path().join(name)));
        let spec = SessionSpec { sae: source("l{layer}/sae"), trained_sae: source("t{layer}"), ..SessionSpec::demo() };
        let one = spec.of_one_layer(&mut silent).unwrap();
        assert_eq!((one.layer, &one.sae, &one.trained_sae), (Some(2), &source("l2/sae"), &None));
        assert_eq!(one.layers.iter().map(|layer| layer.number).collect::<Vec<_>>(), [2, 10]);
        let hook: HookPoint = "blocks.0.hook_mlp_out".parse().unwrap();
        let other = SessionSpec { hook: Some(hook), ..one }.at_layer(10).of_one_layer(&mut silent).unwrap();
        assert_eq!((&other.sae, &other.trained_sae), (&source("l10/sae"), &source("t10")));
        assert_eq!(other.hook, Some("blocks.10.hook_mlp_out".parse().unwrap()));
        let refused = |spec: SessionSpec| spec.of_one_layer(&mut silent).unwrap_err().to_string();
        assert!(
            refused(spec.at_layer(5)).contains("--layer 5: there is no SAE of that layer"),
            "{}",
            refused(spec.at_layer(5))
        );
        assert!(refused(spec.at_layer(5)).ends_with("has the layers 2, 10"));
        let nothing = SessionSpec { sae: source("x{layer}"), ..spec };
        assert!(
            refused(nothing.clone()).contains("expected x{layer} with a number in place of {layer}"),
            "{nothing:?}"
        );
        assert!(refused(SessionSpec::demo().at_layer(1)).contains("one layer only"));
    }

    #[test]
    fn layers_are_found_in_a_repository() {
        let id = HubId::parse("owner/saes/v5_layer_{layer}.pt").unwrap();
        let names = ["README.md", "v5_layer_0.pt", "v5_layer_11.pt", "v5_layer_1.txt"].map(String::from);
        assert_eq!(in_repository(&id, &names).unwrap(), [0, 11]);
        assert!(in_repository(&id, &names[..1]).unwrap_err().to_string().contains("README.md"));
    }

    #[test]
    fn sessions_that_differ_in_their_saes_share_models() {
        let demo = SessionSpec::demo();
        assert!(demo.shares_models(&SessionSpec { trained_sae: None, ratio: 0.5, ..demo.clone() }.at_layer(3)));
        assert!(!demo.shares_models(&SessionSpec { compress: "wanda:0.3".parse().unwrap(), ..demo.clone() }));
        assert!(!demo.shares_models(&SessionSpec { model: Source::Path("x".into()), ..demo.clone() }));
    }
}
