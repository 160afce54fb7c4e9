//! The selected latent: its path, what it promotes, where it fires.

use prunelens_core::{
    compare::{LatentDetail, Variant},
    sae::{Knob, Scale},
};
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        state::{Panel, Shown, State},
        theme::{Role, Theme},
        view::texts,
        widgets::{
            self,
            chart::{Chart, column_of},
            format, line_at, put, skip,
        },
    },
};

/// Cells left of the chart, for its scale; the slider under it leaves as many.
pub const GUTTER: u16 = 6;

/// Lines of the chart, at most.
const CHART: u16 = 10;

/// Lines of words under the chart, examples left out.
const WORDS: u16 = 4;

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    if area.height < 3 {
        return lines(area, buffer, state, theme);
    }
    let title = titled(state, theme);
    let panel = widgets::Panel::new(title, state.focus == Panel::Detail);
    let (Some(shown), Some(detail)) = (&state.shown, &state.detail) else {
        let inside = panel.render(area, buffer, theme);
        let text = if state.latent.is_some() { "reading" } else { "the selected latent, explained" };
        return put(
            buffer,
            line_at(inside, inside.height / 2),
            Line::styled(text, theme.style(Role::Muted)).centered(),
        );
    };
    let look = Look::new(state, shown, detail, theme);
    let inside = panel.note(look.fate()).render(area, buffer, theme);
    let inside = Rect { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    let width = usize::from(inside.width);
    let (mut words, texts) = (look.words(width), look.whole_texts(width));
    // Texts stand in full where there is room for them beside a chart of its usual height.
    let room = usize::from(inside.height.saturating_sub(CHART + 1));
    if words.len() + texts.len() < room {
        words.extend(texts);
    } else {
        words.extend(look.texts(width));
    }
    let chart = inside.height.saturating_sub(1 + (words.len() as u16).max(WORDS)).clamp(inside.height.min(4), CHART);
    look.chart(Rect { height: chart, ..inside }, buffer, state);
    look.axis(line_at(inside, chart), buffer, state);
    let rest = Rect { y: inside.y + chart + 1, height: inside.height.saturating_sub(chart + 1), ..inside };
    let first = state.detail_scroll.min(words.len().saturating_sub(usize::from(rest.height)));
    for (at, line) in words.into_iter().skip(first).take(usize::from(rest.height)).enumerate() {
        put(buffer, line_at(rest, at as u16), line);
    }
}

/// The latent that the panel is of: the selected one, or still the one before, as what is drawn of it.
pub fn titled(state: &State, theme: &Theme) -> Line<'static> {
    let drawn = state.detail.as_ref().filter(|_| state.shown.is_some()).map(|detail| detail.latent);
    let title = drawn.or(state.latent).map_or("latent".to_owned(), |latent| name(state, latent));
    if drawn.is_none() || state.detail_fresh() { title.into() } else { Line::styled(title, theme.style(Role::Old)) }
}

/// A latent's number, and what it is called, by whom if by others.
pub fn name(state: &State, latent: u32) -> String {
    match state.called(latent) {
        Some((name, None)) => format!("#{latent} {}", safe::line(name)),
        Some((text, Some(from))) => format!("#{latent} {} ({})", safe::line(text), safe::line(from)),
        None => format!("#{latent}"),
    }
}

/// The same in the two lines a narrow screen has for it.
fn lines(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let (Some(shown), Some(detail)) = (&state.shown, &state.detail) else { return };
    let look = Look::new(state, shown, detail, theme);
    let name = Span::styled(format!(" #{} ", detail.latent), theme.style(Role::Accent));
    put(buffer, line_at(area, 0), Line::from_iter([name].into_iter().chain(look.fate().spans)));
    put(buffer, skip(line_at(area, 1), 1), look.pieces("promotes  ", &detail.promotes, usize::from(area.width)));
}

pub struct Look<'a> {
    shown: &'a Shown,
    detail: &'a LatentDetail,
    theme: &'a Theme,
    /// What is drawn is of the latent, token and knob selected now.
    fresh: bool,
    /// Of the knob that the curve is of.
    scale: Scale,
}

