//! Sums over tokens that the figures of a run are made of.

/// Sums over the tokens of a step, or decayed sums over recent steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    pub tokens: f64,
    /// Sum of `|x̂ - x|^2`.
    pub squared_error: f64,
    /// Sum of `|x|^2`.
    pub squared_input: f64,
    /// Number of active latents.
    pub active: f64,
    /// Sum of the penalty for latents that fire, with its weight.
    pub penalty: f64,
    /// Sum of what dead latents are taught by, with its weight; of a gated SAE, of the gates' own reconstruction.
    pub auxiliary: f64,
    /// Sum of `|x̂ - x|^2` of the reconstructions by the first latents alone.
    pub inner: f64,
    /// Sum of `x`.
    pub input: Vec<f64>,
}

impl Sums {
    pub fn new(d_in: usize) -> Self {
        Self { input: vec![0.0; d_in], ..Self::default() }
    }

    /// Of nothing, in the memory that is there.
    pub fn clear(&mut self, d_in: usize) {
        let mut input = std::mem::take(&mut self.input);
        input.clear();
        input.resize(d_in, 0.0);
        *self = Self { input, ..Self::default() };
    }

    pub fn add(&mut self, other: &Self) {
        let pairs = self.scalars_mut().into_iter().zip(other.scalars());
        pairs.for_each(|(mine, theirs)| *mine += theirs);
        self.input.iter_mut().zip(&other.input).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// Forget a share of the past.
    pub fn decay(&mut self, keep: f64) {
        self.scalars_mut().into_iter().for_each(|sum| *sum *= keep);
        self.input.iter_mut().for_each(|sum| *sum *= keep);
    }

    /// `1 - sum |x̂ - x|^2 / sum |x - mean x|^2`; NaN without tokens.
    pub fn explained_variance(&self) -> f64 {
        let mean_squared: f64 = self.input.iter().map(|x| x * x).sum::<f64>() / self.tokens;
        1.0 - self.squared_error / (self.squared_input - mean_squared)
    }

    /// `sum (x̂ - x)^2 / (N d_in)`, in the units trained on.
    pub fn mse(&self) -> f64 {
        self.squared_error / (self.tokens * self.input.len() as f64)
    }

    /// All terms of the loss, for a token.
    pub fn loss(&self) -> f64 {
        (self.squared_error + self.penalty + self.auxiliary + self.inner) / self.tokens
    }

    pub fn l0(&self) -> f64 {
        self.active / self.tokens
    }

    /// The sums as one row of numbers, for checkpoints.
    pub fn to_row(&self) -> Vec<f64> {
        self.scalars().into_iter().chain(self.input.iter().copied()).collect()
    }

    /// Undo [`Self::to_row`]; `None` if the length does not fit.
    pub fn from_row(row: &[f64], d_in: usize) -> Option<Self> {
        let mut sums = Self::new(d_in);
        let (scalars, input) = row.split_at_checked(sums.scalars().len())?;
        sums.scalars_mut().into_iter().zip(scalars).for_each(|(sum, value)| *sum = *value);
        sums.input = input.to_vec();
        (input.len() == d_in).then_some(sums)
    }

    fn scalars(&self) -> [f64; 7] {
        let Self { tokens, squared_error, squared_input, active, penalty, auxiliary, inner, .. } = *self;
        [tokens, squared_error, squared_input, active, penalty, auxiliary, inner]
    }

    fn scalars_mut(&mut self) -> [&mut f64; 7] {
        let Self { tokens, squared_error, squared_input, active, penalty, auxiliary, inner, .. } = self;
        [tokens, squared_error, squared_input, active, penalty, auxiliary, inner]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explained_variance_is_about_the_mean() {
        // Two tokens 1 and 3 (variance 1 each around 2), reconstructed with errors 0.5 and 0.5.
        let sums = Sums { tokens: 2.0, squared_error: 0.5, squared_input: 10.0, input: vec![4.0], ..Sums::default() };
        assert!((sums.explained_variance() - 0.75).abs() < 1e-12);
        assert_eq!(sums.mse(), 0.25);
        assert_eq!(Sums::from_row(&sums.to_row(), 1), Some(sums.clone()));
        assert_eq!(Sums::from_row(&sums.to_row(), 2), None);
    }
}
