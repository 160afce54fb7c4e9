//! The vocabulary of a GGUF file as a tokenizer.

use std::collections::HashMap;

use serde_json::{Value, json};
use tokenizers::{
    AddedToken, NormalizerWrapper, Tokenizer,
    decoders::{
        DecoderWrapper, byte_fallback::ByteFallback, byte_level::ByteLevel, fuse::Fuse, sequence::Sequence as Decoders,
    },
    models::bpe::{BPE, Vocab},
    normalizers::{Prepend, Replace, utils::Sequence as Normalizers},
    pre_tokenizers::{
        PreTokenizerWrapper,
        digits::Digits,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
    tokenizer::SplitDelimiterBehavior,
};

use crate::{model::weights::gguf::Metadata, text::shorten};

/// Types of tokens in GGUF files.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// The tokenizer, and its special tokens as `tokenizer_config.json` names them; or why not.
pub fn read(metadata: &Metadata) -> Result<(Tokenizer, Value), String> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let tokens = metadata.texts(&key("tokens")).ok_or("it has no vocabulary; put a tokenizer.json beside it")?;
    let types: Vec<i32> = match metadata.numbers(&key("token_type")) {
        Some(types) if types.len() == tokens.len() => types.iter().map(|t| *t as i32).collect(),
        _ => vec![1; tokens.len()],
    };
    let id = |name: &str| metadata.int(&key(name)).and_then(|id| usize::try_from(id).ok());
    let special = |name: &str| id(name).and_then(|id| tokens.get(id)).cloned();
    let settings = json!({
        "bos_token": special("bos_token_id"),
        "eos_token": special("eos_token_id"),
        "pad_token": special("padding_token_id"),
    });
    let mut tokenizer = match metadata.text(&key("model")) {
        Some("gpt2") => {
            let merges = metadata.texts(&key("merges")).ok_or("its vocabulary has no merges")?;
            byte_level(tokens, merges, metadata.text(&key("pre")).unwrap_or("default"))?
        }
        Some("llama") => {
            let scores = metadata.numbers(&key("scores")).filter(|s| s.len() == tokens.len());
            let scores = scores.ok_or("its vocabulary has no scores")?;
            let prefix = metadata.bool(&key("add_space_prefix")).unwrap_or(true);
            sentence_piece(tokens, &types, scores, special("unknown_token_id"), prefix)?
        }
        other => {
            let other = shorten(other.unwrap_or_default(), 40);
            return Err(format!("its tokenizer {other:?} is not known; put a tokenizer.json beside it"));
        }
    };
    for (special, kind) in [(true, CONTROL), (false, USER_DEFINED)] {
        let added = tokens.iter().zip(&types).filter(|(_, k)| **k == kind);
        let added = added.map(|(token, _)| AddedToken::from(spaced(token, kind), special).normalized(false));
        tokenizer.add_tokens(added).map_err(damaged)?;
    }
    Ok((tokenizer, settings))
}

fn damaged(e: impl std::fmt::Display) -> String {
    format!("its vocabulary is damaged: {}", shorten(&e.to_string(), 200))
}

/// Runs of spaces among the user-defined pieces are written as spaces.
fn spaced(token: &str, kind: i32) -> String {
    if kind == USER_DEFINED { token.replace(' ', "▁") } else { token.to_owned() }
}

fn vocabulary(tokens: &[String]) -> Vocab {
    (0..).zip(tokens).map(|(id, token)| (token.clone(), id)).collect()
}