impl<'a> Look<'a> {
    pub fn new(state: &State, shown: &'a Shown, detail: &'a LatentDetail, theme: &'a Theme) -> Self {
        let scale = detail.knob.scale(state.knobs.scale().d_in);
        Self { shown, detail, theme, fresh: state.detail_fresh(), scale }
    }

    fn style(&self, role: impl Into<Role>) -> Style {
        self.theme.style(if self.fresh { role.into() } else { Role::Old })
    }

    /// A setting of the knob that the curve is of, in words.
    fn value(&self, at: f64) -> String {
        self.detail.knob.at(at).value()
    }

    /// The curve by places of the slider: a knob with few settings goes in steps.
    fn curve(&self) -> Vec<(f64, f32)> {
        let points = self.detail.curve.iter().map(|(at, value)| (self.scale.position(*at), *value));
        if self.detail.knob != Knob::Bits {
            return points.collect();
        }
        let width = 1.0 / self.detail.curve.len().max(1) as f64;
        points.flat_map(|(place, value)| [(place, value), (place + width, value)]).collect()
    }

    /// A variant's activation at this token, where it fires.
    fn level(&self, variant: Variant) -> Option<f32> {
        let latent = match variant {
            Variant::Trained => self.shown.comparison.matches.get(&self.detail.latent)?.latent,
            _ => self.detail.latent,
        };
        let value = self.shown.comparison.view(variant)?.latents.get(self.detail.token, latent);
        (value > 0.0).then_some(value)
    }

