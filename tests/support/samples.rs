//! Plausible figures from simple formulas, no randomness: what an engine might answer.

use std::{collections::HashMap, sync::Arc};

use prunelens::engine::{FamilyInfo, GenerateTask, Hit, MemoryUse, ParamInfo, Report, SessionInfo, Why};
use prunelens_core::compare::predict::{Candidate, Prediction, Predictions, Speaker};
use prunelens_core::compare::{
    Comparison, Example, GRID, LatentDetail, LayerFigures, Match, Paths, ReconstructionFigures, SpliceFigures, Token,
    Variant, VariantFigures, View,
};
use prunelens_core::edit::Edits;
use prunelens_core::generate::{End, Written};
use prunelens_core::index::{Band, Coactive, Corpus, LatentPage, Texts};
use prunelens_core::sae::{Criterion, Knob, Latents, Setting};
use prunelens_metrics::details::{Cell, Mark, Series};
use prunelens_metrics::{Better, Detail, Estimate, JobSpec, Kind, MetricRow, MetricTable, ParamValue, Run};

pub const PROMPT: &str = "The army and the navy of the United States are";

/// Latents of the shared dictionary that fire on every token but the first, and how strongly at most.
const LATENTS: [(u32, f32); 9] =
    [(1204, 8.21), (77, 5.02), (1630, 3.4), (402, 2.11), (88, 1.6), (2001, 1.2), (9, 0.9), (512, 0.5), (1999, 0.31)];

pub fn info() -> SessionInfo {
    SessionInfo {
        model: "demo".into(),
        parameters: 2_600_000,
        compression: "wanda 50%".into(),
        hook: "blocks.1.hook_resid_post".into(),
        layer: 1,
        layers: Vec::new(),
        sae: "2k topk32".into(),
        sae_name: "blocks.1.hook_resid_post".into(),
        joined: None,
        d_sae: 2048,
        d_in: 128,
        sae_digest: "0123".into(),
        digests: vec![("sae".into(), "0123".into())],
        n_layers: 4,
        variants: Variant::ALL.to_vec(),
        setting: SETTING,
        criterion: Criterion::Wanda,
        criteria: Criterion::ALL.to_vec(),
        context: 256,
        device: "cpu 2 threads".into(),
        dtype: "f32".into(),
        space: "raw".into(),
        memory: memory(),
        examples: [PROMPT, "Four score and seven years ago", "It is a truth universally acknowledged"]
            .map(String::from)
            .to_vec(),
        families: families(),
        probe_ms: 12.0,
        warnings: Vec::new(),
    }
}

/// The same of one of several layers, each with an SAE of its own.
pub fn layered_info(layer: usize, n: usize) -> SessionInfo {
    let sae_digest = format!("sae of {layer}");
    SessionInfo {
        hook: format!("blocks.{layer}.hook_resid_post"),
        layer,
        layers: (0..n).collect(),
        digests: vec![("sae".into(), sae_digest.clone())],
        sae_digest,
        n_layers: n,
        ..info()
    }
}

/// A prompt at a layer: deeper ones fit worse, and lose more of what fires.
pub fn layer_figures(layer: usize, setting: Setting) -> LayerFigures {
    let depth = layer as f64;
    let left = 1.0 - setting.at / 2.0;
    let of = |variant: Variant| {
        let worse = 1.0 + variant as usize as f64;
        let survive = match variant {
            Variant::Original => Some(200),
            Variant::Transfer => Some(200 - 9 * layer),
            Variant::Pruned => Some(((200 - 9 * layer) as f64 * left) as usize),
            Variant::Trained => None,
        };
        let figures = VariantFigures {
            explained_variance: 1.0 - 0.01 * worse - 0.012 * depth,
            l0: 30.0 + depth,
            ce: 3.0 + 0.05 * worse,
            kl: 0.01 * worse * (1.0 + depth),
            survive,
        };
        (variant, figures)
    };
    LayerFigures {
        layer,
        hook: format!("blocks.{layer}.hook_resid_post"),
        sae: "2k topk32".into(),
        setting,
        active: 200,
        variants: Variant::ALL.map(of).to_vec(),
    }
}

