//! The prompt at every layer, in every variant: a row a layer, the one on screen marked.

use prunelens_core::compare::{LayerFigures, Variant, VariantFigures};
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        state::State,
        theme::{Role, Theme},
        view::{frame, middle},
        widgets::{self, bars, format, line_at, put, spinner},
    },
};

/// Cells of a row's beginning, of a figure in the narrowest and in the widest case, of a bar where there is room for bars, and
/// between two groups.
const FIRST: usize = 5;
const FIGURE: [usize; 2] = [7, 10];
const BAR: usize = 9;
const GAP: usize = 1;
/// Most lines of the two lines that say what is what.
const FOOT: u16 = 2;

/// What a column shows of a variant.
#[derive(Clone, Copy, PartialEq)]
enum Figure {
    Variance,
    Kl,
    Survive,
}

impl Figure {
    fn title(self) -> &'static str {
        match self {
            Self::Variance => "variance explained",
            Self::Kl => "KL",
            Self::Survive => "survive",
        }
    }

    fn of(self, layer: &LayerFigures, variant: Variant) -> Option<f64> {
        let figures: &VariantFigures = layer.of(variant)?;
        match self {
            Self::Variance => Some(figures.explained_variance),
            Self::Kl => Some(figures.kl),
            Self::Survive => layer.share(variant),
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Self::Survive => format::percent(value),
            Self::Variance | Self::Kl => format::loss(value),
        }
    }
}

/// A group of columns: a figure in the variants that have it.
struct Group {
    figure: Figure,
    variants: Vec<Variant>,
}

/// How wide what is.
#[derive(Clone, Copy)]
struct Cells {
    figure: usize,
    /// With bars: how long, and the divergence that fills one.
    bar: Option<(usize, f64)>,
}

impl Cells {
    fn column(self) -> usize {
        self.figure + self.bar.map_or(0, |(bar, _)| bar)
    }
}

fn groups(variants: &[Variant], width: usize, most: f64) -> (Vec<Group>, Cells) {
    let group = |figure, of: fn(Variant) -> bool| Group {
        figure,
        variants: variants.iter().copied().filter(|v| of(*v)).collect(),
    };
    // Everything of the original survives in it, and a dictionary of its own has nothing to survive.
    let survive = |variant| matches!(variant, Variant::Transfer | Variant::Pruned);
    let all = vec![group(Figure::Variance, |_| true), group(Figure::Kl, |_| true), group(Figure::Survive, survive)];
    let columns: usize = all.iter().map(|group| group.variants.len()).sum();
    let room = width.saturating_sub(FIRST + all.len() * GAP) / columns.max(1);
    let figure = room.clamp(FIGURE[0], FIGURE[1]);
    let bar = (room >= FIGURE[1] + BAR).then_some((BAR, most));
    (all, Cells { figure, bar })
}

/// Where rows are, of a panel.
fn rows(inside: Rect) -> Rect {
    Rect { y: inside.y + 2, height: inside.height.saturating_sub(2 + FOOT), ..inside }
}

fn first(state: &State, layers: &[usize], visible: usize) -> usize {
    let at = layers.iter().position(|layer| Some(*layer) == state.strip_selected()).unwrap_or(0);
    widgets::offset(at, layers.len(), visible)
}

