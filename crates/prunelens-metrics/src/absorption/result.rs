//! What an absorption run finds for one variant.

use prunelens_core::{
    compare::Variant,
    error::{Error, Result},
};

use super::{AbsorptionSpec, calculator::WordAbsorption, letter};

/// One variant.
#[derive(Clone, Debug, PartialEq)]
pub struct AbsorptionResult {
    /// Which of the four.
    pub variant: Variant,
    /// All letters, `a` first, as far as they are known.
    pub letters: Vec<LetterResult>,
    /// The figures, if enough letters can be evaluated.
    pub mean: Option<Mean>,
    /// What must be the same for variants that are compared.
    pub basis: Basis,
}

/// One letter of one variant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LetterResult {
    /// The letter, from 0 for a.
    pub class: usize,
    /// F1 of the model's own probe for the letter, on test words.
    pub probe_f1: f64,
    /// Whether that is enough for the letter to count.
    pub counts: bool,
    /// F1 of the best latents, by their number from 1.
    pub sparse_f1: Vec<f64>,
    /// The letter's own latents, best first.
    pub main: Vec<u32>,
    /// Test words of the letter that the model's probe knows.
    pub true_positives: usize,
    /// Those of them that were looked at, with what became of each.
    pub words: Vec<(String, WordAbsorption)>,
}

impl LetterResult {
    /// The letter itself.
    pub fn letter(&self) -> char {
        letter(self.class)
    }

    /// Words whose first letter was absorbed in full.
    pub fn full(&self) -> usize {
        self.words.iter().filter(|(_, w)| w.full).count()
    }

    /// Share of the words that were absorbed in full.
    pub fn full_absorption_rate(&self) -> f64 {
        self.full() as f64 / self.true_positives as f64
    }

    /// Mean share of a word's probe projection that absorbing latents carry.
    pub fn mean_absorption_fraction(&self) -> f64 {
        self.words.iter().map(|(_, w)| w.fraction).sum::<f64>() / self.true_positives as f64
    }
}

/// Figures over the letters that count, under SAEBench's names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// Mean over letters.
    pub mean_absorption_fraction_score: f64,
    /// Mean over letters of the rate of full absorption.
    pub mean_full_absorption_score: f64,
    /// Mean over letters.
    pub mean_num_split_features: f64,
    /// Standard deviation over letters.
    pub std_dev_absorption_fraction_score: f64,
    /// Standard deviation over letters.
    pub std_dev_full_absorption_score: f64,
    /// Standard deviation over letters.
    pub std_dev_num_split_features: f64,
}

impl Mean {
    /// `None` if fewer letters count than the gate asks for.
    pub fn of(letters: &[LetterResult], spec: &AbsorptionSpec) -> Option<Self> {
        let counted: Vec<_> = letters.iter().filter(|l| l.counts).collect();
        if counted.is_empty() || counted.len() < spec.min_feats_for_eval {
            return None;
        }
        let of = |value: fn(&LetterResult) -> f64| moments(counted.iter().map(|&letter| value(letter)));
        let (fraction, full, split) = (
            of(LetterResult::mean_absorption_fraction),
            of(LetterResult::full_absorption_rate),
            of(|l| l.main.len() as f64),
        );
        Some(Self {
            mean_absorption_fraction_score: fraction.0,
            mean_full_absorption_score: full.0,
            mean_num_split_features: split.0,
            std_dev_absorption_fraction_score: fraction.1,
            std_dev_full_absorption_score: full.1,
            std_dev_num_split_features: split.1,
        })
    }
}

/// Mean and sample standard deviation; NaN for the deviation of a single value.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    (mean, (values.map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt())
}

/// What a result rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    /// Of all prompts.
    pub prompts: u64,
    /// Of the model's ground-truth probe.
    pub probe: u64,
    /// Words that probes were trained on.
    pub training_words: usize,
    /// Words that were looked at.
    pub test_words: usize,
}

