//! The vocabulary of a GGUF file as a `tokenizer.json`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::{model::weights::gguf::Metadata, text::shorten};

/// Types of tokens in GGUF files.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// `tokenizer.json` and `tokenizer_config.json`, or why not.
pub fn describe(metadata: &Metadata) -> Result<(Value, Value), String> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let tokens = metadata.texts(&key("tokens")).ok_or("it has no vocabulary; put a tokenizer.json beside it")?;
    let types: Vec<i32> = match metadata.numbers(&key("token_type")) {
        Some(types) if types.len() == tokens.len() => types.iter().map(|t| *t as i32).collect(),
        _ => vec![1; tokens.len()],
    };
    let id = |name: &str| metadata.int(&key(name)).and_then(|id| usize::try_from(id).ok());
    let special = |name: &str| id(name).and_then(|id| tokens.get(id)).map_or(Value::Null, |t| t.as_str().into());
    let settings = json!({
        "bos_token": special("bos_token_id"),
        "eos_token": special("eos_token_id"),
        "pad_token": special("padding_token_id"),
    });
    let tokenizer = match metadata.text(&key("model")) {
        Some("gpt2") => {
            let merges = metadata.texts(&key("merges")).ok_or("its vocabulary has no merges")?;
            byte_level(tokens, &types, merges, metadata.text(&key("pre")).unwrap_or("default"))?
        }
        Some("llama") => {
            let scores = metadata.numbers(&key("scores")).filter(|s| s.len() == tokens.len());
            let scores = scores.ok_or("its vocabulary has no scores")?;
            let prefix = metadata.bool(&key("add_space_prefix")).unwrap_or(true);
            sentence_piece(tokens, &types, scores, special("unknown_token_id"), prefix)
        }
        other => {
            let other = shorten(other.unwrap_or_default(), 40);
            return Err(format!("its tokenizer {other:?} is not known; put a tokenizer.json beside it"));
        }
    };
    Ok((tokenizer, settings))
}

fn added(tokens: &[String], types: &[i32]) -> Vec<Value> {
    let special = |(id, (token, kind)): (usize, (&String, &i32))| {
        matches!(*kind, CONTROL | USER_DEFINED).then(|| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": *kind == CONTROL,
            })
        })
    };
    tokens.iter().zip(types).enumerate().filter_map(special).collect()
}

fn vocabulary<'a>(tokens: impl Iterator<Item = &'a str>) -> Map<String, Value> {
    tokens.enumerate().map(|(id, token)| (token.to_owned(), id.into())).collect()
}

/// Byte-level BPE as GPT-2's; `pre` names how text is split before.
fn byte_level(tokens: &[String], types: &[i32], merges: &[String], pre: &str) -> Result<Value, String> {
    let level = |regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex });
    // Splits of Llama 3 and Qwen differ in how many digits stay together.
    let split = |digits: &str| {
        let pattern = format!(
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|\\p{{N}}{digits}| ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
        );
        let split =
            json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
        json!({ "type": "Sequence", "pretokenizers": [split, level(false)] })
    };
    let (pre_tokenizer, whole_words) = match pre {
        "default" | "gpt-2" => (level(true), false),
        "smollm" => {
            let digits = json!({ "type": "Digits", "individual_digits": true });
            (json!({ "type": "Sequence", "pretokenizers": [digits, level(true)] }), false)
        }
        "llama-bpe" | "llama3" | "llama-v3" => (split("{1,3}"), true),
        "qwen2" => (split(""), false),
        other => {
            let other = shorten(other, 40);
            return Err(format!("its pre-tokenizer {other:?} is not known; put a tokenizer.json beside it"));
        }
    };
    Ok(json!({
        "version": "1.0",
        "added_tokens": added(tokens, types),
        "pre_tokenizer": pre_tokenizer,
        "decoder": level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": whole_words, "vocab": vocabulary(tokens.iter().map(String::as_str)), "merges": merges,
        },
    }))
}

/// SentencePiece's BPE. Its files keep no merges: a piece comes from every pair of pieces that join to it, and pieces with a
/// better score are joined first.
fn sentence_piece(tokens: &[String], types: &[i32], scores: &[f32], unknown: Value, prefix: bool) -> Value {
    // Runs of spaces among the user-defined pieces are written as spaces.
    let names: Vec<String> = tokens
        .iter()
        .zip(types)
        .map(|(token, kind)| if *kind == USER_DEFINED { token.replace(' ', "▁") } else { token.clone() })
        .collect();
    let pieces: HashMap<&str, usize> = names
        .iter()
        .enumerate()
        .filter(|(id, _)| !matches!(types[*id], CONTROL | BYTE))
        .map(|(id, name)| (name.as_str(), id))
        .collect();
    let mut merges: Vec<(f32, usize, usize, usize)> = Vec::new();
    for (id, name) in names.iter().enumerate() {
        // Longer pieces than any vocabulary has would cost the square of their length.
        if name.len() > 256 || pieces.get(name.as_str()) != Some(&id) {
            continue;
        }
        // User-defined pieces come before all others.
        let score = if types[id] == USER_DEFINED { 0.5 } else { scores[id] };
        for (cut, _) in name.char_indices().skip(1) {
            if let (Some(a), Some(b)) = (pieces.get(&name[..cut]), pieces.get(&name[cut..])) {
                merges.push((score, id, *a, *b));
            }
        }
    }
    merges.sort_by(|x, y| y.0.total_cmp(&x.0).then((x.1, x.2, x.3).cmp(&(y.1, y.2, y.3))));
    let merges: Vec<Value> = merges.iter().map(|(_, _, a, b)| json!([names[*a], names[*b]])).collect();
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let normalizer = if prefix {
        json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, replace] })
    } else {
        replace
    };
    json!({
        "version": "1.0",
        "added_tokens": added(&names, types),
        "normalizer": normalizer,
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            { "type": "ByteFallback" }, { "type": "Fuse" },
        ] },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "fuse_unk": true, "byte_fallback": true,
            "ignore_merges": false, "vocab": vocabulary(names.iter().map(String::as_str)), "merges": merges,
        },
    })
}
