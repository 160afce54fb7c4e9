//! Adam as torch computes it, value by value: who owns the values decides what else goes into a step.

/// How much of the running means of gradients and of their squares is kept.
pub const BETAS: (f64, f64) = (0.9, 0.999);
/// Added to the root of the second moment.
pub const EPSILON: f32 = 1e-8;

/// The factors of one step, which all its values share.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    rate: f32,
    /// Root of what the second mean lacks at the start.
    root: f32,
}

impl Step {
    /// The `t`-th step, counted from 1.
    pub fn new(lr: f64, t: i32) -> Self {
        Self { rate: (lr / (1.0 - BETAS.0.powi(t))) as f32, root: (1.0 - BETAS.1.powi(t)).sqrt() as f32 }
    }

    /// Take a gradient into the running means `m` and `v` of a value; gives what is to be taken off the value.
    #[inline]
    pub fn down(self, m: &mut f32, v: &mut f32, gradient: f32) -> f32 {
        *m += (1.0 - BETAS.0) as f32 * (gradient - *m);
        *v = BETAS.1 as f32 * *v + (1.0 - BETAS.1) as f32 * gradient * gradient;
        self.rate * *m / (v.sqrt() / self.root + EPSILON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_is_as_long_as_the_rate_whatever_the_gradient() {
        for gradient in [1e-3, -40.0] {
            let (mut m, mut v) = (0.0, 0.0);
            let step = Step::new(0.01, 1).down(&mut m, &mut v, gradient);
            assert!((step - 0.01 * gradient.signum()).abs() < 1e-6, "{step}");
        }
    }

    #[test]
    fn a_parabola_is_gone_down() {
        let (mut x, mut m, mut v) = (3.0f32, 0.0, 0.0);
        for t in 1..=2000 {
            x -= Step::new(0.05, t).down(&mut m, &mut v, 2.0 * x);
        }
        assert!(x.abs() < 1e-2, "{x}");
    }
}
