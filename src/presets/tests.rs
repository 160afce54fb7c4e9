use std::collections::BTreeSet;

use prunelens_core::{hub::HubId, session::SessionSpec};

use super::*;
use crate::settings::{DisplayArgs, SessionArgs, SessionFile, Settings};

fn settings(session: &std::path::Path) -> SessionSpec {
    let mut args = SessionArgs::default();
    args.model.session = Some(session.to_path_buf());
    Settings::resolve(&args, &DisplayArgs::default(), &|_| None).unwrap().spec
}

#[test]
fn the_table_is_whole() {
    let table: Table = toml::from_str(include_str!("presets.toml")).unwrap();
    assert_eq!(table.preset.len(), families().len());
    let mut names = BTreeSet::new();
    for family in families() {
        assert!(family.each.is_empty() || family.each.len() == family.layers.len(), "{}", family.name);
        assert!(family.layers.is_sorted(), "{}", family.name);
        for preset in family.presets() {
            assert!(names.insert(preset.name.clone()), "{} twice", preset.name);
            assert!(is_name(&preset.name) && find(&preset.name).unwrap() == preset, "{}", preset.name);
            let ids = [&preset.model, &preset.sae, &preset.trained_sae, &preset.pruned_model];
            for id in ids.into_iter().flatten() {
                assert!(HubId::parse(id).is_some() && !id.contains(['{', '}']), "{id}");
            }
            assert_eq!(preset.model.is_some(), family.sizes.model > 0, "{}", preset.name);
            assert_eq!(family.trained_sae.is_some(), family.sizes.trained_sae > 0, "{}", preset.name);
        }
    }
    assert_eq!(names.len(), 1 + 3 * 12 + 3 * 26 + 1 + 3 * 32 + 3 * 4);
}

#[test]
fn a_written_preset_is_the_preset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("session.toml");
    for preset in families().iter().flat_map(Family::presets) {
        std::fs::write(&path, preset.session_file()).unwrap();
        assert_eq!(settings(&path), settings(preset.name.as_ref()), "{}", preset.name);
    }
    assert_eq!(settings("demo".as_ref()), SessionSpec { results: settings(&path).results, ..SessionSpec::demo() });
}

#[test]
fn names_lead_to_ids() {
    let spec = settings("gemma-2-2b/attn/12".as_ref());
    let sae = "google/gemma-scope-2b-pt-att/layer_12/width_16k/average_l0_85";
    assert_eq!(spec.sae, Some(prunelens_core::session::Source::Hub(HubId::parse(sae).unwrap())));
    assert!(spec.trained_sae.is_some());
    assert_eq!(settings("gemma-2-2b/attn/11".as_ref()).trained_sae, None);
}

/// With every line in force the file still parses, and no key is left out.
#[test]
fn every_key_is_there_and_right() {
    let text = find("gpt2-small/resid/8").unwrap().session_file();
    let is_key = |line: &str| template::KEYS.iter().any(|(key, ..)| line.starts_with(&format!("# {key} = ")));
    let all: String =
        text.lines().map(|line| if is_key(line) { &line[2..] } else { line }).flat_map(|line| [line, "\n"]).collect();
    toml::from_str::<SessionFile>(&all).unwrap_or_else(|e| panic!("{e}\n{all}"));
    let table: toml::Table = toml::from_str(&all).unwrap();
    let unknown = toml::from_str::<SessionFile>("no-such-key = 1").unwrap_err().to_string();
    let (_, expected) = unknown.split_once("expected one of ").unwrap();
    let expected: BTreeSet<&str> = expected.trim().split(", ").map(|name| name.trim_matches('`')).collect();
    assert_eq!(table.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
}

#[test]
fn wrong_names_say_what_there_is() {
    let refused = |name: &str| find(name).unwrap_err().to_string();
    for name in ["gpt2-small/resid/12", "gpt2-small/resid", "gpt2-small/resid/-1", "gpt2-small/resid/x"] {
        let text = refused(name);
        assert!(text.contains("layers 0-11") && text.contains("gpt2-small/resid/0"), "{text}");
    }
    assert!(refused("gemma-3-270m/mlp/6").contains("layers 5, 9, 12, 15"));
    for name in ["gpt2-small", "gpt2-small/all/3", "demo/1", "x\u{1b}[2J"] {
        let text = refused(name);
        assert!(text.contains("gpt2-small/resid/LAYER") && !text.contains('\u{1b}'), "{text}");
    }
}