/// Byte-level BPE as GPT-2's; `pre` names how text is split before.
fn byte_level(tokens: &[String], merges: &[String], pre: &str) -> Result<Tokenizer, String> {
    let level = |regex: bool| PreTokenizerWrapper::from(ByteLevel::new(false, true, regex));
    // Splits of Llama 3 and Qwen differ in how many digits stay together.
    let split = |digits: &str| -> Result<PreTokenizerWrapper, String> {
        let pattern = format!(
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|\\p{{N}}{digits}| ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
        );
        let split =
            Split::new(SplitPattern::Regex(pattern), SplitDelimiterBehavior::Isolated, false).map_err(damaged)?;
        Ok(Sequence::new(vec![split.into(), level(false)]).into())
    };
    let (pre_tokenizer, whole_words) = match pre {
        "default" | "gpt-2" => (level(true), false),
        // Each digit is a word of its own.
        "smollm" => (Sequence::new(vec![Digits::new(true).into(), level(true)]).into(), false),
        "llama-bpe" | "llama3" | "llama-v3" => (split("{1,3}")?, true),
        "qwen2" => (split("")?, false),
        other => {
            let other = shorten(other, 40);
            return Err(format!("its pre-tokenizer {other:?} is not known; put a tokenizer.json beside it"));
        }
    };
    let pair = |merge: &String| merge.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
    let merges: Option<Vec<_>> = merges.iter().map(pair).collect();
    let merges = merges.ok_or_else(|| damaged("a merge without a space"))?;
    let model = BPE::builder().vocab_and_merges(vocabulary(tokens), merges).ignore_merges(whole_words);
    let mut tokenizer = Tokenizer::new(model.build().map_err(damaged)?);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
    Ok(tokenizer)
}

/// SentencePiece's BPE. Its files keep no merges: a piece comes from every pair of pieces that join to it, and pieces with a
/// better score are joined first.
fn sentence_piece(
    tokens: &[String],
    types: &[i32],
    scores: &[f32],
    unknown: Option<String>,
    prefix: bool,
) -> Result<Tokenizer, String> {
    let names: Vec<String> = tokens.iter().zip(types).map(|(token, kind)| spaced(token, *kind)).collect();
    let pieces: HashMap<&str, usize> = names
        .iter()
        .enumerate()
        .filter(|(id, _)| !matches!(types[*id], CONTROL | BYTE))
        .map(|(id, name)| (name.as_str(), id))
        .collect();
    let mut merges: Vec<(f32, u32, u32, u32)> = Vec::new();
    for (id, name) in names.iter().enumerate() {
        // Longer pieces than any vocabulary has would cost the square of their length.
        if name.len() > 256 || pieces.get(name.as_str()) != Some(&id) {
            continue;
        }
        // User-defined pieces come before all others.
        let score = if types[id] == USER_DEFINED { 0.5 } else { scores[id] };
        for (cut, _) in name.char_indices().skip(1) {
            if let (Some(a), Some(b)) = (pieces.get(&name[..cut]), pieces.get(&name[cut..])) {
                merges.push((score, id as u32, *a as u32, *b as u32));
            }
        }
    }
    drop(pieces);
    merges.sort_unstable_by(|x, y| y.0.total_cmp(&x.0).then((x.1, x.2, x.3).cmp(&(y.1, y.2, y.3))));
    let name = |id: u32| names[id as usize].clone();
    let merges = merges.into_iter().map(|(_, _, a, b)| (name(a), name(b))).collect();
    let mut model = BPE::builder().vocab_and_merges(vocabulary(&names), merges).fuse_unk(true).byte_fallback(true);
    if let Some(unknown) = unknown {
        model = model.unk_token(unknown);
    }
    let mut tokenizer = Tokenizer::new(model.build().map_err(damaged)?);
    let spaces = NormalizerWrapper::from(Replace::new(" ", "▁").map_err(damaged)?);
    let normalizer = if prefix {
        NormalizerWrapper::from(Normalizers::new(vec![Prepend::new("▁".into()).into(), spaces]))
    } else {
        spaces
    };
    tokenizer.with_normalizer(Some(normalizer)).map_err(damaged)?;
    let decoders: Vec<DecoderWrapper> =
        vec![Replace::new("▁", " ").map_err(damaged)?.into(), ByteFallback::new().into(), Fuse::new().into()];
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}
