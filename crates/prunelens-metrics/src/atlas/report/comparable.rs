//! Which atlases may stand in one table: those of the same rows, model and masks, that differ in criterion or in the SAE.

use std::path::Path;

use prunelens_core::{
    error::{Error, Result},
    text::safe,
};
use serde_json::Value;

use crate::atlas::{
    Atlas,
    open::{SESSION, without_path},
};

/// Atlases of one criterion, a place for each SAE.
pub struct Group<'a> {
    pub criterion: String,
    pub atlases: Vec<&'a Atlas>,
}

/// Atlases by criterion, in the order given; SAEs in one order for all of them.
pub fn groups(atlases: &[Atlas]) -> Result<Vec<Group<'_>>> {
    let Some(first) = atlases.first() else {
        return Err(Error::Usage(
            "a report needs at least one atlas: the folder that `prunelens metrics atlas --out` wrote".into(),
        ));
    };
    for atlas in atlases {
        is_pruned(atlas)?;
        check(first, atlas)?;
    }
    let mut saes: Vec<&Value> = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    for atlas in atlases {
        if !saes.contains(&sae(atlas)) {
            saes.push(sae(atlas));
        }
        let criterion = &atlas.about.criterion;
        match groups.iter_mut().find(|group| group.criterion == *criterion) {
            Some(group) => group.atlases.push(atlas),
            None => groups.push(Group { criterion: criterion.clone(), atlases: vec![atlas] }),
        }
    }
    for group in &mut groups {
        let place = |atlas: &&Atlas| saes.iter().position(|found| *found == sae(atlas));
        group.atlases.sort_by_key(place);
        let twice = group.atlases.iter().zip(group.atlases.iter().skip(1)).find(|(a, b)| sae(a) == sae(b));
        if let Some((a, b)) = twice {
            return Err(Error::file(
                &b.path,
                format!("is of the same SAE and criterion as {}; give each once", shown(&a.path)),
            ));
        }
        if group.atlases.len() != saes.len() {
            return Err(Error::Usage(format!(
                "criterion {} has atlases of {} SAEs, and {} SAEs are there in all; give one of each SAE for each criterion",
                safe(&group.criterion),
                group.atlases.len(),
                saes.len()
            )));
        }
    }
    Ok(groups)
}

/// What the SAE was read from.
fn sae(atlas: &Atlas) -> &Value {
    &atlas.about.session["sae"]
}

/// What to call it.
pub fn sae_name(atlas: &Atlas) -> String {
    let path = sae(atlas)["path"].as_str().or(sae(atlas).as_str()).unwrap_or("sae");
    let name = Path::new(path).file_name().map_or_else(|| path.into(), |name| name.to_string_lossy());
    safe(&name)
}

fn is_pruned(atlas: &Atlas) -> Result<()> {
    match atlas.about.knob.as_str() {
        "" | "ratio" | "latents" if !atlas.about.descends() => Ok(()),
        knob => Err(Error::file(
            &atlas.path,
            format!("expected an atlas of knob ratio or latents, whose ratios ascend; this one is of {}", safe(knob)),
        )),
    }
}

/// Refuse two that are not of the same rows, model and masks.
fn check(first: &Atlas, other: &Atlas) -> Result<()> {
    let (a, b) = (&first.about, &other.about);
    let differ = |what: &str, a: &dyn std::fmt::Display, b: &dyn std::fmt::Display| {
        let named = if a.to_string().len() + b.to_string().len() < 120 {
            format!(": {} there, {} here", safe(&a.to_string()), safe(&b.to_string()))
        } else {
            String::new()
        };
        Err(Error::file(
            &other.path,
            format!("cannot stand in one table with {}: other {what}{named}", shown(&first.path)),
        ))
    };
    if a.tokens_sha256 != b.tokens_sha256 || a.positions != b.positions {
        return differ("rows", &a.tokens_sha256, &b.tokens_sha256);
    }
    if (a.importance_rows, a.predicted) != (b.importance_rows, b.predicted) {
        return differ("rows of importance", &a.importance_rows, &b.importance_rows);
    }
    if a.d_sae != b.d_sae {
        return differ("number of latents", &a.d_sae, &b.d_sae);
    }
    if a.hook != b.hook {
        return differ("hook", &a.hook, &b.hook);
    }
    if a.knob != b.knob {
        return differ("knob", &a.knob, &b.knob);
    }
    if a.ratios != b.ratios {
        let list = |ratios: &[f64]| ratios.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
        return differ("ratios", &list(&a.ratios), &list(&b.ratios));
    }
    let [of_a, of_b] = [a, b].map(|about| SESSION.map(|key| without_path(&about.session[key])));
    match SESSION.iter().zip(of_a.iter().zip(&of_b)).find(|(_, (a, b))| a != b) {
        Some((key, (a, b))) => differ(&key.replace('_', " "), a, b),
        None => Ok(()),
    }
}

fn shown(path: &Path) -> String {
    safe(&path.display().to_string())
}
