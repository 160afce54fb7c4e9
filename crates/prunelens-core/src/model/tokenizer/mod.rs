//! Text to token ids and back to exact bytes.

mod gguf;

use std::{path::Path, sync::Arc};

use serde_json::Value;
use tokenizers::{Encoding, Tokenizer as Inner};

use super::{
    config::{Config, Keys},
    weights::{Weights, read_json},
};
use crate::{
    error::{Error, Result},
    files::read_at_most,
    panics::catch_panic,
    text::shorten,
};

/// How token strings stand for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alphabet {
    /// GPT-2's printable stand-ins for the 256 bytes.
    ByteLevel,
    /// `▁` for a space and `<0xNN>` for a byte.
    SentencePiece,
}

/// Text to token ids, and ids to the bytes they stand for. Clones share the vocabulary.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    alphabet: Alphabet,
    d_vocab: u32,
    /// Token that begins a text.
    pub bos: Option<u32>,
    /// Token that ends a text.
    pub eos: Option<u32>,
    /// Token that fills rows up.
    pub pad: Option<u32>,
    /// Settings beside the tokenizer that disagree with it, in words.
    pub warnings: Vec<String>,
}

impl Tokenizer {
    /// `tokenizer.json`, with the special tokens of `tokenizer_config.json` or else of the model's config. Beside a GGUF file
    /// it may be missing: then the vocabulary in that file is taken.
    pub fn load(path: &Path, config: &Config) -> Result<Self> {
        let gguf = super::opened::gguf_file(path)?;
        let dir = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let path = dir.join("tokenizer.json");
        if let Some(file) = gguf.filter(|_| !path.exists()) {
            let weights = Weights::open(&file)?;
            let (inner, settings) = gguf::read(&weights.metadata).map_err(|what| Error::file(&file, what))?;
            return Ok(Self::new(&file, inner, &settings, config));
        }
        if dir.is_dir() && !path.exists() {
            let what = "it is missing, and prompts cannot be read without it: it is in the model's repository, and \
                        `AutoTokenizer.from_pretrained(...).save_pretrained(folder)` writes it";
            return Err(Error::file(&path, what));
        }
        let bytes = read_at_most(&path, 256 << 20)?;
        let bytes = bytes.ok_or_else(|| Error::file(&path, "more than 256 MB are too many for a tokenizer"))?;
        let settings = dir.join("tokenizer_config.json");
        let json = if settings.exists() { read_json(&settings)? } else { Value::Null };
        Self::from_bytes(&path, &bytes, &json, config)
    }

