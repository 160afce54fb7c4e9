//! Tensors of a checkpoint that the model does not take: harmless ones, ones that are worth a word, and ones without which
//! the numbers would be others.

use super::families::Names;
use crate::text::shorten;

/// What wrappers put before every name, and what to do about it.
const WRAPPERS: [(&str, &str); 5] = [
    ("module.", "saved from inside DataParallel: save model.module"),
    ("_orig_mod.", "saved from inside torch.compile (_orig_mod): save the model that was compiled"),
    ("base_model.model.", "saved from inside PEFT: call merge_and_unload() and save again"),
    ("_fsdp_wrapped_module.", "saved from inside FSDP: gather the full state_dict and save that"),
    ("_forward_module.", "saved from inside a trainer's wrapper: save the model itself"),
];

/// Buffers that older versions of the libraries saved, and the parts of models that see images.
const HARMLESS_ENDS: [&str; 6] =
    ["inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", "position_ids"];
const OTHER_PARTS: [&str; 6] = [
    "vision_tower.",
    "model.vision_tower.",
    "multi_modal_projector.",
    "model.multi_modal_projector.",
    "score.",
    "v_head.",
];

/// Why the tensors of a file cannot be the model's, by their names alone: a wrapper, an adapter.
pub fn refuse(names: &Names, all: &[&str]) -> Result<(), String> {
    let plain = |name: &str| names.prefixes.iter().any(|prefix| name.strip_prefix(prefix) == Some(names.embed));
    if !all.iter().any(|name| plain(name))
        && let Some(why) = wrapper(names, all)
    {
        return Err(why);
    }
    for name in all {
        let shown = || shorten(name, 80);
        if name.contains("lora_") || name.contains(".base_layer.") || name.contains("modules_to_save") {
            return Err(format!(
                "tensor {:?} is a LoRA adapter's (PEFT) that is not merged: call merge_and_unload() and save again",
                shown()
            ));
        }
    }
    Ok(())
}

fn wrapper(names: &Names, all: &[&str]) -> Option<String> {
    all.iter().find_map(|name| {
        let (wrapper, why) = WRAPPERS.iter().find(|(wrapper, _)| name.starts_with(wrapper))?;
        name.ends_with(names.embed).then(|| format!("its tensors are called {wrapper}...: {why}"))
    })
}

/// Warnings about the tensors that were not taken.
pub fn look<'a>(names: &Names, unused: impl Iterator<Item = &'a str>) -> Vec<String> {
    let (mut warnings, mut biases, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for name in unused {
        let shown = || shorten(name, 80);
        let ends = HARMLESS_ENDS.iter().any(|end| name.ends_with(end));
        if ends || OTHER_PARTS.iter().any(|part| name.starts_with(part)) || name == names.unembed {
            continue;
        }
        if name.ends_with(".bias") { biases.push(shown()) } else { others.push(shown()) }
    }
    let several = |all: &[String]| match all {
        [one] => format!("tensor {one} is"),
        all => format!("{} tensors ({} ...) are", all.len(), all[0]),
    };
    if !biases.is_empty() {
        warnings
            .push(format!("{} in the file and not in the config: left out, as transformers does", several(&biases)));
    }
    if !others.is_empty() {
        warnings.push(format!("{} in the file and no part of the model: left out", several(&others)));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::families::PLAIN;

    #[test]
    fn what_is_left_over_is_told_apart() {
        let names = Names { embed: "embed_tokens.weight", unembed: "lm_head.weight", ..PLAIN };
        let look = |all: &[&str]| look(&names, all.iter().copied());
        let refuse = |all: &[&str]| refuse(&names, all);
        let harmless = ["model.layers.0.self_attn.rotary_emb.inv_freq", "lm_head.weight", "score.weight"];
        assert!(look(&harmless).is_empty() && refuse(&harmless).is_ok());
        assert!(refuse(&["a.q_proj.lora_A.default.weight"]).unwrap_err().contains("PEFT"));
        assert!(refuse(&["_orig_mod.embed_tokens.weight"]).unwrap_err().contains("torch.compile"));
        let warnings = look(&["a.q_proj.bias", "a.k_proj.bias", "extra.weight"]);
        assert!(warnings[0].starts_with("2 tensors (a.q_proj.bias") && warnings[1].contains("extra.weight"));
        let wrapped = wrapper(&names, &["module.model.embed_tokens.weight"]).unwrap();
        assert!(wrapped.contains("module.") && wrapped.contains("DataParallel"));
    }
}
