//! What every metric family starts from: the variants to measure, and what they are called in result files.

use std::sync::Arc;

use prunelens_core::{
    compare::{Reader, Variant},
    error::{Error, Result},
    sae::{Criterion, Dial, Setting},
    session::Session,
};

use crate::report::{Identity, sae_cfg_dict};

/// What is turned on the `pruned` variant's SAE: as chosen, else as the session has it.
pub fn setting(
    session: &Session,
    knob: Option<Dial>,
    ratio: Option<f64>,
    criterion: Option<Criterion>,
) -> Result<Setting> {
    let (ratio, criterion) = (ratio.unwrap_or(session.spec.ratio), criterion.unwrap_or(session.spec.criterion));
    knob.unwrap_or(session.setting.into()).setting(ratio, criterion, session.sae.d_in())
}

/// The variants asked for (all that are loaded, if none is named), ready to read, the pruned one at a setting.
pub fn readers(session: &Session, wanted: &[Variant], setting: Setting) -> Result<Vec<Reader>> {
    let mut readers = Vec::new();
    for variant in Variant::ALL {
        if !wanted.is_empty() && !wanted.contains(&variant) {
            continue;
        }
        match session.reader(variant, setting)? {
            Some(reader) => readers.push(reader),
            None if wanted.is_empty() => {}
            None => return Err(Error::invalid(format!("variant {variant} is not part of this session"))),
        }
    }
    Ok(readers)
}

/// Readers of the same model at the same hook in the same space, by their place: their clean pass is one.
pub fn groups(readers: &[Reader]) -> Vec<Vec<usize>> {
    partition(readers, |a, b| Arc::ptr_eq(&a.model, &b.model) && a.hook == b.hook && a.space == b.space)
}

/// Places of equal items, in the order of their first.
pub fn partition<T>(items: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<Vec<usize>> {
    let mut parts: Vec<Vec<usize>> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        match parts.iter_mut().find(|part| same(&items[part[0]], item)) {
            Some(part) => part.push(at),
            None => parts.push(vec![at]),
        }
    }
    parts
}

/// What the models of a session are called in files and tables.
pub struct Names {
    original: String,
    pruned: String,
}

impl Names {
    /// What the session's models and SAEs are called.
    pub fn of(session: &Session) -> Self {
        let original = session.models.original.name.clone();
        let how = match &session.spec.pruned_model {
            Some(_) => session.models.pruned.name.clone(),
            None => session.spec.compress.to_string(),
        };
        Self { pruned: format!("{original} ({how})"), original }
    }

    /// Rows of a table that say which models were measured.
    pub fn settings(&self) -> Vec<(String, String)> {
        vec![("original on".into(), self.original.clone()), ("others on".into(), self.pruned.clone())]
    }

    /// What each reader's results are called.
    pub fn identities(&self, readers: &[Reader]) -> Vec<Identity> {
        readers.iter().map(|reader| self.identity(reader)).collect()
    }

    /// Model, hook, SAE, variant and pruning: all that tells one result from another.
    pub fn identity(&self, reader: &Reader) -> Identity {
        let model = if reader.variant.on_pruned_model() { &self.pruned } else { &self.original };
        let pruning = reader.pruning.as_ref().map(|p| p.setting().key());
        let parts =
            [model.clone(), reader.hook.to_string(), reader.sae.config.name.clone(), reader.variant.to_string()];
        Identity {
            release: parts.into_iter().chain(pruning).map(|part| slug(&part)).collect::<Vec<_>>().join("_"),
            sae_id: "custom_sae".into(),
            model_name: model.clone(),
            sae_config: sae_cfg_dict(&reader.sae, reader.hook, model),
        }
    }
}

/// Words and numbers with a hyphen between them: "demo (wanda:0.5)" is "demo-wanda-0.5".
fn slug(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric() && !"._".contains(c));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        assert_eq!(slug("demo (wanda:0.5)"), "demo-wanda-0.5");
        assert_eq!(slug("blocks.1.attn.hook_z"), "blocks.1.attn.hook_z");
        assert_eq!(slug("../a b/\u{1b}["), "..-a-b");
    }
}
