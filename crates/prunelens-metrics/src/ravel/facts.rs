//! Of what a table says about entities, what a model knows.

use std::collections::{BTreeMap, HashSet};

use prunelens_core::{
    data::entities::{Attribute, EntityClass},
    error::{Error, Result},
    model::{Model, Tokenizer},
    progress::Tick,
    rng::Rng,
    text::shorten,
};

use super::prompts::{Asking, Prefixes, Prompt, prompts};

/// How much of an attribute is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Name of the attribute.
    pub attribute: String,
    /// Entities whose label at least one template brings out.
    pub entities: usize,
    /// Prompts answered right.
    pub prompts: usize,
    /// Prompts that the model was asked.
    pub asked: usize,
    /// Templates that bring out at least one label.
    pub templates: usize,
}

/// Prompts asked at a time.
const AT_ONCE: usize = 64;

/// Ask `model` everything and keep the entities whose attributes it knows: all of them, or with `any` at least one (and
/// then only those). Templates that bring nothing out are dropped. `report` hears how many prompts are asked, of all.
pub fn keep_known(
    class: &EntityClass,
    model: &Model,
    tokenizer: &Tokenizer,
    any: bool,
    tick: Tick,
    report: &mut dyn FnMut(usize, usize),
) -> Result<(EntityClass, Vec<Known>)> {
    const TOKENS: usize = 6;
    let all: Vec<usize> = (0..class.attributes.len()).collect();
    let (prompts, _) = prompts(class, &all, tokenizer, None, &mut Rng::new(0, 0))?;
    let asking = Asking { tokenizer, count: TOKENS };
    asking.check(model, &prompts)?;
    let mut prefixes = Prefixes::default();
    let mut right: Vec<&Prompt> = Vec::new();
    for (at, some) in prompts.chunks(AT_ONCE).enumerate() {
        report(at * AT_ONCE, prompts.len());
        let some: Vec<&Prompt> = some.iter().collect();
        let answers = asking.ask(model, &mut prefixes, &some, tick)?;
        right.extend(some.iter().zip(answers).filter(|(_, answer)| answer.right).map(|(prompt, _)| *prompt));
    }
    let facts: HashSet<(usize, usize)> = right.iter().map(|p| (p.entity, p.attribute)).collect();
    let useful: HashSet<(usize, usize)> = right.iter().map(|p| (p.attribute, p.template)).collect();
    let known: Vec<Known> = all
        .iter()
        .map(|&a| Known {
            attribute: class.attributes[a].name.clone(),
            entities: facts.iter().filter(|(_, attribute)| *attribute == a).count(),
            prompts: right.iter().filter(|p| p.attribute == a).count(),
            asked: prompts.iter().filter(|p| p.attribute == a).count(),
            templates: useful.iter().filter(|(attribute, _)| *attribute == a).count(),
        })
        .collect();
    if let Some(none) = known.iter().find(|k| k.entities == 0) {
        return Err(Error::invalid(format!(
            "{} answers none of {} prompts for {} right; give other templates with --templates, or leave it out",
            model.name,
            none.asked,
            shorten(&none.attribute, 40)
        )));
    }
    let keep = |(entity, (name, labels)): (usize, &(String, BTreeMap<String, String>))| {
        let knows = |a: &usize| facts.contains(&(entity, *a));
        let kept: BTreeMap<String, String> = all
            .iter()
            .filter(|a| knows(a))
            .filter_map(|a| labels.get_key_value(&class.attributes[*a].name))
            .map(|(attribute, label)| (attribute.clone(), label.clone()))
            .collect();
        let enough = if any { !kept.is_empty() } else { kept.len() == all.len() };
        enough.then(|| (name.clone(), kept))
    };
    let entities: Vec<_> = class.entities.iter().enumerate().filter_map(keep).collect();
    if entities.len() < 2 {
        return Err(Error::invalid(format!(
            "{} knows all attributes of {} of {} entities; give more entities or templates, or keep those it knows in part with --any",
            model.name,
            entities.len(),
            class.entities.len()
        )));
    }
    let attributes: Vec<Attribute> = class
        .attributes
        .iter()
        .enumerate()
        .map(|(a, attribute)| {
            let kept = attribute.templates.iter().enumerate().filter(|(t, _)| useful.contains(&(a, *t)));
            Attribute { name: attribute.name.clone(), templates: kept.map(|(_, text)| text.clone()).collect() }
        })
        .collect();
    let names: HashSet<&String> = entities.iter().map(|(name, _)| name).collect();
    let texts: HashSet<&String> = attributes.iter().flat_map(|a| &a.templates).collect();
    let of = |splits: &BTreeMap<String, String>, kept: &HashSet<&String>| {
        splits.iter().filter(|(key, _)| kept.contains(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let (entity_split, template_split) = (of(&class.entity_split, &names), of(&class.template_split, &texts));
    Ok((EntityClass { name: class.name.clone(), attributes, entities, entity_split, template_split }, known))
}
