use std::collections::BTreeSet;

use prunelens_core::hub::HubId;

use super::*;

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

#[test]
fn what_was_trained_elsewhere_belongs_to_the_layer_of_the_session() {
    let family = families().iter().find(|family| family.layers.len() > 1).unwrap();
    let number = family.layers[1];
    let preset = family.preset(Some(number));
    let hub = |text: &Option<String>| Source::Hub(HubId::parse(text.as_deref().unwrap()).unwrap());
    let own = Source::Path("mine".into());
    let (layers, at) = layers(&hub(&preset.model), &hub(&preset.sae), Some(&own));
    assert_eq!((at, layers.len()), (Some(number), family.layers.len()));
    for layer in layers {
        assert_eq!(layer.trained_sae, (layer.number == number).then(|| own.clone()));
    }
}
