//! Names of hook points, as TransformerLens spells them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Where in a block an activation is read or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// `hook_resid_pre`.
    ResidPre,
    /// `hook_resid_mid`.
    ResidMid,
    /// `hook_resid_post`.
    ResidPost,
    /// `hook_attn_out`.
    AttnOut,
    /// `hook_mlp_out`.
    MlpOut,
    /// Per-head attention output before `W_O`, heads flattened head-major.
    Z,
}

impl Site {
    /// In the order of a block, `hook_z` last.
    pub const ALL: [Self; 6] = [Self::ResidPre, Self::ResidMid, Self::ResidPost, Self::AttnOut, Self::MlpOut, Self::Z];

    /// As TransformerLens spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResidPre => "hook_resid_pre",
            Self::ResidMid => "hook_resid_mid",
            Self::ResidPost => "hook_resid_post",
            Self::AttnOut => "hook_attn_out",
            Self::MlpOut => "hook_mlp_out",
            Self::Z => "attn.hook_z",
        }
    }
}

/// `blocks.{layer}.{site}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct HookPoint {
    /// Of the block, from 0.
    pub layer: usize,
    /// Where in the block.
    pub site: Site,
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blocks.{}.{}", self.layer, self.site.name())
    }
}

impl FromStr for HookPoint {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let parsed = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')).and_then(|(layer, site)| {
            let layer = layer.parse().ok()?;
            // The paper's releases write `blocks.L.hook_z` for `blocks.L.attn.hook_z`.
            let site = if site == "hook_z" { "attn.hook_z" } else { site };
            Some(Self { layer, site: *Site::ALL.iter().find(|s| s.name() == site)? })
        });
        parsed.ok_or_else(|| {
            let sites: Vec<_> = Site::ALL.iter().map(|s| s.name()).collect();
            Error::invalid(format!(
                "hook point {name:?} does not exist; expected blocks.LAYER.SITE with SITE one of {}",
                sites.join(", ")
            ))
        })
    }
}

impl HookPoint {
    /// The hook at the output of a Hugging Face module such as `model.layers.5` or `gpt_neox.layers.3.mlp`. A path may end
    /// in `.output` or `.input` to say which side is meant.
    pub fn from_module(path: &str) -> Option<Self> {
        let prefixes = ["language_model.", "model.", "transformer.", "gpt_neox."];
        let mut path = path;
        // In any order: models that see images have had two.
        while let Some(rest) = prefixes.iter().find_map(|prefix| path.strip_prefix(prefix)) {
            path = rest;
        }
        let (path, side) = match path.rsplit_once('.') {
            Some((rest, side @ ("output" | "input"))) => (rest, side),
            _ => (path, "output"),
        };
        if path == "embed_tokens" {
            return Some(Self { layer: 0, site: Site::ResidPre });
        }
        let rest = path.strip_prefix("layers.").or_else(|| path.strip_prefix("h."))?;
        let (layer, module) = rest.split_once('.').unwrap_or((rest, ""));
        let site = match (module, side) {
            ("", "output") => Site::ResidPost,
            ("", "input") => Site::ResidPre,
            ("mlp" | "post_feedforward_layernorm", "output") => Site::MlpOut,
            ("self_attn" | "attention" | "attn", "output") => Site::AttnOut,
            ("self_attn.o_proj" | "attention.dense" | "attn.c_proj", "input") => Site::Z,
            _ => return None,
        };
        Some(Self { layer: layer.parse().ok()?, site })
    }
}

impl From<HookPoint> for String {
    fn from(hook: HookPoint) -> Self {
        hook.to_string()
    }
}

impl TryFrom<String> for HookPoint {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules() {
        for (module, hook) in [
            ("model.layers.5", "blocks.5.hook_resid_post"),
            ("layers.12", "blocks.12.hook_resid_post"),
            ("transformer.h.3", "blocks.3.hook_resid_post"),
            ("gpt_neox.layers.2.mlp", "blocks.2.hook_mlp_out"),
            ("layers.4.attention", "blocks.4.hook_attn_out"),
            ("model.layers.7.self_attn.o_proj.input", "blocks.7.attn.hook_z"),
            ("model.layers.7.post_feedforward_layernorm.output", "blocks.7.hook_mlp_out"),
            ("embed_tokens", "blocks.0.hook_resid_pre"),
        ] {
            assert_eq!(HookPoint::from_module(module).unwrap().to_string(), hook);
        }
        for module in ["", "layers", "layers.x", "layers.1.self_attn.q_proj", "layers.-1", "lm_head"] {
            assert_eq!(HookPoint::from_module(module), None, "{module}");
        }
    }
}