/// The layer at a point.
pub fn hit(area: Rect, state: &State, at: Position) -> Option<usize> {
    let panel = middle(area);
    let inside = Rect { y: panel.y + 1, height: panel.height.saturating_sub(2), ..panel };
    let rows = rows(inside);
    let line = at.y.checked_sub(rows.y).filter(|line| *line < rows.height)?;
    let layers = state.strip_layers();
    layers.get(first(state, &layers, usize::from(rows.height)) + usize::from(line)).copied()
}

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let panel = frame(area, buffer, state, theme);
    let layers = state.strip_layers();
    let muted = theme.style(Role::Muted);
    let note = match state.strip.waiting {
        true => format!("{} {} of {}", spinner(state.spin(), theme.ascii), state.strip_known(), layers.len()),
        false => String::new(),
    };
    let title = format!("this prompt at every layer, {}", state.setting().words());
    let inside = widgets::Panel::new(title, true).note(note).render(panel, buffer, theme);
    if state.prompt.is_blank() {
        let text = "type a prompt first: 1 goes there";
        return put(buffer, line_at(inside, inside.height / 2), Line::styled(text, muted).centered());
    }
    let variants = state.info.as_ref().map_or(&Variant::ALL[..], |info| &info.variants);
    let (groups, cells) = groups(variants, usize::from(inside.width), largest_kl(state));
    let Cells { figure, .. } = cells;
    let mut heads = vec![Span::raw(" ".repeat(FIRST))];
    let mut names = vec![Span::styled(format!("{:<FIRST$}", " layer"), muted)];
    for group in &groups {
        let width = group.variants.len() * cells.column();
        heads.push(Span::styled(format!("{:GAP$}{:<width$}", "", group.figure.title()), theme.style(Role::Title)));
        names.push(Span::raw(" ".repeat(GAP)));
        for variant in &group.variants {
            let name: String = variant.name().chars().take(figure - 1).collect();
            let rest = cells.column() - figure;
            names.push(Span::styled(format!("{name:>figure$}{:rest$}", ""), theme.style(*variant)));
        }
    }
    put(buffer, inside, Line::from(heads));
    put(buffer, line_at(inside, 1), Line::from(names));
    let rows = rows(inside);
    let visible = usize::from(rows.height);
    let from = first(state, &layers, visible);
    for (at, layer) in layers.iter().enumerate().skip(from).take(visible) {
        let line = line_at(rows, (at - from) as u16);
        put(buffer, line, row(*layer, &groups, cells, state, line.width, theme));
        if state.strip_selected() == Some(*layer) {
            widgets::select(buffer, line, theme);
        }
    }
    widgets::scrollbar(buffer, panel, layers.len(), visible, from, theme);
    let foot = Rect { y: inside.bottom().saturating_sub(FOOT), height: FOOT.min(inside.height), ..inside };
    let lines = [
        " KL: in nats, the reconstruction put at the hook of the variant's own model",
        " survive: of the (token, latent) pairs active in original, those active here",
    ];
    for (at, text) in lines.into_iter().enumerate() {
        put(buffer, line_at(foot, at as u16), Line::styled(text, muted));
    }
}

/// What bars of divergences are measured by.
fn largest_kl(state: &State) -> f64 {
    let known = state.strip.rows.values().filter_map(|row| row.as_ref().ok());
    known.flat_map(|layer| layer.variants.iter().map(|(_, of)| of.kl)).filter(|kl| kl.is_finite()).fold(0.0, f64::max)
}

fn row(layer: usize, groups: &[Group], cells: Cells, state: &State, width: u16, theme: &Theme) -> Line<'static> {
    let here = state.info.as_ref().is_some_and(|info| info.layer == layer);
    let mark = if here { theme.symbol("●", "*") } else { " " };
    let mut spans = vec![Span::styled(mark, theme.style(Role::Accent)), Span::raw(format!("{layer:>3} "))];
    let figures = match state.strip.rows.get(&layer) {
        Some(Ok(figures)) => figures,
        Some(Err(why)) => {
            let room = usize::from(width).saturating_sub(FIRST + GAP + 1);
            let text = safe::cut(&safe::line(why), room, theme.ascii);
            spans.push(Span::styled(format!("{:GAP$}{text}", ""), theme.style(Role::Error)));
            return Line::from(spans);
        }
        None => {
            let text = if state.strip.waiting { theme.symbol("…", "...") } else { "" };
            spans.push(Span::styled(format!("{:GAP$}{text}", ""), theme.style(Role::Muted)));
            return Line::from(spans);
        }
    };
    for group in groups {
        spans.push(Span::raw(" ".repeat(GAP)));
        for variant in &group.variants {
            let fresh = *variant != Variant::Pruned || figures.setting == state.setting();
            let pick = |role| theme.style(if fresh { role } else { Role::Old });
            let value = group.figure.of(figures, *variant).filter(|value| value.is_finite());
            let text = value.map_or_else(|| "-".to_owned(), |value| group.figure.text(value));
            spans.push(Span::styled(format!("{text:>w$}", w = cells.figure), pick(Role::Text)));
            let Some((bar, largest)) = cells.bar else { continue };
            let share = value.map_or(0.0, |value| match group.figure {
                Figure::Kl if largest > 0.0 => value / largest,
                Figure::Kl => 0.0,
                Figure::Variance | Figure::Survive => value,
            });
            let style = if fresh { theme.style(*variant) } else { theme.style(Role::Old) };
            spans.push(Span::raw(" "));
            spans.push(Span::styled(bars::meter(share.clamp(0.0, 1.0), bar - 1, theme.ascii), style));
        }
    }
    Line::from(spans)
}
