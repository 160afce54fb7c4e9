//! Tensors of an SAE in whichever orientation a format keeps them.

use candle_core::{Device, Tensor};
use prunelens_kernels::matmul::transpose;

use crate::{
    error::{Error, Result},
    model::{HookPoint, Space, config::Keys, weights::Weights},
    sae::{Normalize, SaeConfig},
};

pub struct Parts<'a> {
    pub weights: &'a Weights,
    pub d_in: usize,
    pub d_sae: usize,
}

impl<'a> Parts<'a> {
    /// Sizes from an encoder stored `[d_in, d_sae]`, as SAELens does.
    pub fn of_columns(weights: &'a Weights, encoder: &str) -> Result<Self> {
        let [d_in, d_sae] = Self::sizes(weights, encoder, "[d_in, d_sae]")?;
        Ok(Self { weights, d_in, d_sae })
    }

    /// Sizes from an encoder stored `[d_sae, d_in]`, as PyTorch's linear layers are.
    pub fn of_rows(weights: &'a Weights, encoder: &str) -> Result<Self> {
        let [d_sae, d_in] = Self::sizes(weights, encoder, "[d_sae, d_in]")?;
        Ok(Self { weights, d_in, d_sae })
    }

    fn sizes(weights: &Weights, name: &str, expected: &str) -> Result<[usize; 2]> {
        match weights.shape(name) {
            Some([a, b]) if *a > 0 && *b > 0 => Ok([*a, *b]),
            Some(shape) => {
                Err(Error::file(weights.path(), format!("tensor {name:?}: expected shape {expected}, found {shape:?}")))
            }
            None => Err(Error::file(weights.path(), format!("tensor {name:?} is missing"))),
        }
    }

    /// Refuse a config that states other sizes than the tensors have.
    pub fn check(&self, keys: Keys, sizes: &[(&str, usize)]) -> Result<()> {
        for (key, value) in sizes {
            if keys.get(key).is_some() && keys.size(key)? != *value {
                return Err(keys.refuse(key, &format!("the tensors of {} say {value}", self.weights.path().display())));
            }
        }
        Ok(())
    }

    fn matrix(&self, values: Vec<f32>) -> Result<Tensor> {
        Ok(Tensor::from_vec(values, (self.d_sae, self.d_in), &Device::Cpu)?)
    }

    /// A matrix stored `[d_in, d_sae]`, one row a latent.
    pub fn columns(&self, name: &str) -> Result<Tensor> {
        let (d_in, d_sae) = (self.d_in, self.d_sae);
        self.matrix(transpose(&self.weights.f32(name, &[d_in, d_sae])?, d_in, d_sae))
    }

    /// A matrix stored `[d_sae, d_in]`.
    pub fn rows(&self, name: &str) -> Result<Tensor> {
        self.matrix(self.weights.f32(name, &[self.d_sae, self.d_in])?)
    }

    /// One value a latent.
    pub fn latents(&self, name: &str) -> Result<Vec<f32>> {
        self.weights.f32(name, &[self.d_sae])
    }

    /// One value an input.
    pub fn inputs(&self, name: &str) -> Result<Vec<f32>> {
        self.weights.f32(name, &[self.d_in])
    }

    /// A single value.
    pub fn scalar(&self, name: &str) -> Result<f32> {
        let shape = self.weights.shape(name).map(<[usize]>::to_vec).unwrap_or_default();
        if shape.iter().any(|d| *d != 1) {
            let what = format!("tensor {name:?}: expected one number, found shape {shape:?}");
            return Err(Error::file(self.weights.path(), what));
        }
        Ok(self.weights.f32(name, &shape)?[0])
    }

    /// `k` of a TopK SAE, between 1 and `d_sae`.
    pub fn k(&self, keys: Keys, key: &str) -> Result<usize> {
        let k = keys.size(key)?;
        if k <= self.d_sae {
            return Ok(k);
        }
        Err(keys.refuse(key, &format!("expected 1 to d_sae = {}", self.d_sae)))
    }

    /// Refuse tensors that nobody has read, but for those with a name that begins like one of `harmless`: they would have
    /// changed what is computed.
    pub fn refuse_others(&self, harmless: &[&str]) -> Result<()> {
        let left = self.weights.left_over();
        let other = left.into_iter().find(|name| !harmless.iter().any(|known| name.starts_with(known)));
        other.map_or(Ok(()), |name| {
            let name = crate::text::shorten(name, 60);
            Err(Error::file(self.weights.path(), format!("tensor {name:?} is no part of an SAE of this kind")))
        })
    }

    /// What most formats share: no normalisation, raw activations, BOS first.
    pub fn config(&self, name: String, architecture: &'static str, hook: HookPoint) -> SaeConfig {
        SaeConfig {
            name,
            architecture,
            d_in: self.d_in,
            d_sae: self.d_sae,
            hook,
            module: None,
            normalize: Normalize::None,
            apply_b_dec_to_input: true,
            prepend_bos: true,
            space: Space::Raw,
            source: serde_json::Value::Null,
            folded: None,
            warnings: Vec::new(),
        }
    }
}