/// Variants are comparable if they had the same prompts, and those that read the same activations the same probe. `groups`
/// names the latter by their place in `results`.
pub fn check_comparable(results: &[AbsorptionResult], groups: &[Vec<usize>]) -> Result<()> {
    let refuse = |what: &str, a: &AbsorptionResult, b: &AbsorptionResult| {
        Err(Error::invalid(format!(
            "{} and {} were given different {what}: their absorption cannot be compared",
            a.variant, b.variant
        )))
    };
    let words = |r: &AbsorptionResult| (r.basis.prompts, r.basis.training_words, r.basis.test_words);
    for pair in results.windows(2) {
        if words(&pair[0]) != words(&pair[1]) {
            return refuse("words or prompts", &pair[0], &pair[1]);
        }
    }
    for group in groups {
        for pair in group.windows(2) {
            let (a, b) = (&results[pair[0]], &results[pair[1]]);
            let known = |r: &AbsorptionResult| {
                r.letters.iter().map(|l| (l.probe_f1.to_bits(), l.true_positives)).collect::<Vec<_>>()
            };
            if a.basis.probe != b.basis.probe || known(a) != known(b) {
                return refuse("ground-truth probes", a, b);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(class: usize, counts: bool, fractions: &[(f64, bool)]) -> LetterResult {
        let word = |&(fraction, full): &(f64, bool)| {
            (String::new(), WordAbsorption { fraction, full, projection: 1.0, top: None })
        };
        LetterResult {
            class,
            counts,
            main: vec![0; class + 1],
            true_positives: fractions.len(),
            words: fractions.iter().map(word).collect(),
            ..LetterResult::default()
        }
    }

    #[test]
    fn means_are_over_the_letters_that_count() {
        let letters = [
            known(0, true, &[(1.0, true), (0.0, false)]),
            known(1, false, &[(1.0, true)]),
            known(2, true, &[(0.25, false); 4]),
        ];
        let spec = AbsorptionSpec { min_feats_for_eval: 2, ..AbsorptionSpec::default() };
        let mean = Mean::of(&letters, &spec).unwrap();
        assert_eq!(mean.mean_absorption_fraction_score, 0.375);
        assert_eq!(mean.mean_full_absorption_score, 0.25);
        assert_eq!(mean.mean_num_split_features, 2.0);
        assert!((mean.std_dev_full_absorption_score - 0.125_f64.sqrt()).abs() < 1e-12, "sample deviation");
        assert_eq!(Mean::of(&letters, &AbsorptionSpec::default()), None, "2 letters of 20");
        assert_eq!(Mean::of(&[], &AbsorptionSpec { min_feats_for_eval: 0, ..spec }), None);
    }

    #[test]
    fn variants_on_other_words_or_probes_are_refused() {
        let basis = Basis { prompts: 1, probe: 2, training_words: 3, test_words: 4 };
        let result = |variant, basis| AbsorptionResult {
            variant,
            letters: vec![known(0, true, &[(0.5, false)])],
            mean: None,
            basis,
        };
        let check = |b: AbsorptionResult, groups: &[Vec<usize>]| {
            check_comparable(&[result(Variant::Transfer, basis), b], groups).map_err(|e| e.to_string())
        };
        let together = [vec![0, 1]];
        assert_eq!(check(result(Variant::Pruned, basis), &together), Ok(()));
        let other = check(result(Variant::Pruned, Basis { prompts: 9, ..basis }), &together).unwrap_err();
        assert!(other.contains("transfer and pruned were given different words"), "{other}");
        let probe = Basis { probe: 9, ..basis };
        assert!(check(result(Variant::Pruned, probe), &together).unwrap_err().contains("ground-truth probes"));
        assert_eq!(check(result(Variant::Original, probe), &[vec![0], vec![1]]), Ok(()), "another model");
        let mut fewer = result(Variant::Pruned, basis);
        fewer.letters[0].true_positives = 7;
        assert!(check(fewer, &together).is_err());
    }
}
