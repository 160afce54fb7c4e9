//! From accuracies to scores.

/// One class ablated with one number of latents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TppScore {
    /// Intended less unintended.
    pub total: f64,
    /// What the class's own probe loses.
    pub intended: f64,
    /// What the others lose on average.
    pub unintended: f64,
}

/// `ablated` are all probes' accuracies with the latents of `class` ablated, `clean` those without.
pub fn tpp(clean: &[f64], ablated: &[f64], class: usize) -> TppScore {
    let lost = |at: usize| clean[at] - ablated[at];
    let others: Vec<f64> = (0..clean.len()).filter(|at| *at != class).map(lost).collect();
    let (intended, unintended) = (lost(class), others.iter().sum::<f64>() / others.len() as f64);
    TppScore { total: intended - unintended, intended, unintended }
}

/// Share of what the biased probe lacks that ablation gives back: `biased` and `ablated` are its accuracies, `own` that of
/// a probe trained for the label.
pub fn scr(own: f64, biased: f64, ablated: f64) -> f64 {
    const LEAST: f64 = 0.001;
    if own - biased < LEAST { 0.0 } else { (ablated - biased) / (own - biased) }
}

/// Which direction is SCR's metric: the first where the biased probe knows its label less well, the second where the
/// other, none where they are alike.
pub fn scr_direction(biased_first: f64, biased_second: f64) -> Option<usize> {
    match biased_first.partial_cmp(&biased_second)? {
        std::cmp::Ordering::Less => Some(0),
        std::cmp::Ordering::Greater => Some(1),
        std::cmp::Ordering::Equal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores() {
        let found = tpp(&[0.9, 0.8, 0.7], &[0.5, 0.7, 0.7], 0);
        assert!((found.intended - 0.4).abs() < 1e-12 && (found.unintended - 0.05).abs() < 1e-12);
        assert!((found.total - 0.35).abs() < 1e-12);
        assert!((scr(0.9, 0.6, 0.75) - 0.5).abs() < 1e-12);
        assert!(scr(0.9, 0.6, 0.3) < 0.0);
        assert_eq!(scr(0.6, 0.6, 0.9), 0.0);
        assert_eq!(scr(0.5, 0.6, 0.9), 0.0);
        assert_eq!(
            [scr_direction(0.5, 0.6), scr_direction(0.6, 0.5), scr_direction(0.5, 0.5)],
            [Some(0), Some(1), None]
        );
    }
}
