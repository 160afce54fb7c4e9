//! What was looked at, as plain data that can be kept and opened again.

use std::{collections::BTreeMap, path::PathBuf};

use prunelens_core::{
    compare::Variant,
    edit::{Edit, Edits, ErrorTerm},
    sae::Criterion,
    session::Compress,
};
use serde::{Deserialize, Serialize};

use super::{AtlasView, Screen, Shade, Sort, State};
use crate::{safe, settings::SessionSettings};

/// A view: prompt, knob, and where one was. In a file it is the table `view`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SavedView {
    pub prompt: String,
    /// What the slider turns and where it stands, as `--knob` takes it: `ratio:0.25`.
    pub knob: String,
    pub criterion: String,
    /// Where there are SAEs of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// The copy that was on screen, where there are several: as `--compress` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
    /// Folder of the SAE that was trained in the session, where it was `trained`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_sae: Option<PathBuf>,
    /// A second prompt beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_prompt: Option<String>,
    /// Of the prompt's tokens, BOS included.
    #[serde(default)]
    pub token: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latent: Option<u32>,
    /// A latent that stands beside the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<u32>,
    /// The variant that it and the others are looked at in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_on: Option<String>,
    /// `explore`, `latent`, `predictions` or `atlas`.
    #[serde(default)]
    pub screen: String,
    /// `latent`, `difference` or `divergence`.
    #[serde(default)]
    pub shade: String,
    /// A variant, or `difference`.
    #[serde(default)]
    pub sort: String,
    #[serde(default)]
    pub whole_prompt: bool,
    /// Whose texts stand beside the original's.
    #[serde(default)]
    pub beside: String,
    /// How the atlas was looked at, where it was the screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atlas: Option<SavedAtlas>,
    /// As they are written on the command line.
    #[serde(default)]
    pub edits: Vec<String>,
    #[serde(default)]
    pub error_term: String,
    /// Of the weights that it was seen on, by what they are of.
    #[serde(default)]
    pub digests: BTreeMap<String, String>,
}

/// Columns of an atlas by name, and the fate that is shown alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SavedAtlas {
    pub across: String,
    pub up: String,
    /// What orders the list.
    pub by: String,
    #[serde(default)]
    pub smallest_first: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fate: Option<String>,
}

impl SavedAtlas {
    fn of(view: &AtlasView) -> Option<Self> {
        view.atlas.as_ref()?;
        let name = |at| view.name(at).to_owned();
        Some(Self {
            across: name(view.across),
            up: name(view.up),
            by: name(view.rank),
            smallest_first: view.ascending,
            fate: view.fate.map(|fate| fate.name().to_owned()),
        })
    }
}

const SCREENS: [(&str, Screen); 4] = [
    ("explore", Screen::Explore),
    ("latent", Screen::Latent),
    ("predictions", Screen::Predictions),
    ("atlas", Screen::Atlas),
];

const SHADES: [(&str, Shade); 3] =
    [("latent", Shade::Latent), ("difference", Shade::Difference), ("divergence", Shade::Divergence)];

fn name_of<T: PartialEq + Copy>(names: &[(&str, T)], value: T) -> String {
    names.iter().find(|(_, named)| *named == value).map_or(names[0].0, |(name, _)| name).to_owned()
}

fn named<T: Copy>(names: &[(&str, T)], name: &str) -> Option<T> {
    names.iter().find(|(named, _)| *named == name).map(|(_, value)| *value)
}

impl SavedView {
    /// What is looked at now; `None` while there is nothing.
    pub fn of(state: &State) -> Option<Self> {
        let (shown, info) = (state.shown.as_ref()?, state.info.as_ref()?);
        Some(Self {
            prompt: shown.comparison.prompt.clone(),
            knob: format!("{}:{}", state.setting().knob.name(), state.setting().at),
            criterion: state.knobs.criterion().to_string(),
            layer: (!info.layers.is_empty()).then_some(info.layer),
            copy: (!state.copies_here().is_empty()).then(|| state.spec.compress.to_string()),
            trained_sae: info.joined.clone(),
            second_prompt: state.pair.as_ref().map(|pair| pair.text.to_string()),
            token: state.token,
            latent: state.latent,
            pinned: state.latent_view.pinned.as_ref().map(|page| page.latent),
            pinned_on: state.latent_view.pinned.as_ref().map(|_| state.latent_view.both.name().into()),
            screen: name_of(&SCREENS, state.screen),
            shade: name_of(&SHADES, state.shade),
            sort: state.table.sort.name().into(),
            whole_prompt: state.table.whole,
            beside: state.latent_view.beside.name().into(),
            atlas: if state.screen == Screen::Atlas { SavedAtlas::of(&state.atlas) } else { None },
            edits: state.edits.list.iter().map(Edit::to_string).collect(),
            error_term: state.edits.error.to_string(),
            digests: info.digests.iter().cloned().collect(),
        })
    }

