//! Names of hook points, as TransformerLens spells them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Where in a block an activation is read or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    ResidPre,
    ResidMid,
    ResidPost,
    AttnOut,
    MlpOut,
    /// Per-head attention output before `W_O`, heads flattened head-major.
    Z,
}

impl Site {
    pub const ALL: [Self; 6] = [Self::ResidPre, Self::ResidMid, Self::ResidPost, Self::AttnOut, Self::MlpOut, Self::Z];

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
    pub layer: usize,
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