fn families() -> Vec<FamilyInfo> {
    let param = |name, help, kind, default: &str| ParamInfo { name, help, kind, default: default.into() };
    let core = vec![
        param("variants", "Variants to measure, with commas between [default: all]", Kind::Variants, ""),
        param("rows", "Token rows to measure on", Kind::Count { least: 1, most: 1000 }, "64"),
        param("batch", "Rows in a batch; SAEBench's mse depends on it", Kind::Count { least: 1, most: 100 }, "8"),
        param("ratio", "Share of the pruned variant's SAE weights set to zero", Kind::Ratio, "0.25"),
        param("criterion", "How the SAE's weights are ranked for pruning", Kind::Criterion, "wanda"),
        param("text", "Text or tokens to measure on", Kind::Path, ""),
    ];
    let sweep = vec![param("ratios", "Ratios to prune to, with commas between", Kind::Ratios, "0,0.25,0.5,0.75")];
    let train = vec![param("tokens", "Tokens to train on", Kind::Count { least: 1, most: 1 << 40 }, "200000")];
    vec![
        FamilyInfo { name: "core", title: "Reconstruction, sparsity, and what predictions lose", params: core },
        FamilyInfo { name: "sweep", title: "Loss against the ratio", params: sweep },
        FamilyInfo { name: "train", title: "An SAE on the pruned model", params: train },
    ]
}

pub fn estimate() -> Estimate {
    Estimate { tokens: 8192, passes: 4.5, seconds: Some(38.0), bytes: 120 << 20, free: Some(3 << 30), remark: None }
}

fn memory() -> MemoryUse {
    let parts = [("original model", 10u64), ("pruned copy", 6), ("SAE and ranks", 12), ("caches", 33)];
    MemoryUse { parts: parts.map(|(name, mib)| (name.to_owned(), mib << 20)).to_vec(), ..MemoryUse::default() }
}

/// The ratio at which a latent stops firing; the last ones never do.
fn death(latent: u32) -> f64 {
    0.35 + 0.2 * f64::from(latent % 5)
}

/// Activation at a ratio: falls along a curve, zero from the ratio of death on.
fn at_ratio(full: f32, latent: u32, ratio: f64) -> f32 {
    let left = 1.0 - (ratio / death(latent)).powi(2);
    if left > 0.0 { full * left as f32 } else { 0.0 }
}

fn strength(token: usize, at: usize) -> f32 {
    1.0 / (1.0 + ((token * 3 + at * 7) % 5) as f32 * 0.6)
}

fn tokens(prompt: &str) -> Vec<Token> {
    let mut tokens = vec![Token { id: 0, piece: b"<|bos|>".to_vec(), special: true }];
    let mut piece = String::new();
    for c in prompt.chars() {
        if c == ' ' && !piece.is_empty() {
            tokens.push(token(std::mem::take(&mut piece)));
        }
        piece.push(c);
    }
    tokens.push(token(piece));
    tokens
}

/// The same word has the same id everywhere.
fn token(piece: String) -> Token {
    let id = piece.bytes().fold(1, |id: u32, byte| (id * 31 + u32::from(byte)) % 49_999);
    Token { id, piece: piece.into_bytes(), special: false }
}

fn latents(n: usize, scale: impl Fn(u32, f32) -> f32, offset: u32) -> Latents {
    let mut latents = Latents::new(2048);
    for token in 0..n {
        let mut row: Vec<(u32, f32)> = LATENTS
            .iter()
            .enumerate()
            .map(|(at, &(latent, most))| ((latent + offset) % 2048, scale(latent, most * strength(token, at))))
            .filter(|(_, v)| *v > 0.0)
            .collect();
        row.sort_by_key(|(latent, _)| *latent);
        latents.push_row(row);
    }
    latents
}

/// How much of a comparison has arrived.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Latents,
    All,
}

/// Where the stand-in's slider stands at first.
pub const SETTING: Setting = Setting { knob: Knob::Ratio(Criterion::Wanda), at: 0.25 };

