//! Prompts about entities: made from templates, asked of a model, kept where it answers right.

use std::{collections::HashMap, sync::Arc};

use prunelens_core::{
    data::entities::EntityClass,
    error::{Error, Result},
    model::{
        Model, Tokenizer,
        ragged::{Prefix, Text},
    },
    progress::Tick,
    rng::Rng,
    text::shorten,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::completion::is_right;

/// One prompt. Entities, attributes and templates are named by their place in their class.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// With the entity's name in place.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// The last token of the entity.
    pub at: usize,
    /// Tokens at the start that all prompts of the template have in common, fewer than `at + 1`.
    pub shared: usize,
    /// Among the class's entities.
    pub entity: usize,
    /// Among the class's attributes.
    pub attribute: usize,
    /// Among the attribute's templates.
    pub template: usize,
    /// What it asks for.
    pub label: String,
}

/// What a model says to a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// The first token.
    pub first: u32,
    /// The model's answer is the attribute's value.
    pub right: bool,
}

/// Attributes that SAEBench chooses among those of its public set.
const SELECTION: [(&str, &[&str]); 2] =
    [("city", &["Country", "Continent", "Language"]), ("nobel_prize_winner", &["Country of Birth", "Field", "Gender"])];

/// Most prompts of one class; more would not end on any machine.
const MOST: usize = 4_000_000;

/// The attributes measured of a class: SAEBench's choice where it has one, else all that have templates and labels.
pub fn measured(class: &EntityClass) -> Vec<usize> {
    let usable: Vec<usize> = (0..class.attributes.len())
        .filter(|&a| {
            let attribute = &class.attributes[a];
            !attribute.templates.is_empty() && class.entities.iter().any(|(_, l)| l.contains_key(&attribute.name))
        })
        .collect();
    let public = SELECTION.iter().find(|(known, _)| *known == class.name).map(|(_, attributes)| *attributes);
    let chosen: Vec<usize> = public
        .unwrap_or_default()
        .iter()
        .filter_map(|name| usable.iter().copied().find(|&a| class.attributes[a].name == *name))
        .collect();
    if chosen.len() < 2 { usable } else { chosen }
}

/// How many prompts of these attributes there are at most: entities without a label give none.
pub fn possible(class: &EntityClass, attributes: &[usize]) -> usize {
    let templates: usize = attributes.iter().map(|&a| class.attributes[a].templates.len()).sum();
    class.entities.len().saturating_mul(templates)
}

/// All prompts of the chosen attributes, or `limit` of them drawn at random; entity by entity, then by attribute and template.
/// Also how many of them have another tokenisation after the entity than that part has alone.
pub fn prompts(
    class: &EntityClass,
    attributes: &[usize],
    tokenizer: &Tokenizer,
    limit: Option<usize>,
    rng: &mut Rng,
) -> Result<(Vec<Prompt>, usize)> {
    let templates: Vec<(usize, usize, &str)> = attributes
        .iter()
        .flat_map(|&a| class.attributes[a].templates.iter().enumerate().map(move |(t, text)| (a, t, text.as_str())))
        .collect();
    let total = possible(class, attributes);
    let mut wanted: Vec<usize> = Vec::new();
    match limit {
        Some(limit) if limit < total => {
            wanted.extend(sample(total, limit, rng));
            wanted.sort_unstable();
        }
        _ if total > MOST => {
            return Err(Error::invalid(format!(
                "{} entities and {} templates of {} make {total} prompts; ask for some of them with --prompts",
                class.entities.len(),
                templates.len(),
                shorten(&class.name, 40)
            )));
        }
        _ => wanted.extend(0..total),
    }
    // After the entity, the tokens are counted as those of this part alone.
    let tails: Vec<Vec<u32>> = templates
        .iter()
        .map(|(.., text)| tokenizer.encode(text.split_once("%s").map_or("", |(_, tail)| tail), false))
        .collect::<Result<_>>()?;
    let make = |at: &usize| -> Result<Option<(usize, Prompt, bool)>> {
        let (entity, which) = (at / templates.len(), at % templates.len());
        let (attribute, template, text) = templates[which];
        let (name, labels) = &class.entities[entity];
        let Some(label) = labels.get(&class.attributes[attribute].name) else { return Ok(None) };
        let text = text.replacen("%s", name, 1);
        let ids = tokenizer.encode_with_own_specials(&text)?;
        let tail = &tails[which];
        let Some(at) = ids.len().checked_sub(tail.len() + 1) else { return Ok(None) };
        let moved = !ids.ends_with(tail);
        let prompt = Prompt { text, ids, at, shared: 0, entity, attribute, template, label: label.clone() };
        Ok(Some((which, prompt, moved)))
    };
    let made: Vec<(usize, Prompt, bool)> =
        wanted.par_iter().map(make).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    let moved = made.iter().filter(|(.., moved)| *moved).count();
    Ok((share(made.into_iter().map(|(which, prompt, _)| (which, prompt)).collect(), templates.len()), moved))
}