    /// With the knob, the copy and the trained SAE as flags have them.
    pub fn turn(&mut self, flags: &SessionSettings) {
        if flags.model.compress.is_some() {
            self.copy = None;
        }
        if flags.trained_sae.is_some() {
            self.trained_sae = None;
        }
        if let Some(ratio) = flags.ratio {
            self.knob = format!("ratio:{ratio}");
        }
        if let Some(knob) = flags.knob {
            self.knob = knob.to_string();
        }
        if let Some(criterion) = flags.criterion {
            self.criterion = criterion.to_string();
        }
    }

    pub fn copy(&self) -> Option<Compress> {
        self.copy.as_ref()?.parse().ok()
    }

    pub fn screen(&self) -> Screen {
        named(&SCREENS, &self.screen).unwrap_or(Screen::Explore)
    }

    pub fn shade(&self) -> Shade {
        named(&SHADES, &self.shade).unwrap_or_default()
    }

    pub fn sort(&self) -> Sort {
        self.sort.parse().map_or(Sort::Difference, Sort::By)
    }

    pub fn criterion(&self) -> Option<Criterion> {
        self.criterion.parse().ok()
    }

    pub fn beside(&self) -> Option<Variant> {
        self.beside.parse().ok()
    }

    pub fn pinned_on(&self) -> Variant {
        self.pinned_on.as_deref().and_then(|name| name.parse().ok()).unwrap_or(Variant::Original)
    }

    /// The edits that can be read and that a dictionary of this size has, and those that it has not.
    pub fn edits(&self, d_sae: usize) -> (Edits, Vec<&str>) {
        let mut edits = Edits { error: self.error_term.parse().unwrap_or_default(), ..Edits::default() };
        let mut refused = Vec::new();
        for text in &self.edits {
            match text.parse::<Edit>() {
                Ok(edit) if (edit.latent as usize) < d_sae => edits.list.push(edit),
                _ => refused.push(text.as_str()),
            }
        }
        (edits, refused)
    }

    /// What of the weights differs from these, by name; what one side does not know differs from nothing.
    pub fn differing<'a>(&'a self, digests: &[(String, String)]) -> Vec<&'a str> {
        let other = |name: &str| digests.iter().find(|(n, _)| n == name).map(|(_, digest)| digest);
        let differs = |(name, digest): &(&String, &String)| other(name).is_some_and(|other| other != *digest);
        self.digests.iter().filter(differs).map(|(name, _)| name.as_str()).collect()
    }

    /// What is written in it that this program does not know, such as the word of a later one.
    pub fn unknown(&self) -> Vec<String> {
        let known = [
            ("screen", &self.screen, named(&SCREENS, &self.screen).is_some()),
            ("shade", &self.shade, named(&SHADES, &self.shade).is_some()),
            ("sort", &self.sort, self.sort == Sort::Difference.name() || self.sort.parse::<Variant>().is_ok()),
            ("beside", &self.beside, self.beside().is_some()),
            ("error-term", &self.error_term, self.error_term.parse::<ErrorTerm>().is_ok()),
        ];
        let unknown = known.into_iter().filter(|(_, word, known)| !word.is_empty() && !known);
        unknown.map(|(name, word, _)| format!("{name} {word:?}")).collect()
    }

    /// In a few words, for the offer to take it up again.
    pub fn summary(&self) -> String {
        let copy = self.copy().map(|copy| format!(", {}", copy.label())).unwrap_or_default();
        let layer = self.layer.map(|layer| format!(", layer {layer}")).unwrap_or_default();
        let latent = self.latent.map(|latent| format!(", #{latent}")).unwrap_or_default();
        let second = if self.second_prompt.is_some() { ", two prompts" } else { "" };
        let edits = match self.edits.len() {
            0 => String::new(),
            1 => ", an edit".into(),
            n => format!(", {n} edits"),
        };
        format!("{}{copy}{layer}{latent}{second}{edits}", safe::line(&self.knob.replace(':', " ")))
    }
}