pub fn comparison(prompt: &str, setting: Setting, part: Part) -> Comparison {
    let ratio = setting.knob.scale(128).position(setting.at);
    let tokens = tokens(prompt);
    let n = tokens.len();
    let view = |variant: Variant| {
        let latents = match variant {
            Variant::Original => latents(n, |_, v| v, 0),
            Variant::Transfer => latents(n, |_, v| v * 0.95, 0),
            Variant::Pruned => latents(n, |l, v| at_ratio(v * 0.95, l, ratio), 0),
            Variant::Trained => latents(n, |_, v| v * 0.85, 17),
        };
        let loss = match variant {
            Variant::Original => 0.0,
            Variant::Transfer => 0.028,
            Variant::Pruned => 0.03 + 0.3 * ratio * ratio,
            Variant::Trained => 0.015,
        };
        View {
            variant,
            latents: Arc::new(latents),
            reconstruction: (part >= Part::All).then_some(ReconstructionFigures {
                l0: 9.0 - (10.0 * loss).floor(),
                mse: 0.12 + loss,
                explained_variance: 0.912 - loss,
                cossim: 0.961 - loss / 2.0,
            }),
            splice: (part >= Part::All).then_some(SpliceFigures {
                ce_loss_without_sae: if variant == Variant::Original { 3.38 } else { 3.52 },
                ce_loss_with_sae: 3.41 + 5.0 * loss,
                kl_div_with_sae: 0.02 + 4.0 * loss,
            }),
        }
    };
    Comparison {
        prompt: prompt.into(),
        hook: "blocks.1.hook_resid_post".into(),
        setting,
        views: Variant::ALL.map(view).to_vec(),
        paths: (part >= Part::All).then(|| Arc::new(paths(n, setting.knob))),
        matches: Arc::new(matches()),
        tokens: Arc::new(tokens),
    }
}

fn matches() -> HashMap<u32, Match> {
    LATENTS
        .iter()
        .enumerate()
        .map(|(at, &(latent, _))| {
            (latent, Match { latent: (latent + 17) % 2048, cosine: 0.97 - 0.07 * at as f32, mutual: at % 3 != 1 })
        })
        .collect()
}

fn paths(n: usize, knob: Knob) -> Paths {
    let scale = knob.scale(128);
    let grid = scale.grid();
    let place = |step: usize| scale.position(grid[step]);
    let full = latents(n, |_, v| v * 0.95, 0);
    let row = |token: usize| {
        let (indices, values) = full.row(token);
        let path = |(&latent, &value): (&u32, &f32)| {
            (
                latent,
                std::array::from_fn::<f32, GRID, _>(|step| {
                    if step < grid.len() { at_ratio(value, latent, place(step)) } else { 0.0 }
                }),
            )
        };
        indices.iter().zip(values).map(path).collect::<Vec<_>>()
    };
    let rows: Vec<_> = (0..n).map(row).collect();
    let active = full.indices.len();
    let survival = (0..grid.len())
        .map(|step| rows.iter().flatten().filter(|(_, path)| path[step] > 0.0).count() as f64 / active as f64)
        .collect();
    Paths { knob, grid, survival, active, rows }
}

pub fn detail(latent: u32, token: usize, knob: Knob) -> LatentDetail {
    let at = LATENTS.iter().position(|(l, _)| *l == latent);
    let full = at.map_or(0.0, |at| LATENTS[at].1 * strength(token, at) * 0.95);
    let pieces = |words: &[&str]| words.iter().map(|w| (w.as_bytes().to_vec(), 1.5)).collect();
    let example = |before: &str, token: &str, after: &str, activation| Example {
        before: before.into(),
        token: token.into(),
        after: after.into(),
        activation,
    };
    let scale = knob.scale(128);
    LatentDetail {
        matched: None,
        latent,
        token,
        knob,
        curve: scale.fine().into_iter().map(|at| (at, at_ratio(full, latent, scale.position(at)))).collect(),
        dies_at: (full > 0.0 && death(latent) < 1.0).then(|| death(latent)),
        promotes: pieces(&[" navy", " forces", " army", " ships", " fleet", " troops"]),
        suppresses: pieces(&[" she", " miss", " her", "\n", " tea"]),
        density: Some(0.008),
        max_activation: Some(11.3),
        examples: vec![
            example("of the whole of the ", " navy", " and the army were", 11.3),
            example("men of war, and the", " fleet", " lay at anchor in", 9.7),
            example("to raise and support", " armies", ", but no appropriation", 8.9),
        ],
    }
}