    /// What becomes of it at this token.
    pub fn fate(&self) -> Line<'static> {
        let at = self.shown.comparison.tokens.get(self.detail.token);
        let piece =
            at.map(|t| safe::cut(&safe::piece(&t.piece, self.theme.ascii), 12, self.theme.ascii)).unwrap_or_default();
        let begins = self.detail.curve.iter().position(|(_, v)| *v > 0.0);
        let begins = begins.map(|step| (step, self.value(self.detail.curve[step].0)));
        let muted = self.style(Role::Muted);
        match (self.detail.dies_at, begins) {
            (Some(at), _) => Line::from(vec![
                Span::styled(format!("at {piece} "), muted),
                Span::styled(
                    format!("{} dies at {}", self.theme.symbol("✗", "x"), self.value(at)),
                    self.style(Role::Loss),
                ),
            ]),
            (None, Some((0, _))) => Line::styled(format!("at {piece} never dies"), muted),
            (None, Some((_, from))) => Line::from(vec![
                Span::styled(format!("at {piece} "), muted),
                Span::styled(format!("{} fires from {from}", self.theme.symbol("▲", "^")), self.style(Role::Gain)),
            ]),
            (None, None) => Line::styled(format!("silent at {piece}"), muted),
        }
    }

    pub fn chart(&self, area: Rect, buffer: &mut Buffer, state: &State) {
        let plot = skip(area, GUTTER);
        let levels = [Variant::Original, Variant::Transfer, Variant::Trained].map(|v| (v, self.level(v)));
        let top =
            self.detail.curve.iter().map(|(_, v)| *v).chain(levels.iter().filter_map(|(_, l)| *l)).fold(0.0, f32::max);
        let label = |value: f32| {
            Line::styled(
                format!("{:>w$}", format::activation(value), w = usize::from(GUTTER) - 1),
                self.style(Role::Muted),
            )
        };
        if top > 0.0 {
            put(buffer, line_at(area, 0), label(top));
        }
        put(
            buffer,
            line_at(area, area.height.saturating_sub(1)),
            Line::styled(format!("{:>w$}", 0, w = usize::from(GUTTER) - 1), self.style(Role::Muted)),
        );
        let mut chart = Chart::new(plot, top);
        for (variant, level) in levels {
            if let Some(level) = level {
                chart.level(level, self.style(variant));
            }
        }
        chart.upright(state.knobs.position(), self.theme.style(Role::Muted));
        if top > 0.0 {
            chart.curve(&self.curve(), self.style(Variant::Pruned).add_modifier(Modifier::BOLD));
        }
        chart.render(buffer, self.theme.ascii);
        if let Some(dies) = self.detail.dies_at {
            let at = column_of(self.scale.position(dies), plot.width);
            let foot = skip(line_at(plot, plot.height.saturating_sub(1)), at);
            put(
                buffer,
                foot,
                Line::styled(self.theme.symbol("✗", "x"), self.style(Role::Loss).add_modifier(Modifier::BOLD)),
            );
        }
    }

    /// The knob's values under the chart, the live one where it stands.
    pub fn axis(&self, area: Rect, buffer: &mut Buffer, state: &State) {
        let plot = skip(area, GUTTER);
        let muted = self.theme.style(Role::Muted);
        let live = column_of(state.knobs.position(), plot.width);
        let setting = state.setting();
        let text = if setting.knob.is_whole() { setting.at.to_string() } else { format!("{:.2}", setting.at) };
        let wide = text.len() as u16;
        let start = live.saturating_sub(1).min(plot.width.saturating_sub(wide));
        for (place, name) in state.knobs.scale().marks() {
            let at = column_of(place, plot.width).saturating_sub(if name.len() > 1 { 1 } else { 0 });
            let free = at + (name.len() as u16) < start || at > start + wide;
            if free {
                put(buffer, skip(plot, at), Line::styled(name, muted));
            }
        }
        put(buffer, skip(plot, start), Line::styled(text, self.theme.style(Role::Accent)));
    }

    fn words(&self, width: usize) -> Vec<Line<'static>> {
        let d = self.detail;
        let muted = self.style(Role::Muted);
        let mut lines =
            vec![self.pieces("promotes    ", &d.promotes, width), self.pieces("suppresses  ", &d.suppresses, width)];
        let mut facts = Vec::new();
        if let Some(density) = d.density {
            facts.push(format!("fires on {} of tokens", format::percent(density)));
        }
        if let Some(most) = d.max_activation {
            facts.push(format!("max {}", format::activation(most)));
        }
        if !facts.is_empty() {
            lines.push(Line::styled(facts.join("   "), muted));
        }
        // The comparison knows the matches of what fires on the prompt.
        lines.push(match self.shown.comparison.matches.get(&d.latent).or(d.matched.as_ref()) {
            Some(m) => {
                let both = if m.mutual { self.theme.symbol(" ↔", " =") } else { "" };
                Line::from(vec![
                    Span::styled("in trained  ", muted),
                    Span::styled(format!("#{}", m.latent), self.style(Role::Text)),
                    Span::styled(format!("  cosine {}{both}", format::cosine(m.cosine)), muted),
                ])
            }
            None if self.shown.comparison.view(Variant::Trained).is_none() => {
                Line::styled("no trained SAE to match it with", muted)
            }
            None => Line::styled("no match in trained is known", muted),
        });
        if !d.examples.is_empty() {
            lines.push(Line::default());
        }
        lines
    }

    fn most(&self) -> f32 {
        self.detail.examples.iter().map(|e| e.activation).fold(0.0, f32::max)
    }

    /// A line each.
    fn texts(&self, width: usize) -> Vec<Line<'static>> {
        let line = |example| texts::line(example, self.most(), width, self.fresh, self.theme);
        self.detail.examples.iter().map(line).collect()
    }

    /// As many lines as they have.
    fn whole_texts(&self, width: usize) -> Vec<Line<'static>> {
        let lines = |example| texts::whole(example, self.most(), width, self.fresh, self.theme);
        self.detail.examples.iter().flat_map(lines).collect()
    }

    /// As many pieces as fit.
    pub fn pieces(&self, name: &'static str, pieces: &[(Vec<u8>, f32)], width: usize) -> Line<'static> {
        let mut text = String::new();
        let room = width.saturating_sub(name.len());
        for (piece, _) in pieces {
            let piece = safe::piece(piece, self.theme.ascii);
            if safe::width(&text) + safe::width(&piece) + 1 > room {
                break;
            }
            text.push_str(&piece);
            text.push(' ');
        }
        Line::from(vec![Span::styled(name, self.style(Role::Muted)), Span::styled(text, self.style(Role::Text))])
    }
}
