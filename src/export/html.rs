//! A view as one HTML file that opens in any browser, without a network: table, paths, texts, figures, settings.

use std::fmt::Write;

use prunelens_core::{
    compare::{Comparison, Example, LatentDetail, Match, Variant, predict},
    sae::Scale,
};

use super::{
    comparison::{NAMES, values},
    markup::escape,
    pair::PairFigures,
};
use crate::safe;

/// What is shown of a view. Everything in it may come from strangers: it is escaped here.
pub struct View<'a> {
    /// Names and values, as a reader needs them to see the same again.
    pub settings: Vec<(&'static str, String)>,
    pub comparison: &'a Comparison,
    /// Of the comparison's knob.
    pub scale: Scale,
    pub token: usize,
    pub latent: Option<u32>,
    pub rows: Vec<Row>,
    /// The rows are of the strongest activations of the whole prompt, not of those at the token.
    pub whole: bool,
    /// The same latents in a second prompt, where there is one.
    pub pair: Option<PairFigures>,
    /// Of the selected latent.
    pub detail: Option<&'a LatentDetail>,
    /// Texts of the selected latent, by what they are on.
    pub texts: Vec<(String, &'a [Example])>,
    pub predictions: Option<&'a predict::Predictions>,
}

/// A row of the table of latents.
pub struct Row {
    pub latent: u32,
    pub name: Option<String>,
    /// In the order of [`Variant::ALL`].
    pub values: [Option<f32>; 4],
    pub matched: Option<Match>,
    /// At each setting of the knob's grid.
    pub path: Option<Vec<f32>>,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--muted:#6b7280;--line:#d6d9df;--original:#0072b2;--transfer:#00805c;--pruned:#b0528f;--trained:#a66a00;--heat:230,159,0}\
@media(prefers-color-scheme:dark){:root{--muted:#9aa1ad;--line:#3a404b;--original:#56b4e9;--transfer:#2fbf93;--pruned:#d98ab8;--trained:#e69f00}}\
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.15rem .7rem;text-align:right;border-bottom:1px solid var(--line)}\
th:first-child,td:first-child,.text{text-align:left}tr.chosen{font-weight:600;background:rgba(var(--heat),.15)}\
.muted,figcaption{color:var(--muted)}.strip,.text,code{font-family:ui-monospace,monospace;font-size:13px}\
.strip{overflow-wrap:anywhere}.strip b{outline:2px solid currentColor;border-radius:2px}.scroll{overflow-x:auto}\
.original{color:var(--original)}.transfer{color:var(--transfer)}.pruned{color:var(--pruned)}.trained{color:var(--trained)}\
mark{background:rgba(var(--heat),.55);color:inherit}svg{vertical-align:middle}";

impl View<'_> {
    pub fn html(&self) -> String {
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>prunelens: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
            escape(&safe::cut(&safe::line(&self.comparison.prompt), 80, false)),
        );
        self.prompt(&mut out);
        self.table(&mut out);
        self.second(&mut out);
        self.selected(&mut out);
        self.figures(&mut out);
        self.predicted(&mut out);
        self.facts(&mut out);
        out.push_str("</body>\n</html>\n");
        out
    }

    /// The prompt as both models read it, shaded by the selected latent.
    fn prompt(&self, out: &mut String) {
        let c = self.comparison;
        let _ = writeln!(out, "<h1>{}</h1>", escape(&safe::line(&c.prompt)));
        let by = self.latent.map(|latent| format!(", shaded by #{latent}")).unwrap_or_default();
        let _ = writeln!(out, "<p class=\"muted\">Tokens{by}; the selected one is framed.</p>");
        let strips = [Variant::Original, Variant::Pruned].map(|variant| (variant, self.activations(variant)));
        let ordinary = |at: &usize| c.tokens.get(*at).is_some_and(|token| !token.special);
        let most = strips
            .iter()
            .flat_map(|(_, values)| values.iter().enumerate().filter(|(at, _)| ordinary(at)).map(|(_, v)| *v))
            .fold(0.0, f32::max);
        for (variant, values) in strips.iter().filter(|(_, values)| !values.is_empty()) {
            let _ = write!(out, "<p class=\"strip\"><span class=\"{variant}\">{variant}</span> ");
            for (at, token) in c.tokens.iter().enumerate() {
                let value = values.get(at).copied().unwrap_or(0.0);
                let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
                let tag = if at == self.token { "b" } else { "span" };
                let _ = write!(
                    out,
                    "<{tag} style=\"background:rgba(var(--heat),{share:.2})\" title=\"{value:.3}\">{}</{tag}> ",
                    escape(&safe::piece(&token.piece, false))
                );
            }
            out.push_str("</p>\n");
        }
    }

    /// Activations of the selected latent along the prompt; zeros where none is selected.
    fn activations(&self, variant: Variant) -> Vec<f32> {
        let Some(view) = self.comparison.view(variant) else { return Vec::new() };
        let value = |at| self.latent.map_or(0.0, |latent| view.latents.get(at, latent));
        (0..self.comparison.tokens.len()).map(value).collect()
    }

    fn variants(&self) -> impl Iterator<Item = Variant> + '_ {
        self.comparison.views.iter().map(|view| view.variant)
    }

    fn table(&self, out: &mut String) {
        let c = self.comparison;
        let title = match self.whole {
            true => "Latents, strongest of the whole prompt".to_owned(),
            false => format!("Latents at {} {}", self.token, code(c, self.token)),
        };
        let _ = write!(out, "<h2>{title}</h2>\n<div class=\"scroll\"><table>\n<tr><th>latent</th>");
        for variant in self.variants() {
            let _ = write!(out, "<th class=\"{variant}\">{variant}</th>");
        }
        let _ = writeln!(
            out,
            "<th>match in trained</th><th>activation against the {}, from untouched on</th></tr>",
            self.scale.knob.name()
        );
        let live = self.scale.position(c.setting.at);
        for row in &self.rows {
            let chosen = if Some(row.latent) == self.latent { " class=\"chosen\"" } else { "" };
            let name = row.name.as_deref().map(|name| format!(" {}", escape(&safe::line(name)))).unwrap_or_default();
            let _ = write!(out, "<tr{chosen}><td>#{}{name}</td>", row.latent);
            for variant in self.variants() {
                let _ = write!(out, "<td>{}</td>", number(row.values[variant as usize]));
            }
            let matched = row.matched.map_or("-".into(), |m| format!("#{} {:.2}", m.latent, m.cosine));
            let path = row.path.as_ref().map(|path| {
                let points = path.iter().enumerate().map(|(step, value)| (step as f64 / path.len() as f64, *value));
                plot(&points.collect::<Vec<_>>(), &[], live, (120.0, 18.0))
            });
            let _ = writeln!(out, "<td>{matched}</td><td>{}</td></tr>", path.unwrap_or_else(|| "-".into()));
        }
        out.push_str("</table></div>\n");
        let what = match self.whole {
            true => "Largest activations on this prompt, special tokens left out",
            false => "Activations at this token",
        };
        let _ = writeln!(
            out,
            "<p class=\"muted\">{what}: of the SAE on the original model, of the same SAE on the pruned model (transfer), and \
             compressed alike, {}, on the pruned model.</p>",
            c.setting
        );
    }

    /// The same latents in the second prompt, and what they are there less what they are in the first.
    fn second(&self, out: &mut String) {
        let Some(pair) = &self.pair else { return };
        let _ = writeln!(out, "<h2>Beside: {}</h2>", escape(&safe::line(&pair.second.prompt)));
        let at = match pair.tokens {
            Some((_, Some(second))) => format!("At {second} {}", code(&pair.second, second)),
            Some((first, None)) => format!("Nothing lies beside token {first} of the first prompt"),
            None => "The strongest of the whole prompt".into(),
        };
        let _ = writeln!(
            out,
            "<p class=\"muted\">{at}; in brackets the difference from the first prompt.</p>\n<div class=\"scroll\"><table>\n\
             <tr><th>latent</th>"
        );
        for variant in &pair.variants {
            let _ = write!(out, "<th class=\"{variant}\">{variant}</th>");
        }
        out.push_str("</tr>\n");
        for row in &pair.rows {
            let _ = write!(out, "<tr><td>#{}</td>", row.latent);
            for variant in &pair.variants {
                let (first, second) = (row.first[*variant as usize], row.second[*variant as usize]);
                let more = first.zip(second).map(|(first, second)| format!(" ({:+.3})", second - first));
                let _ = write!(out, "<td>{}{}</td>", number(second), more.unwrap_or_default());
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table></div>\n");
    }

    fn selected(&self, out: &mut String) {
        let Some(detail) = self.detail else { return };
        let name = self.rows.iter().find(|row| row.latent == detail.latent).and_then(|row| row.name.clone());
        let name = name.map(|name| format!(" {}", escape(&safe::line(&name)))).unwrap_or_default();
        let _ = writeln!(out, "<h2>#{}{name}</h2>", detail.latent);
        let levels: Vec<(Variant, f32)> = [Variant::Original, Variant::Transfer]
            .into_iter()
            .filter_map(|v| Some((v, self.comparison.view(v)?.latents.get(detail.token, detail.latent))))
            .collect();
        let top = detail.curve.iter().map(|(_, v)| *v).chain(levels.iter().map(|(_, v)| *v)).fold(0.0, f32::max);
        let death = match detail.dies_at {
            Some(at) => format!("it dies at {}", detail.knob.at(at).value()),
            None if detail.curve.iter().any(|(_, value)| *value > 0.0) => "it never dies".into(),
            None => "it is silent here".into(),
        };
        let curve: Vec<_> = detail.curve.iter().map(|(at, value)| (self.scale.position(*at), *value)).collect();
        let _ = writeln!(
            out,
            "<figure>{}<figcaption>Activation at token {}, up to {top:.2}, against the {}, from untouched on; {death}. Lines: on the \
             original model and in transfer; upright: the setting.</figcaption></figure>",
            plot(&curve, &levels, self.scale.position(self.comparison.setting.at), (480.0, 140.0)),
            detail.token,
            detail.knob.name()
        );
        for (title, pieces) in [("promotes", &detail.promotes), ("suppresses", &detail.suppresses)] {
            let list: Vec<String> = pieces.iter().map(|(piece, _)| escape(&safe::piece(piece, false))).collect();
            let _ = writeln!(out, "<p>{title} <code>{}</code></p>", list.join("</code> <code>"));
        }
        for (title, examples) in self.texts.iter().filter(|(_, examples)| !examples.is_empty()) {
            let _ = writeln!(out, "<h3>{}</h3>\n<table>", escape(&safe::line(title)));
            for example in *examples {
                let [before, token, after] =
                    [&example.before, &example.token, &example.after].map(|bytes| escape(&safe::excerpt(bytes, false)));
                let _ = writeln!(
                    out,
                    "<tr><td>{:.2}</td><td class=\"text\">{before}<mark>{token}</mark>{after}</td></tr>",
                    example.activation
                );
            }
            out.push_str("</table>\n");
        }
    }

    fn figures(&self, out: &mut String) {
        out.push_str("<h2>This prompt</h2>\n<table>\n<tr><th></th>");
        for variant in self.variants() {
            let _ = write!(out, "<th class=\"{variant}\">{variant}</th>");
        }
        out.push_str("</tr>\n");
        let columns: Vec<_> = self.comparison.views.iter().map(values).collect();
        for (at, name) in NAMES.iter().enumerate() {
            let cells: String = columns
                .iter()
                .map(|c| format!("<td>{}</td>", c[at].map_or("-".to_owned(), |value| format!("{value:.4}"))))
                .collect();
            let _ = writeln!(out, "<tr><td>{name}</td>{cells}</tr>");
        }
        out.push_str("</table>\n");
        out.push_str("<p class=\"muted\">Special tokens are left out of l0, mse, explained variance and cossim; losses are in nats, of all positions.</p>\n");
    }

    fn predicted(&self, out: &mut String) {
        use predict::Speaker;
        let Some(predictions) = self.predictions else { return };
        let _ = writeln!(
            out,
            "<h2>What comes after {} {}</h2>\n<div class=\"scroll\"><table>",
            predictions.token,
            code(self.comparison, predictions.token)
        );
        for prediction in &predictions.list {
            let of = match prediction.of {
                Speaker::Model(Variant::Original) => "original model".to_owned(),
                Speaker::Model(_) => "pruned model".to_owned(),
                Speaker::Spliced(variant) => format!("{variant}, reconstruction in place"),
                Speaker::Edited(variant) => format!("{variant}, with the edits"),
            };
            let candidates: String = prediction
                .top
                .iter()
                .take(6)
                .map(|c| {
                    format!("<td><code>{}</code> {:.3}</td>", escape(&safe::piece(&c.piece, false)), c.probability)
                })
                .collect();
            let _ = writeln!(out, "<tr><td>{of}</td>{candidates}</tr>");
        }
        out.push_str("</table></div>\n");
    }

    fn facts(&self, out: &mut String) {
        out.push_str("<h2>Settings</h2>\n<table>\n");
        for (name, value) in &self.settings {
            let _ = writeln!(out, "<tr><td>{name}</td><td class=\"text\">{}</td></tr>", escape(&safe::line(value)));
        }
        out.push_str("</table>\n");
    }
}

/// A token's text.
fn code(of: &Comparison, token: usize) -> String {
    let piece = of.tokens.get(token).map(|token| safe::piece(&token.piece, false)).unwrap_or_default();
    format!("<code>{}</code>", escape(&piece))
}

fn number(value: Option<f32>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value > 0.0 => format!("{value:.3}"),
        Some(_) => "&middot;".into(),
    }
}

/// Values against places of the slider, 0 to 1, as a drawing of its own, with levels across and the live setting upright.
fn plot(points: &[(f64, f32)], levels: &[(Variant, f32)], live: f64, (width, height): (f64, f64)) -> String {
    let top = points.iter().map(|(_, v)| *v).chain(levels.iter().map(|(_, v)| *v)).fold(0.0, f32::max);
    let y = |value: f32| if top > 0.0 { (height - 2.0) * (1.0 - f64::from(value / top)) + 1.0 } else { height - 1.0 };
    let mut out = format!("<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">");
    for (variant, value) in levels {
        let y = y(*value);
        let _ = write!(
            out,
            "<line class=\"{variant}\" x1=\"0\" x2=\"{width}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"currentColor\"/>"
        );
    }
    let x = live.clamp(0.0, 1.0) * width;
    let _ = write!(
        out,
        "<line class=\"muted\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{height}\" stroke=\"currentColor\" stroke-dasharray=\"2 3\"/>"
    );
    let line: Vec<String> =
        points.iter().map(|(place, value)| format!("{:.1},{:.1}", place * width, y(*value))).collect();
    let _ = write!(
        out,
        "<polyline class=\"pruned\" points=\"{}\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.5\"/></svg>",
        line.join(" ")
    );
    out
}