/// A latent over a corpus, weaker in the variants that follow.
pub fn page(latent: u32) -> LatentPage {
    let example = |before: &str, token: &str, after: &str, activation| Example {
        before: before.into(),
        token: token.into(),
        after: after.into(),
        activation,
    };
    let corpus = |variant: Variant| {
        let scale = 1.0 - 0.2 * variant as usize as f32;
        let texts = Texts {
            top: vec![
                example("of the whole of the ", " navy", " and the army were", 11.3 * scale),
                example("men of war, and the", " fleet", " lay at anchor in", 9.7 * scale),
            ],
            intervals: vec![Band {
                from: 0.0,
                to: 2.3 * scale,
                share: 0.0031,
                examples: vec![example("to raise and support", " armies", ", but no", 1.4 * scale)],
            }],
        };
        let histogram = (0..50).map(|bar| (60 / (bar + 1)) as u32).collect();
        let latent = if variant == Variant::Trained { (latent + 17) % 2048 } else { latent };
        Corpus { latent, fires: 90 - 15 * variant as usize, mean: 2.4 * scale, max: 11.3 * scale, histogram, texts }
    };
    LatentPage {
        latent,
        rows: (24, 32),
        tokens: 6120,
        setting: SETTING,
        variants: Variant::ALL.map(|variant| (variant, corpus(variant))).to_vec(),
        near: vec![(881, 0.71), (17, 0.52)],
        coactive: vec![Coactive { latent: 12, cosine: 0.33 }],
    }
}

/// What the models say after a token; an edit makes the second likeliest the first.
pub fn predictions(token: usize, edits: &Edits) -> Predictions {
    let said = |of: Speaker, shift: f32| {
        let candidate = |(at, (piece, alone)): (usize, (&str, f32))| {
            let probability = if at == 0 { alone - shift } else { alone + shift / 2.0 };
            Candidate { id: at as u32, piece: piece.into(), probability, alone }
        };
        let mut top: Vec<Candidate> =
            [(" navy", 0.41), (" army", 0.22), ("\n", 0.08)].into_iter().enumerate().map(candidate).collect();
        top.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        Prediction { of, top, kl: shift, ce: Some(2.5 + shift) }
    };
    let mut list = vec![said(Speaker::Model(Variant::Original), 0.0), said(Speaker::Model(Variant::Transfer), 0.0)];
    list.extend(Variant::ALL.map(|variant| said(Speaker::Spliced(variant), 0.02 * (1 + variant as usize) as f32)));
    if !edits.list.is_empty() {
        let edited = [Variant::Original, Variant::Transfer, Variant::Pruned];
        list.extend(edited.map(|variant| said(Speaker::Edited(variant), 0.3)));
    }
    Predictions { token, list, between: (0..16).map(|at| at as f32 / 8.0).collect() }
}

/// Texts as the engine reports them, up to so many tokens each; they end after twelve.
pub fn generated(generation: u64, task: &GenerateTask, most: usize) -> Vec<Report> {
    let mut by = vec![Speaker::Model(Variant::Original), Speaker::Model(Variant::Transfer)];
    if !task.edits.list.is_empty() {
        by.extend([Variant::Original, Variant::Transfer, Variant::Pruned].map(Speaker::Edited));
    }
    let mut reports = vec![Report::Generating { generation, by: by.clone() }];
    let words = [" in", " command", " of", " the", " sea", " and", " of", " all", " its", " forts", ",", "\n"];
    for at in 0..=words.len().min(most) {
        for (writer, of) in by.iter().enumerate() {
            let written = match words.get(at) {
                _ if at == most => continue,
                None => Written::Ended(End::Length),
                Some(word) => {
                    let word = if at >= 3 + writer && writer > 0 { words[(at + writer) % words.len()] } else { word };
                    let token = Token { id: word.len() as u32, piece: word.as_bytes().to_vec(), special: false };
                    let fired = LATENTS.iter().take(5).enumerate();
                    let mut latents: Vec<(u32, f32)> =
                        fired.map(|(n, (latent, most))| (*latent, most * strength(at + writer, n))).collect();
                    latents.sort_by_key(|(latent, _)| *latent);
                    Written::Token(token, latents)
                }
            };
            reports.push(Report::Generated { generation, of: *of, written, seconds: 0.05 + 0.01 * writer as f64 });
        }
    }
    reports
}

