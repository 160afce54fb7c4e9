//! A session file with every key, commented.

use std::fmt::Write;

use super::Preset;

/// Key, what it is for, and a value to show where the preset has none: the default, where there is one.
pub(super) const KEYS: [(&str, &str, &str); 23] = [
    (
        "model",
        "Original model: a folder or file, or a hub id: owner/name[/folder-or-file][@revision].",
        "\"models/gpt2\"",
    ),
    ("compress", "How it is pruned: wanda:RATIO, wanda:N:M, magnitude:RATIO, paper:RATIO or none.", "\"wanda:0.5\""),
    ("pruned-model", "A model pruned elsewhere, used instead of that.", "\"models/gpt2-pruned\""),
    (
        "calibration",
        "Calibration text or tokens (.txt, .jsonl, .safetensors) in place of the built-in text.",
        "\"text.txt\"",
    ),
    ("sae", "Pretrained SAE: its folder or file, or a hub id.", "\"saes/blocks.8.hook_resid_post\""),
    ("trained-sae", "SAE trained on the pruned model.", "\"saes/trained-on-pruned\""),
    ("hook", "Where the SAE reads, if its config says something else.", "\"blocks.8.hook_resid_post\""),
    ("ratio", "Share of the SAE's weights set to zero at the start.", "0.25"),
    ("criterion", "How they are ranked: wanda, paper, magnitude or random.", "\"wanda\""),
    ("norm-scaling-factor", "Average-norm factor of an SAE whose files lack it.", "1.0"),
    (
        "tl-processing",
        "Read activations as TransformerLens' weight processing gives them: on, off, or as the SAE says.",
        "\"auto\"",
    ),
    ("device", "auto, cpu, cuda or cuda:N.", "\"auto\""),
    ("jobs-device", "Where the explorer's metric jobs run, with copies: cpu, cuda or cuda:N.", "\"cpu\""),
    ("dtype", "Type of the model's weights: f32, bf16 or f16.", "\"f32\""),
    ("threads", "Processor threads to use; all, if not given.", "4"),
    ("offline", "Never touch the network: only what is on this machine already.", "false"),
    ("bos", "Put a BOS token before each prompt.", "true"),
    ("text", "Text or tokens for metric jobs, in place of the built-in text.", "\"held-out.txt\""),
    ("results", "Folder for result files.", "\"results\""),
    ("theme", "dark, light, ansi, mono, or a file; by the terminal's background, if not given.", "\"dark\""),
    ("color", "What the terminal can show: auto, truecolor, 256, 16 or none.", "\"auto\""),
    ("ascii", "Draw without box, block and braille characters.", "false"),
    ("mouse", "Take the mouse from the start.", "false"),
];

pub(super) fn session_file(preset: &Preset) -> String {
    let mut text = format!(
        "# A session of prunelens: open it with `prunelens --session FILE`. Keys are the flags' names, and flags override\n\
         # them; paths are relative to this file. Lines that begin with \"# key =\" are not in force.\n\
         #\n\
         # Made from the preset {}. {}\n",
        preset.name, preset.about
    );
    for (key, about, example) in KEYS {
        let value = match key {
            "model" => preset.model.as_deref(),
            "sae" => preset.sae.as_deref(),
            "trained-sae" => preset.trained_sae.as_deref(),
            "dtype" => preset.dtype.as_deref(),
            // Said although it is the default: it is what the session is about.
            "compress" => preset.model.as_ref().map(|_| "wanda:0.5"),
            _ => None,
        };
        // Writing to a string cannot fail.
        let _ = match (value, &preset.pruned_model, key) {
            (Some(value), ..) => write!(text, "\n# {about}\n{key} = {value:?}\n"),
            (None, Some(value), "pruned-model") => write!(text, "\n# {about}\n# {key} = {value:?}\n"),
            _ => write!(text, "\n# {about}\n# {key} = {example}\n"),
        };
    }
    text
}
