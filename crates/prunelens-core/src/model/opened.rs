//! A model's files, opened: what its config says, and its weights by their names, however they are stored.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    NormKind, Part,
    config::{Biases, Config, Keys, RopeScaling},
    families::{self, Names},
    gguf, leftover,
    load::{inputs, matrices, reorder},
    weights::{Weights, read_json},
};
use crate::error::{Error, Result};

/// A Hugging Face folder or a GGUF file.
#[derive(Debug)]
pub struct Opened {
    /// As users know it.
    pub name: String,
    /// What its config says.
    pub config: Config,
    /// Its tensors; those that are stored in fewer bits are read under their own names.
    pub weights: Weights,
    pub(super) names: &'static Names,
    /// As a `config.json`.
    json: Value,
    pub(super) gguf: bool,
}

/// One tensor that the model takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// As the files name it.
    pub stored: String,
    /// As the reference libraries name it.
    pub published: String,
    /// As the files have it, and the libraries.
    pub shape: Vec<usize>,
    /// Where each row belongs, if files have them in another order.
    places: Option<Vec<usize>>,
    /// What files lack of the libraries' numbers.
    offset: f32,
}

/// The GGUF file that a path means: itself, or the only one in a folder without `config.json`.
pub(super) fn gguf_file(path: &Path) -> Result<Option<PathBuf>> {
    let is_gguf = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    if path.is_file() {
        if is_gguf(path) {
            return Ok(Some(path.to_path_buf()));
        }
        return Err(Error::file(path, "expected a Hugging Face folder or a .gguf file"));
    }
    if path.join("config.json").exists() || !path.is_dir() {
        return Ok(None);
    }
    let entries = std::fs::read_dir(path).map_err(|e| Error::io(path, e))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| is_gguf(p)).collect();
    match files.len() {
        0 => Ok(None),
        1 => Ok(files.pop()),
        n => Err(Error::file(path, format!("holds {n} .gguf files; name the one to read"))),
    }
}

