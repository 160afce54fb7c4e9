//! Flags of the edits that are in force, for every command that reads with them.

use clap::Args;
use prunelens_core::edit::{Edit, Edits, ErrorTerm};

#[derive(Args, Clone, Debug, Default)]
pub struct EditArgs {
    /// Change a latent while the model reads: LATENT=ablate, LATENT=scale:F, LATENT=set:V or LATENT=add:S (S times its decoder row), at @P, from @P.. on, or everywhere; may be given more than once.
    #[arg(long = "edit", value_name = "SPEC")]
    pub list: Vec<Edit>,
    /// What becomes of the part of an activation that the SAE misses while edits are in force: keep or drop.
    #[arg(long = "edit-error", value_name = "TERM", default_value_t)]
    pub error: ErrorTerm,
}

impl EditArgs {
    /// None where nothing is edited.
    pub fn edits(&self) -> Option<Edits> {
        let edits = Edits { list: self.list.clone(), error: self.error };
        (!self.list.is_empty() || self.error == ErrorTerm::Drop).then_some(edits)
    }
}