/// Find how much of the start each template's prompts have in common.
fn share(made: Vec<(usize, Prompt)>, templates: usize) -> Vec<Prompt> {
    let mut firsts: Vec<Option<usize>> = vec![None; templates];
    let mut common = vec![usize::MAX; templates];
    for (at, (which, prompt)) in made.iter().enumerate() {
        let first = &made[*firsts[*which].get_or_insert(at)].1.ids;
        let same = first.iter().zip(&prompt.ids).take_while(|(a, b)| a == b).count();
        common[*which] = common[*which].min(same).min(prompt.at);
    }
    made.into_iter().map(|(which, prompt)| Prompt { shared: common[which], ..prompt }).collect()
}

/// `n` different numbers below `total`, in the order drawn.
pub fn sample(total: usize, n: usize, rng: &mut Rng) -> Vec<usize> {
    // A Fisher-Yates shuffle that keeps only what it has moved.
    let mut moved: HashMap<usize, usize> = HashMap::new();
    (0..n.min(total))
        .map(|at| {
            let from = at + rng.below(total - at);
            let drawn = moved.get(&from).copied().unwrap_or(from);
            let here = moved.get(&at).copied().unwrap_or(at);
            moved.insert(from, here);
            drawn
        })
        .collect()
}

/// The beginnings that prompts share, as one model reads them.
#[derive(Default)]
pub struct Prefixes {
    kept: HashMap<Vec<u32>, Arc<Prefix>>,
    bytes: usize,
}

/// Bytes of beginnings that are kept; beyond, all are read anew when they are needed.
const MOST_BYTES: usize = 512 << 20;

impl Prefixes {
    /// A text that has the prompt's shared beginning behind it.
    pub fn text(&mut self, model: &Model, prompt: &Prompt, tick: Tick) -> Result<Text> {
        let ids = &prompt.ids[..prompt.shared];
        if ids.is_empty() {
            return Ok(Text::default());
        }
        if let Some(prefix) = self.kept.get(ids) {
            return Ok(Text::after(Some(prefix.clone())));
        }
        let prefix = model.prefix(ids, tick)?;
        if self.bytes + prefix.bytes() > MOST_BYTES {
            *self = Self::default();
        }
        self.bytes += prefix.bytes();
        self.kept.insert(ids.to_vec(), prefix.clone());
        Ok(Text::after(Some(prefix)))
    }
}

/// What answers are judged with.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// Of the models.
    pub tokenizer: &'a Tokenizer,
    /// Tokens of an answer.
    pub count: usize,
}