impl Opened {
    /// Read everything but the weights, and find where each of them is.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let name = name.file_name().map_or("model".into(), |n| crate::text::safe(&n.to_string_lossy()));
        if let Some(file) = gguf_file(path)? {
            return Self::gguf(name, &file);
        }
        let config = path.join("config.json");
        let json = read_json(&config)?;
        // A config that is not read is refused before any weight is looked at.
        families::config(Keys { value: &json, path: &config })?;
        Self::new(name, &config, json, Weights::open_model(path)?)
    }

    /// From a parsed `config.json`, read at `config_path`, and its tensors.
    pub fn new(name: String, config_path: &Path, json: Value, mut weights: Weights) -> Result<Self> {
        let keys = Keys { value: &json, path: config_path };
        let (family, config) = (families::family(keys)?, families::config(keys)?);
        let names = &family.names;
        let conv1d = |module: &str| names.conv1d && module != names.unembed.trim_end_matches(".weight");
        weights.unpack(keys, config_path.parent(), &conv1d)?;
        let all: Vec<&str> = weights.names().chain(weights.unread()).collect();
        leftover::refuse(names, &all).map_err(|why| Error::file(weights.path(), why))?;
        if weights.shape(names.unembed).is_none() && !config.tied {
            return Err(Error::file(
                weights.path(),
                format!("tensor {:?} is missing, and config.json says that it is not tied", names.unembed),
            ));
        }
        Ok(Self { name, config, weights, names, json, gguf: false })
    }

    fn gguf(name: String, file: &Path) -> Result<Self> {
        let weights = Weights::open(file)?;
        let tied = weights.shape("output.weight").is_none();
        if let Some(name) =
            ["rope_factors_long.weight", "rope_factors_short.weight"].iter().find(|n| weights.shape(n).is_some())
        {
            return Err(Error::file(
                file,
                format!("tensor {name:?}: longrope scaling of rotary positions is not supported"),
            ));
        }
        let (json, names, warnings) =
            gguf::describe(&weights.metadata, tied).map_err(|what| Error::file(file, what))?;
        let mut config = families::config(Keys { value: &json, path: file })?;
        config.warnings.extend(warnings);
        if let (Some(rope), Some([n])) = (&mut config.rope, weights.shape("rope_freqs.weight")) {
            // Llama 3's scaling, as llama.cpp stores it.
            rope.scaling = RopeScaling::Divisors(weights.f32("rope_freqs.weight", &[*n])?);
        }
        // Biases are where the file has them.
        let has = |name: &str| weights.shape(&format!("{}{name}.bias", names.block.replace("{}", "0"))).is_some();
        let mlp = [names.mlp_in, &[names.mlp_out]].concat().into_iter().any(has);
        config.biases = Biases { qkv: names.qkv.iter().any(|name| has(name)), o: has(names.o), mlp };
        Ok(Self { name, config, weights, names, json, gguf: true })
    }

    /// Whether weights are stored in another way than in floats of 16 or 32 bits under the names of the libraries.
    pub fn is_plain(&self) -> bool {
        !self.gguf && self.weights.quantised().is_empty()
    }

    /// What stands before the names of the file's tensors.
    pub(super) fn prefix(&self) -> &'static str {
        let has = |prefix: &&&str| self.weights.shape(&format!("{prefix}{}", self.names.embed)).is_some();
        self.names.prefixes.iter().find(has).unwrap_or(&self.names.prefixes[0])
    }

    /// Everything that the model takes from its files.
    pub fn parameters(&self) -> Result<Vec<Parameter>> {
        let stored = self.list(self.names, self.prefix());
        if !self.gguf {
            return Ok(stored);
        }
        let published = self.published()?;
        let both = stored.into_iter().zip(self.list(published, published.prefixes[0]));
        Ok(both
            .map(|(stored, published)| Parameter {
                published: published.stored,
                offset: stored.offset - published.offset,
                ..stored
            })
            .collect())
    }

    /// The module that gives logits, as the reference libraries name it.
    pub fn unembed(&self) -> Result<&'static str> {
        Ok(self.published()?.unembed.trim_end_matches(".weight"))
    }

    /// Names as the reference libraries have them, whatever the file's are.
    fn published(&self) -> Result<&'static Names> {
        Ok(&families::family(Keys { value: &self.json, path: Path::new("config.json") })?.names)
    }

    /// The same by one family's names, in an order that all families share.
    fn list(&self, names: &Names, prefix: &str) -> Vec<Parameter> {
        let config = &self.config;
        let mut all = Vec::new();
        let mut add = |name: String, shape: Vec<usize>, places: Option<Vec<usize>>, offset: f32| {
            all.push(Parameter { published: name.clone(), stored: name, shape, places, offset });
        };
        add(format!("{prefix}{}", names.embed), vec![config.d_vocab, config.d_model], None, 0.0);
        if let Some(positions) = names.positions {
            add(format!("{prefix}{positions}"), vec![config.n_ctx, config.d_model], None, 0.0);
        }
        let mut norms = vec![(format!("{prefix}{}", names.ln_final), config.d_model)];
        for layer in 0..config.n_layers {
            let block = format!("{prefix}{}", names.block.replace("{}", &layer.to_string()));
            let wide = [Some(names.ln1), Some(names.ln2), names.ln1_post, names.ln2_post];
            norms.extend(wide.into_iter().flatten().map(|norm| (format!("{block}{norm}"), config.d_model)));
            let heads = names.qk_norms.into_iter().flatten();
            norms.extend(heads.map(|norm| (format!("{block}{norm}"), config.d_head)));
            for part in Part::ALL {
                let (mut total, inputs) = (0, inputs(config, part));
                for (name, rows) in matrices(names, config, part) {
                    let outputs = rows.len();
                    let places = |places: &[usize]| -> Option<Vec<usize>> {
                        let own = || places.iter().map(|place| place - total).collect();
                        (!names.qkv_by_head && !places.is_sorted()).then(own)
                    };
                    let shape = if names.conv1d { vec![inputs, outputs] } else { vec![outputs, inputs] };
                    add(format!("{block}{name}.weight"), shape, places(&rows), 0.0);
                    if config.biases.of(part) {
                        add(format!("{block}{name}.bias"), vec![outputs], places(&rows), 0.0);
                    }
                    total += outputs;
                }
            }
        }
        for (norm, width) in norms {
            add(format!("{norm}.weight"), vec![width], None, names.norm_offset);
            if config.norm == NormKind::LayerNorm {
                add(format!("{norm}.bias"), vec![width], None, 0.0);
            }
        }
        if !config.tied && self.weights.shape(self.names.unembed).is_some() {
            add(names.unembed.to_owned(), vec![config.d_vocab, config.d_model], None, 0.0);
        }
        all
    }

    /// The numbers of a parameter as the reference libraries have them.
    pub fn values(&self, parameter: &Parameter) -> Result<Vec<f32>> {
        let mut values = self.weights.f32(&parameter.stored, &parameter.shape)?;
        if let Some(places) = &parameter.places {
            values = reorder(&values, parameter.shape[1..].iter().product(), places, 0);
        }
        if self.gguf && parameter.offset != 0.0 {
            values.iter_mut().for_each(|value| *value += parameter.offset);
        }
        Ok(values)
    }

    /// A `config.json` of these weights in a type of floats, not quantised.
    pub fn plain_config(&self, dtype: &str) -> Result<Value> {
        let mut json = self.json.clone();
        let refuse =
            |what: &str| Err(Error::file(self.weights.path(), format!("cannot be written as a folder: {what}")));
        if self.gguf {
            if let Some(RopeScaling::Divisors(_)) = self.config.rope.as_ref().map(|rope| &rope.scaling) {
                return refuse("rope_freqs.weight has no place in a config.json");
            }
            let Biases { qkv, o, mlp } = self.config.biases;
            match self.config.family.as_str() {
                "llama" if qkv == o => {
                    json["attention_bias"] = json!(qkv);
                    json["mlp_bias"] = json!(mlp);
                }
                "qwen2" if qkv && !o && !mlp => {}
                "llama" | "qwen2" => return refuse("its biases have no place in a config.json"),
                _ if qkv || o || mlp => return refuse("its biases have no place in a config.json"),
                _ => {}
            }
            if let Some(name) = architecture(&self.config.family) {
                json["architectures"] = json!([name]);
            }
        }
        if let Some(object) = json.as_object_mut() {
            object.remove("quantization_config");
            object.remove("quantization");
            object.remove("dtype");
            object.insert("torch_dtype".into(), json!(dtype));
        }
        Ok(json)
    }
}

/// The class of a family, by which transformers' `AutoModelForCausalLM` and others find it.
fn architecture(family: &str) -> Option<&'static str> {
    Some(match family {
        "llama" => "LlamaForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        "gemma2" => "Gemma2ForCausalLM",
        "gemma3_text" => "Gemma3ForCausalLM",
        _ => return None,
    })
}