pub fn hits(word: &str) -> Vec<Hit> {
    match word {
        "navy" => vec![
            Hit { latent: 1204, why: Why::Fires { places: (7, 9), share: 0.64 } },
            Hit { latent: 12, why: Why::Promotes(1.75) },
        ],
        _ => Vec::new(),
    }
}

pub fn table(progress: f64) -> MetricTable {
    let row = |category: &str, name: &str, better, values: [f64; 4]| MetricRow {
        category: category.into(),
        name: name.into(),
        better,
        values: values.map(Some).to_vec(),
    };
    let mut rows = vec![
        row("model_performance_preservation", "ce_loss_score", Better::Higher, [0.985, 0.951, 0.934, 0.962]),
        row("model_performance_preservation", "ce_loss_with_sae", Better::Lower, [3.412, 3.62, 3.661, 3.58]),
        row("reconstruction_quality", "explained_variance", Better::Higher, [0.912, 0.884, 0.861, 0.897]),
        row("reconstruction_quality", "mse", Better::Lower, [0.000_21, 0.1301, 0.1502, 0.12]),
        row("sparsity", "l0", Better::Neither, [32.0, 32.0, 31.4, 32.0]),
    ];
    rows[1].values[3] = None;
    MetricTable {
        metric: "core".into(),
        settings: vec![("model".into(), "demo".into()), ("tokens".into(), "16384".into())],
        variants: Variant::ALL.to_vec(),
        rows,
        warnings: vec![
            "explained_variance follows SAEBench's own formula, which differs from the one beside the prompt".into(),
        ],
        progress,
        blocks: Vec::new(),
    }
}

/// A sweep's chart, a table with words, as families give them.
pub fn details() -> Vec<Detail> {
    let curve = |variant: Variant, name: &str, slope: f64, knee: Option<f64>| {
        let loss = |x: f64| 3.4 + slope * x * x * x;
        Series {
            name: name.into(),
            variant: Some(variant),
            points: (0..=9).map(|i| f64::from(i) / 10.0).map(|x| (x, loss(x))).collect(),
            mark: knee.map(|x| Mark { at: (x, loss(x)), name: "knee".into() }),
        }
    };
    let mut curves =
        vec![curve(Variant::Pruned, "pruned, wanda", 2.0, Some(0.6)), curve(Variant::Transfer, "transfer", 0.0, None)];
    curves[0].points[9].1 = f64::NAN;
    let letter = |letter: &str, rate: f64, words: &str| vec![letter.into(), Cell::Number(rate), words.into()];
    let letters = vec![
        letter(
            "a",
            0.25,
            "army, American, and all that begins with the letter a where its own latent stays silent, any at all",
        ),
        letter("b", f64::NAN, ""),
        vec!["c".into(), 0.5.into(), Cell::Empty],
    ];
    vec![
        Detail::lines("CE against ratio", "ratio", "CE", curves),
        Detail::table("absorption per letter: transfer", ["letter", "full", "absorbed"], letters),
    ]
}

/// A run of earlier, some hours ago.
pub fn run(ratio: f64, hook: &str) -> Run {
    let mut table = table(1.0);
    table.settings.push(("hook".into(), hook.into()));
    table.rows[0].values[2] = Some(0.9 - ratio / 10.0);
    Run {
        when: NOW - 3 * 3_600_000,
        spec: JobSpec::new("core")
            .with("ratio", ParamValue::Number(ratio))
            .with("criterion", ParamValue::Text("wanda".into())),
        session: format!("demo, wanda 50%, 2k topk32, {hook}"),
        seconds: 41.0,
        table,
        details: Vec::new(),
        files: Vec::new(),
        key: String::new(),
        sha256: Vec::new(),
    }
}

/// The time in these tests, in milliseconds since 1970.
pub const NOW: u64 = 1_750_000_000_000;
