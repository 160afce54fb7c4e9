//! The tables of a RAVEL run, with the settings a reader needs and the warnings that apply.

use prunelens_core::{compare::Variant, text::shorten};

use super::{run::RavelRun, state::Outcome};
use crate::{Better, Detail, MetricRow, MetricTable, details::Cell};

/// Scores of some outcomes, averaged over attributes and then over classes; NaN as long as one is missing.
pub fn average(classes: &[(&str, Vec<(&str, &Outcome)>)], score: impl Fn(&Outcome) -> f64) -> f64 {
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    mean(classes.iter().map(|(_, attributes)| mean(attributes.iter().map(|(_, o)| score(o)).collect())).collect())
}

type Score = (&'static str, fn(&Outcome) -> f64);

/// SAEBench's names, in its order.
pub const SCORES: [Score; 3] = [
    ("disentanglement_score", |o| o.tally.disentanglement_score()),
    ("cause_score", |o| o.tally.cause_score()),
    ("isolation_score", |o| o.tally.isolation_score()),
];

fn known(value: f64) -> Option<f64> {
    Some(value).filter(|v| v.is_finite())
}

/// Right answers among all.
fn share((right, all): (usize, usize)) -> f64 {
    right as f64 / all as f64
}

pub fn table(run: &RavelRun, progress: f64) -> MetricTable {
    let readers = run.readers();
    let outcomes: Vec<_> = (0..readers.len()).map(|r| run.outcomes(r)).collect();
    let unchanged: Vec<_> = (0..readers.len()).map(|r| run.unchanged(r)).collect();
    let mut rows: Vec<MetricRow> = SCORES
        .iter()
        .map(|(name, score)| MetricRow {
            category: "ravel".into(),
            name: (*name).into(),
            better: Better::Higher,
            values: outcomes.iter().map(|o| known(average(o, score))).collect(),
        })
        .collect();
    let mut task = 0;
    for (at, (class, attributes)) in outcomes.first().into_iter().flatten().enumerate() {
        for (which, (attribute, _)) in attributes.iter().enumerate() {
            let category = shorten(&format!("{class}_{attribute}"), 60);
            let mut row = |name: &str, better, values: Vec<f64>| {
                let values = values.into_iter().map(known).collect();
                rows.push(MetricRow { category: category.clone(), name: name.into(), better, values });
            };
            let of = |value: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(|o| value(o[at].1[which].1)).collect();
            row("cause_score", Better::Higher, of(&|o| o.tally.cause_score()));
            row("isolation_score", Better::Higher, of(&|o| o.tally.isolation_score()));
            row("disentangle_score", Better::Higher, of(&|o| o.tally.disentanglement_score()));
            row("unchanged_isolation", Better::Neither, unchanged.iter().map(|u| share(u[task])).collect());
            row("latents_selected", Better::Neither, of(&|o| if o.done { o.selected as f64 } else { f64::NAN }));
            task += 1;
        }
    }
    MetricTable {
        metric: "ravel".into(),
        settings: settings(run),
        variants: readers.iter().map(|r| r.variant).collect(),
        rows,
        warnings: warnings(run),
        progress,
        blocks: Vec::new(),
    }
}

fn settings(run: &RavelRun) -> Vec<(String, String)> {
    let spec = run.spec();
    let known: Vec<String> =
        run.known().iter().map(|(class, all, right)| format!("{} {right} of {all}", shorten(class, 40))).collect();
    let mut settings = vec![
        ("prompts known", known.join(", ")),
        ("entities", format!("at most {}", spec.top_n_entities)),
        ("batch", format!("{} pairs", spec.llm_batch_size)),
        ("training", format!("{} epochs, Adam {}", spec.num_epochs, spec.learning_rate)),
        ("answers", format!("{} tokens", spec.n_generated_tokens)),
        ("seed", spec.random_seed.to_string()),
    ];
    let pairs = run.pair_counts();
    if !pairs.is_empty() {
        let counts: Vec<String> = pairs.iter().map(|(train, test)| format!("{train}/{test}")).collect();
        settings.insert(1, ("pairs trained/tested", counts.join(", ")));
    }
    settings.extend(run.readers().first().map(|r| ("hook", r.hook.to_string())));
    let pruning = run.readers().iter().find_map(|r| r.pruning.as_ref());
    settings.extend(pruning.map(|p| ("sae pruning", p.setting().words())));
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn warnings(run: &RavelRun) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(reader) = run.readers().first()
        && reader.sae.config.hook != reader.hook
    {
        warnings.push(format!(
            "the SAE was trained at {}, but RAVEL, as SAEBench has it, feeds it {}",
            reader.sae.config.hook, reader.hook
        ));
    }
    // A tenth of all test pairs wrong by chance alone moves a score by as much as pruning does.
    const FEW: usize = 100;
    if let Some((_, test)) = run.pair_counts().iter().min_by_key(|(_, test)| *test)
        && *test < FEW
    {
        warnings.push(format!("only {test} pairs to test an attribute on: differences of a few percent are chance"));
    }
    for (at, reader) in run.readers().iter().enumerate() {
        for (class, attributes) in run.outcomes(at) {
            for (attribute, outcome) in attributes.iter().filter(|(_, o)| o.done) {
                let counts = [("cause", outcome.tally.cause.1), ("isolation", outcome.tally.isolation.1)];
                for (kind, _) in counts.iter().filter(|(_, n)| *n == 0) {
                    let name = shorten(&format!("{class} {attribute}"), 60);
                    warnings.push(format!("{}: {name} has no {kind} pair to test on", reader.variant));
                }
            }
        }
    }
    warnings
}

/// One table a variant: attributes with their scores.
pub fn details(run: &RavelRun) -> Vec<Detail> {
    let detail = |at: usize, variant: Variant| {
        let unchanged = run.unchanged(at);
        let outcomes = run.outcomes(at);
        let all = outcomes.iter().flat_map(|(class, attributes)| attributes.iter().map(move |(a, o)| (class, a, o)));
        let rows = all.zip(unchanged).map(|((class, attribute, outcome), unchanged)| {
            let score = |value: f64| Cell::from(known(value));
            vec![
                shorten(class, 40).into(),
                shorten(attribute, 40).into(),
                score(outcome.tally.cause_score()),
                score(outcome.tally.isolation_score()),
                score(outcome.tally.disentanglement_score()),
                outcome.tally.cause.1.into(),
                outcome.tally.isolation.1.into(),
                score(share(unchanged)),
                Some(outcome.selected).filter(|_| outcome.done).into(),
            ]
        });
        let columns = [
            "class",
            "attribute",
            "cause",
            "isolation",
            "disentangle",
            "cause pairs",
            "isolation pairs",
            "unchanged isolation",
            "latents",
        ];
        Detail::table(format!("RAVEL by attribute: {variant}"), columns, rows.collect())
    };
    run.readers().iter().enumerate().map(|(at, reader)| detail(at, reader.variant)).collect()
}