    /// From the contents of `tokenizer.json` and `tokenizer_config.json`.
    pub fn from_bytes(path: &Path, bytes: &[u8], settings: &Value, config: &Config) -> Result<Self> {
        let wrong =
            |e: &dyn std::fmt::Display| Error::file(path, format!("not a tokenizer: {}", shorten(&e.to_string(), 200)));
        // The library takes it for granted that what it parses in parts is JSON as a whole.
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|e| wrong(&e))?;
        let inner = catch_panic(|| Inner::from_bytes(bytes)).map_err(|e| wrong(&e))?.map_err(|e| wrong(&e))?;
        Ok(Self::new(path, inner, settings, config))
    }

    fn new(path: &Path, mut inner: Inner, settings: &Value, config: &Config) -> Self {
        // Saved by a training run, perhaps; the Python stack does neither unless it is asked to, and no prompt is cut.
        let _ = inner.with_truncation(None);
        inner.with_padding(None);
        let mut warnings = disagreements(settings, &inner);
        let byte_level = inner.get_vocab_size(true) > 0 && inner.token_to_id("Ġ").is_some();
        let keys = Keys { value: settings, path };
        let special = |key: &str, fallback: Option<u32>| {
            // Either a string or {"content": "..."}.
            let value = keys.get(key)?;
            let text = value.as_str().or_else(|| value.get("content")?.as_str());
            text.and_then(|t| inner.token_to_id(t)).or(fallback)
        };
        let own_eos = special("eos_token", None);
        // As TransformerLens, which never asks the model's config: where a tokenizer has no BOS, its EOS stands in.
        let bos = special("bos_token", None).or(own_eos).or(config.bos_token_id);
        let eos = own_eos.or(config.eos_token_id);
        if keys.get("bos_token").is_none()
            && let (Some(eos), Some(stated)) = (own_eos, config.bos_token_id)
            && eos != stated
        {
            warnings.push(format!(
                "the tokenizer has no BOS: texts begin with its EOS, token {eos}, as in TransformerLens, not with {stated}, which the \
                 model's config says; --no-bos leaves it out"
            ));
        }
        let pad = special("pad_token", None).or(config.pad_token_id);
        let known = |id: &u32| (*id as usize) < config.d_vocab;
        if let Some(bos) = bos.filter(|id| !known(id)) {
            let vocabulary = config.d_vocab;
            warnings.push(format!(
                "BOS is token {bos}, beyond the model's vocabulary of {vocabulary}: texts are read without one"
            ));
        }
        Self {
            alphabet: if byte_level { Alphabet::ByteLevel } else { Alphabet::SentencePiece },
            bos: bos.filter(known),
            eos: eos.filter(known),
            pad: pad.filter(known),
            d_vocab: u32::try_from(config.d_vocab).unwrap_or(u32::MAX),
            warnings,
            inner: Arc::new(inner),
        }
    }

    /// Token ids of a text; with `bos`, BOS once in front as TransformerLens does, whatever the tokenizer itself would add.
    pub fn encode(&self, text: &str, bos: bool) -> Result<Vec<u32>> {
        let encoding = self.run(text, false)?;
        let mut ids = Vec::with_capacity(encoding.len() + 1);
        ids.extend(self.bos.filter(|_| bos));
        ids.extend_from_slice(encoding.get_ids());
        Ok(ids)
    }

    /// Token ids with the special tokens that the tokenizer itself adds: a BOS for some models, none for others.
    pub fn encode_with_own_specials(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.run(text, true)?.get_ids().to_vec())
    }

    /// The library panics where a pattern of the tokenizer takes longer on a text than it may.
    fn run(&self, text: &str, specials: bool) -> Result<Encoding> {
        let wrong = |e: &dyn std::fmt::Display| {
            Error::invalid(format!("the text cannot be tokenized by this tokenizer: {}", shorten(&e.to_string(), 200)))
        };
        catch_panic(|| self.inner.encode_fast(text, specials)).map_err(|e| wrong(&e))?.map_err(|e| wrong(&e))
    }

    /// As `tokenizer.json` and `tokenizer_config.json`.
    pub fn to_json(&self) -> Result<(String, String)> {
        let wrong = |e: &dyn std::fmt::Display| Error::invalid(format!("the tokenizer cannot be written: {e}"));
        let token = |id: Option<u32>| id.and_then(|id| self.inner.id_to_token(id));
        let settings = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": token(self.bos),
            "eos_token": token(self.eos),
            "pad_token": token(self.pad),
        });
        let settings = serde_json::to_string_pretty(&settings).map_err(|e| wrong(&e))?;
        Ok((self.inner.to_string(true).map_err(|e| wrong(&e))?, settings))
    }

    /// The exact bytes that a token stands for; may be part of a character.
    pub fn piece(&self, id: u32) -> Vec<u8> {
        let Some(token) = self.inner.id_to_token(id) else { return format!("<{id}>").into_bytes() };
        if self.special(id) || self.inner.get_added_tokens_decoder().contains_key(&id) {
            return token.into_bytes();
        }
        match self.alphabet {
            Alphabet::ByteLevel => token.chars().flat_map(byte_of).collect(),
            Alphabet::SentencePiece => {
                let hex = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
                match hex.filter(|h| h.len() == 2).and_then(|h| u8::from_str_radix(h, 16).ok()) {
                    Some(byte) => vec![byte],
                    None => token.replace('▁', " ").into_bytes(),
                }
            }
        }
    }

    /// Every id of the vocabulary that the model can read, ascending.
    pub fn ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.inner.get_vocab(true).into_values().filter(|id| *id < self.d_vocab).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Whether a token spells out a single byte, as `<0x41>` does.
    pub fn is_byte(&self, id: u32) -> bool {
        let token = self.inner.id_to_token(id);
        self.alphabet == Alphabet::SentencePiece && token.is_some_and(|t| t.starts_with("<0x") && t.ends_with('>'))
    }

    /// BOS, EOS or padding.
    pub fn special(&self, id: u32) -> bool {
        [self.bos, self.eos, self.pad].contains(&Some(id))
    }

    /// The special ids, each once.
    pub fn specials(&self) -> std::collections::HashSet<u32> {
        [self.bos, self.eos, self.pad].into_iter().flatten().collect()
    }
}