impl Asking<'_> {
    /// Refuse prompts that do not fit into the model with their answers.
    pub fn check(&self, model: &Model, prompts: &[Prompt]) -> Result<()> {
        let most = model.config.n_ctx.saturating_sub(self.count);
        match prompts.iter().find(|prompt| prompt.ids.len() > most) {
            Some(prompt) => Err(Error::invalid(format!(
                "the prompt {:?} has {} tokens; with {} to answer, {} can read {most}; shorten its template",
                shorten(&prompt.text, 60),
                prompt.ids.len(),
                self.count,
                model.name
            ))),
            None => Ok(()),
        }
    }

    /// The model's own answers to some prompts.
    pub fn ask(&self, model: &Model, prefixes: &mut Prefixes, prompts: &[&Prompt], tick: Tick) -> Result<Vec<Answer>> {
        let texts = prompts.iter().map(|p| prefixes.text(model, p, tick)).collect::<Result<Vec<_>>>()?;
        let new: Vec<&[u32]> = prompts.iter().map(|p| &p.ids[p.shared..]).collect();
        let (texts, last) = model.read(texts, &new, tick)?;
        let lengths: Vec<usize> = new.iter().map(|ids| ids.len()).collect();
        let logits = model.last_logits(&last, &lengths)?;
        let said = model.continue_texts(texts, &logits, self.count, self.tokenizer.eos, tick)?;
        let answer = |(ids, prompt): (&Vec<u32>, &&Prompt)| Answer {
            first: ids.first().copied().unwrap_or_default(),
            right: self.is_right(&prompt.text, &prompt.label, ids),
        };
        Ok(said.iter().zip(prompts).map(answer).collect())
    }

    /// Whether tokens say the label.
    pub fn is_right(&self, text: &str, label: &str, ids: &[u32]) -> bool {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| self.tokenizer.piece(*id)).collect();
        is_right(text, label, &String::from_utf8_lossy(&bytes))
    }
}

/// The prompts that were answered right, of the entities with the most of them; with the first token of each answer.
pub fn known(prompts: &[Prompt], answers: &[Answer], entities: usize) -> Vec<(usize, u32)> {
    let right = || prompts.iter().zip(answers).enumerate().filter(|(_, (_, answer))| answer.right);
    // In the order in which they come; the sort keeps it among equals.
    let mut counts: Vec<(usize, usize)> = Vec::new();
    let mut places: HashMap<usize, usize> = HashMap::new();
    for (_, (prompt, _)) in right() {
        let place = *places.entry(prompt.entity).or_insert_with(|| {
            counts.push((prompt.entity, 0));
            counts.len() - 1
        });
        counts[place].1 += 1;
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let kept: std::collections::HashSet<usize> = counts.iter().take(entities).map(|(entity, _)| *entity).collect();
    right().filter(|(_, (p, _))| kept.contains(&p.entity)).map(|(at, (_, answer))| (at, answer.first)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(entity: usize, ids: &[u32], at: usize) -> Prompt {
        let (text, label) = (String::new(), String::new());
        Prompt { text, ids: ids.to_vec(), at, shared: 0, entity, attribute: 0, template: 0, label }
    }

    #[test]
    fn samples_are_different_numbers() {
        for (total, n) in [(10, 10), (1000, 30), (5, 9), (1, 1), (0, 3)] {
            let mut drawn = sample(total, n, &mut Rng::new(1, 2));
            assert_eq!(drawn, sample(total, n, &mut Rng::new(1, 2)));
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), n.min(total));
            assert!(drawn.iter().all(|d| *d < total));
        }
    }

    #[test]
    fn beginnings_in_common_end_before_the_entity() {
        let made = vec![
            (0, prompt(0, &[1, 2, 3, 4], 2)),
            (1, prompt(0, &[1, 2, 3, 4], 3)),
            (0, prompt(1, &[1, 2, 3, 9, 4], 3)),
            (1, prompt(1, &[1, 5, 3, 4], 3)),
        ];
        let shared: Vec<usize> = share(made, 2).iter().map(|p| p.shared).collect();
        assert_eq!(shared, [2, 1, 2, 1]);
    }

    #[test]
    fn entities_with_most_right_answers_are_kept() {
        let prompts: Vec<Prompt> = [0, 0, 1, 1, 2, 2, 3].iter().map(|e| prompt(*e, &[1], 0)).collect();
        let rights = [true, false, true, true, true, false, false];
        let answers: Vec<Answer> =
            rights.iter().enumerate().map(|(at, right)| Answer { first: at as u32, right: *right }).collect();
        assert_eq!(known(&prompts, &answers, 1), [(2, 2), (3, 3)]);
        // Of equals the first.
        assert_eq!(known(&prompts, &answers, 2), [(0, 0), (2, 2), (3, 3)]);
        assert_eq!(known(&prompts, &answers, 9).len(), 4);
    }
}
