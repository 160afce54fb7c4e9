//! What every metric family starts from: the variants to measure, and what they are called in result files.

use prunelens_core::{
    compare::{Reader, Variant},
    error::{Error, Result},
    prune::Criterion,
    session::Session,
};

use crate::report::{Identity, sae_cfg_dict};

/// The variants asked for (all that are loaded, if none is named), ready to read, the pruned one at a ratio.
pub fn readers(session: &Session, wanted: &[Variant], ratio: f64, criterion: Criterion) -> Result<Vec<Reader>> {
    let mut readers = Vec::new();
    for variant in Variant::ALL {
        if !wanted.is_empty() && !wanted.contains(&variant) {
            continue;
        }
        match session.reader(variant, ratio, criterion)? {
            Some(reader) => readers.push(reader),
            None if wanted.is_empty() => {}
            None => return Err(Error::invalid(format!("variant {variant} is not part of this session"))),
        }
    }
    Ok(readers)
}

/// What the models of a session are called in files and tables.
pub struct Names {
    original: String,
    pruned: String,
}

impl Names {
    pub fn of(session: &Session) -> Self {
        let original = session.original.name.clone();
        let how = match &session.spec.pruned_model {
            Some(_) => session.pruned.name.clone(),
            None => session.spec.compress.to_string(),
        };
        Self { pruned: format!("{original} ({how})"), original }
    }

    /// Rows of a table that say which models were measured.
    pub fn settings(&self) -> Vec<(String, String)> {
        vec![("original on".into(), self.original.clone()), ("others on".into(), self.pruned.clone())]
    }

    /// Model, hook, SAE, variant and pruning: all that tells one result from another.
    pub fn identity(&self, reader: &Reader) -> Identity {
        let model = if reader.variant.on_pruned_model() { &self.pruned } else { &self.original };
        let pruning = reader.pruning.as_ref().map(|p| format!("{}-{}", p.order.criterion, p.ratio));
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
