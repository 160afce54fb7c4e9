//! A session file with every key, commented.

use std::fmt::Write;

use super::{Key, keys};
use crate::presets::Preset;

/// The preset as the session file that a person could have written.
pub fn session_file(preset: &Preset) -> String {
    let mut text = format!(
        "# A session of prunelens: open it with `prunelens --session FILE`. Keys are the flags' names, and flags override\n\
         # them; paths are relative to this file. Lines that begin with \"# key =\" are not in force.\n\
         #\n\
         # Made from the preset {}. {}\n",
        preset.name, preset.about
    );
    for Key { name: key, about, example } in keys() {
        let value = match key.as_str() {
            "model" => preset.model.as_deref(),
            "sae" => preset.sae.as_deref(),
            "trained-sae" => preset.trained_sae.as_deref(),
            "dtype" => preset.dtype.as_deref(),
            // Said although it is the default: it is what the session is about.
            "compress" => preset.model.as_ref().map(|_| "wanda:0.5"),
            _ => None,
        };
        // Writing to a string cannot fail.
        let _ = match (value, &preset.pruned_model, key.as_str()) {
            (Some(value), ..) => write!(text, "\n# {about}\n{key} = {value:?}\n"),
            (None, Some(value), "pruned-model") => write!(text, "\n# {about}\n# {key} = {value:?}\n"),
            _ => write!(text, "\n# {about}\n# {key} = {example}\n"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use prunelens_core::{
        hub::HubId,
        session::{SessionSpec, Source},
    };

    use super::*;
    use crate::{
        presets::{Family, families, find},
        settings::{Settings, file::parse},
    };

    fn settings(session: &Path) -> SessionSpec {
        let mut flags = Settings::default();
        flags.session.model.session = Some(session.to_path_buf());
        flags.resolve(&|_| None).unwrap().spec
    }

    #[test]
    fn a_written_preset_is_the_preset() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session.toml");
        for preset in families().iter().flat_map(Family::presets) {
            std::fs::write(&path, session_file(&preset)).unwrap();
            assert_eq!(settings(&path), settings(preset.name.as_ref()), "{}", preset.name);
        }
        let demo = settings("demo".as_ref());
        let SessionSpec { results, hub, cache, libraries, layers, layer, .. } = demo.clone();
        assert_eq!(demo, SessionSpec { results, hub, cache, libraries, layers, layer, ..SessionSpec::demo() });
    }

    #[test]
    fn names_lead_to_ids() {
        let spec = settings("gemma-2-2b/attn/12".as_ref());
        let sae = "google/gemma-scope-2b-pt-att/layer_12/width_16k/average_l0_85";
        assert_eq!(spec.sae, Some(Source::Hub(HubId::parse(sae).unwrap())));
        assert!(spec.trained_sae.is_some());
        assert_eq!(settings("gemma-2-2b/attn/11".as_ref()).trained_sae, None);
    }

    #[test]
    fn a_key_says_what_it_does_and_not_what_its_flag_does() {
        let text = session_file(&find("demo").unwrap());
        assert!(text.contains("# Put a BOS token before the prompt [default: true].\n# bos = true\n"), "{text}");
        let bos = |text: &str| parse(Path::new("x.toml"), text).unwrap().session.bos;
        assert_eq!((bos("bos = true"), bos("bos = false")), (Some(true), Some(false)));
    }

    /// With every line in force the file still parses, and no key is left out.
    #[test]
    fn every_key_is_there_and_right() {
        let text = session_file(&find("gpt2-small/resid/8").unwrap());
        let is_key = |line: &str| keys().iter().any(|key| line.starts_with(&format!("# {} = ", key.name)));
        let all: String = text
            .lines()
            .map(|line| if is_key(line) { &line[2..] } else { line })
            .flat_map(|line| [line, "\n"])
            .collect();
        parse(Path::new("x.toml"), &all).unwrap_or_else(|e| panic!("{e}\n{all}"));
        let table: toml::Table = toml::from_str(&all).unwrap();
        let unknown = parse(Path::new("x.toml"), "no-such-key = 1").unwrap_err().to_string();
        let (_, expected) = unknown.split_once("expected one of ").unwrap();
        let expected: BTreeSet<&str> = expected.trim().split(", ").map(|name| name.trim_matches('`')).collect();
        assert_eq!(table.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    }
}
