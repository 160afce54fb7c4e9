//! Figures for other programs.

use std::sync::Arc;

use prunelens::export::Figures;

use crate::session::{PROMPT, Part, SETTING, comparison, table};

fn figures(part: Part) -> Figures {
    Figures {
        model: "demo".into(),
        compression: "wanda 50%".into(),
        sae: "2k topk32".into(),
        comparison: Arc::new(comparison(PROMPT, SETTING, part)),
        tables: vec![Arc::new(table(1.0))],
    }
}

#[test]
fn json_holds_every_variant_and_survival() {
    let json = figures(Part::All).json();
    for variant in ["original", "transfer", "pruned", "trained"] {
        let object = &json["variants"][variant];
        for name in
            ["l0", "mse", "explained_variance", "cossim", "ce_loss_with_sae", "ce_loss_without_sae", "kl_div_with_sae"]
        {
            assert!(object[name].is_f64(), "{variant} {name}");
        }
        assert_eq!(object["top"].as_array().unwrap().len(), json["tokens"]["ids"].as_array().unwrap().len());
    }
    assert_eq!(json["survival"].as_array().unwrap().len(), 20);
    assert_eq!(json["prompt"], PROMPT);
}

#[test]
fn what_is_not_known_yet_is_null_or_empty() {
    let early = figures(Part::Latents);
    assert!(early.json()["variants"]["pruned"]["l0"].is_null());
    assert!(early.csv().contains("\nl0,,,,\n"), "{}", early.csv());
    assert!(early.markdown().contains("| l0 | - | - | - | - |"), "{}", early.markdown());
}

#[test]
fn documents_have_names_of_their_own() {
    let documents = figures(Part::All).documents();
    let names: Vec<_> = documents.iter().map(|d| d.extension.as_str()).collect();
    assert_eq!(names, ["json", "csv", "md", "metrics-1.csv"]);
}
