//! A RAVEL result as SAEBench's file has it.

use serde_json::{Map, Value, json};

use super::{
    RavelSpec,
    run::Outcomes,
    state::Outcome,
    summary::{SCORES, average},
};
use crate::report::{Identity, ResultFile, RunStamp, number};

/// What the run measured beside SAEBench's scores, for the part of the file that is ours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Circumstances {
    /// The model whose answers decided which prompts are used.
    pub asked: String,
    /// The SAE's own hook and the one it was fed from.
    pub hooks: [String; 2],
    /// Of each class: its name, prompts asked and known.
    pub prompts: Vec<(String, usize, usize)>,
    /// Of each attribute: pairs to train and to test on.
    pub pairs: Vec<(usize, usize)>,
    /// Of each attribute: right answers of the unchanged model among the isolation pairs, and all.
    pub unchanged: Vec<(usize, usize)>,
}

/// The file of one variant.
pub fn result_file(
    spec: &RavelSpec,
    identity: &Identity,
    stamp: &RunStamp,
    outcomes: &Outcomes,
    around: &Circumstances,
) -> ResultFile {
    let scores: Map<String, Value> =
        SCORES.iter().map(|(name, score)| ((*name).to_owned(), number(average(outcomes, score)))).collect();
    let mut unstructured = Map::new();
    for (class, attributes) in outcomes {
        let one = |(attribute, outcome): &(&str, &Outcome)| {
            let tally = outcome.tally;
            let scores = json!({
                "cause_score": number(tally.cause_score()),
                "isolation_score": number(tally.isolation_score()),
                "disentangle_score": number(tally.disentanglement_score()),
            });
            (format!("{class}_{attribute}"), scores)
        };
        unstructured.insert(format!("{class}_results"), Value::Object(attributes.iter().map(one).collect()));
    }
    unstructured.insert("prunelens".into(), own(outcomes, around));
    ResultFile {
        eval_config: config(spec, &identity.model_name),
        eval_result_metrics: json!({ "ravel": scores }),
        eval_result_unstructured: Value::Object(unstructured),
        ..ResultFile::new("ravel", identity, stamp)
    }
}

fn config(spec: &RavelSpec, model_name: &str) -> Value {
    let selection: Map<String, Value> =
        spec.entity_attribute_selection.iter().map(|(class, all)| (class.clone(), all.clone().into())).collect();
    json!({
        "entity_attribute_selection": selection,
        "top_n_entities": spec.top_n_entities,
        // Not used by SAEBench either.
        "top_n_templates": 90,
        "full_dataset_downsample": spec.full_dataset_downsample,
        "num_pairs_per_attribute": spec.num_pairs_per_attribute,
        "train_test_split": spec.train_test_split,
        "force_dataset_recompute": false,
        "model_name": model_name,
        "llm_dtype": "float32",
        "llm_batch_size": spec.llm_batch_size,
        "learning_rate": spec.learning_rate,
        "num_epochs": spec.num_epochs,
        "train_mdas": false,
        "n_generated_tokens": spec.n_generated_tokens,
        "random_seed": spec.random_seed,
        "artifact_dir": "",
    })
}

fn own(outcomes: &Outcomes, around: &Circumstances) -> Value {
    let prompts: Map<String, Value> = around
        .prompts
        .iter()
        .map(|(class, asked, known)| (class.clone(), json!({ "asked": asked, "known": known })))
        .collect();
    let attributes = outcomes.iter().flat_map(|(class, all)| all.iter().map(move |(a, o)| (class, a, *o)));
    let counts = around.pairs.iter().zip(&around.unchanged);
    let attributes: Map<String, Value> = attributes
        .zip(counts)
        .map(|((class, attribute, outcome), ((train, test), unchanged))| {
            let losses = &outcome.losses;
            let value = json!({
                "training_pairs": train,
                "test_pairs": test,
                "cause_pairs": outcome.tally.cause.1,
                "isolation_pairs": outcome.tally.isolation.1,
                "latents_selected": outcome.selected,
                "last_training_loss": number(outcome.training_loss),
                "test_loss": number(losses.iter().sum::<f64>() / losses.len() as f64),
                "first_token_cause_score": number(outcome.first.cause_score()),
                "first_token_isolation_score": number(outcome.first.isolation_score()),
                "unchanged_isolation": number(unchanged.0 as f64 / unchanged.1 as f64),
            });
            (format!("{class}_{attribute}"), value)
        })
        .collect();
    json!({
        "prompts_asked_of": around.asked,
        "sae_hook": around.hooks[0],
        "hook_fed": around.hooks[1],
        "prompts": prompts,
        "attributes": attributes,
    })
}