/// The byte behind one character of GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes for the
/// characters from U+0100 on, in order. Anything else is left as it is.
fn byte_of(c: char) -> Vec<u8> {
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = c as u32;
    if printable(code) {
        return vec![code as u8];
    }
    let byte = code.checked_sub(0x100).and_then(|n| (0..=255).filter(|b| !printable(*b)).nth(n as usize));
    byte.map_or_else(|| c.to_string().into_bytes(), |b| vec![b as u8])
}

/// What `tokenizer_config.json` says otherwise than `tokenizer.json`, which is followed.
fn disagreements(settings: &Value, inner: &Inner) -> Vec<String> {
    let mut warnings = Vec::new();
    let on = |key: &str| settings.get(key).and_then(Value::as_bool);
    let mut warn = |what: &str| {
        warnings
            .push(format!("tokenizer_config.json says {what}, and tokenizer.json does not: the latter is followed"));
    };
    let own = inner.get_pre_tokenizer().and_then(|split| serde_json::to_value(split).ok());
    let own = own.as_ref().and_then(|split| find(split, "add_prefix_space")).and_then(Value::as_bool);
    if let (Some(said), Some(own)) = (on("add_prefix_space"), own)
        && said != own
    {
        warn(&format!("add_prefix_space = {said}"));
    }
    if on("split_special_tokens") == Some(true) {
        warn("split_special_tokens = true");
    }
    let added = settings.get("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten();
    let contents = added.filter_map(|(_, token)| token.get("content")?.as_str());
    if let Some(missing) = contents.into_iter().find(|content| inner.token_to_id(content).is_none()) {
        warn(&format!("that {:?} is a token", shorten(missing, 40)));
    }
    warnings
}

/// The first value of a key, at any depth.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(object) => object.get(key).or_else(|| object.values().find_map(|value| find(value, key))),
        Value::Array(items) => items.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo;

    fn with(change: impl Fn(&mut Value)) -> Tokenizer {
        let model = demo::model(&candle_core::Device::Cpu, candle_core::DType::F32, &mut |_| Ok(())).unwrap();
        let (json, settings) = demo::tokenizer(&model).unwrap().to_json().unwrap();
        let (mut json, settings) = (serde_json::from_str(&json).unwrap(), serde_json::from_str(&settings).unwrap());
        change(&mut json);
        Tokenizer::from_bytes(Path::new("t"), json.to_string().as_bytes(), &settings, &model.config).unwrap()
    }

    /// Its pattern is tried in more ways than there is time for, which the library answers with a panic.
    #[test]
    fn a_pattern_without_an_end_is_refused() {
        let split = serde_json::json!({
            "type": "Split", "pattern": { "Regex": "(x+x+)+y" }, "behavior": "Isolated", "invert": false,
        });
        let tokenizer = with(|json| json["pre_tokenizer"] = split.clone());
        let error = tokenizer.encode(&"x".repeat(40), false).unwrap_err().to_string();
        assert!(error.contains("cannot be tokenized by this tokenizer: "), "{error}");
        assert!(tokenizer.encode("navy", false).is_ok());
    }

    #[test]
    fn the_byte_alphabet() {
        assert_eq!(byte_of('A'), b"A");
        assert_eq!(byte_of('Ġ'), b" ");
        assert_eq!(byte_of('Ċ'), b"\n");
        assert_eq!(byte_of('é'), vec![0xe9]);
        assert_eq!(byte_of('Ń'), vec![0xad]);
    }
}
