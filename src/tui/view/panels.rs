//! Panels of the Explore screen: where each is for each size, how it is drawn, and what a click on it means.

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
};

use crate::tui::{
    state::{PREDICTIONS_FROM, Panel, Pointed, State},
    theme::Theme,
    view::{detail, figures, latents, predictions, prompt, slider, tokens},
};

/// A row of the table of panels.
struct PanelView {
    panel: Panel,
    area: fn(&Areas) -> Rect,
    render: Render,
    /// What a point inside stands for; elsewhere it stands for the panel itself.
    hit: fn(Rect, &State, &Theme, Position) -> Option<Pointed>,
}

enum Render {
    Plain(fn(Rect, &mut Buffer, &State, &Theme)),
    /// Takes text, and says where the cursor is.
    Text(fn(Rect, &mut Buffer, &State, &Theme) -> Option<Position>),
}

use Render::{Plain, Text};

#[rustfmt::skip]
const PANELS: [PanelView; Panel::ALL.len()] = [
    PanelView { panel: Panel::Prompt, area: |a| a.prompt, render: Text(prompt::render), hit: whole },
    PanelView { panel: Panel::Tokens, area: |a| a.tokens, render: Plain(tokens::render), hit: tokens::hit },
    PanelView { panel: Panel::Latents, area: |a| a.latents, render: Plain(latents::render), hit: latents::hit },
    PanelView { panel: Panel::Detail, area: |a| a.detail, render: Plain(detail::render), hit: whole },
    PanelView { panel: Panel::Ratio, area: |a| a.ratio, render: Plain(slider::render), hit: slider::hit },
    PanelView { panel: Panel::Figures, area: |a| a.figures, render: Plain(figures::render), hit: whole },
];

/// Nothing inside can be pointed at by itself.
fn whole(_: Rect, _: &State, _: &Theme, _: Position) -> Option<Pointed> {
    None
}

/// Draw all panels; returns where text entry is.
pub fn render(areas: &Areas, buffer: &mut Buffer, state: &State, theme: &Theme) -> Option<Position> {
    let areas = areas.merged(state);
    let mut cursor = None;
    if !areas.predictions.is_empty() {
        predictions::beside(areas.predictions, buffer, state, theme);
    }
    for PanelView { area, render, .. } in PANELS {
        match (area(&areas), render) {
            (area, _) if area.is_empty() => {}
            (area, Plain(render)) => render(area, buffer, state, theme),
            (area, Text(render)) => cursor = render(area, buffer, state, theme),
        }
    }
    cursor
}

/// Cells that the figures of four variants take.
const FIGURES: u16 = 72;

/// What is at a point of the panels.
pub fn hit(areas: &Areas, state: &State, theme: &Theme, at: Position) -> Option<Pointed> {
    let areas = areas.merged(state);
    let PanelView { panel, area, hit, .. } = PANELS.into_iter().find(|view| (view.area)(&areas).contains(at))?;
    Some(hit(area(&areas), state, theme, at).unwrap_or(Pointed::Panel(panel)))
}

/// The ratio over which the slider is held, however far from it the mouse is.
pub fn slid(areas: &Areas, state: &State, at: Position) -> Option<Pointed> {
    let area = areas.merged(state).ratio;
    (!area.is_empty()).then(|| slider::slid(area, at.x))
}

/// Parts of the Explore screen; those with no room are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Areas {
    pub header: Rect,
    pub prompt: Rect,
    pub tokens: Rect,
    pub latents: Rect,
    /// The selected latent: a panel, or lines under the table where the screen is narrow.
    pub detail: Rect,
    pub figures: Rect,
    /// What the models say, beside the figures of a very wide screen.
    pub predictions: Rect,
    pub ratio: Rect,
    pub first_steps: Rect,
    pub status: Rect,
    pub footer: Rect,
    /// The detail has a panel of its own.
    wide: bool,
}

impl Areas {
    pub fn new(area: Rect, state: &State) -> Self {
        let strips = if state.pair.is_some() { 4 } else { 2 };
        // A second prompt needs the room more, and the tour has its own words.
        let toured = state.tour.is_some_and(|tour| !tour.hidden);
        let first_steps = state.first_steps && state.pair.is_none() && !toured;
        arrange(area, prompt::height(state, area.width, area.height), strips, first_steps)
    }

    /// A narrow screen gives the table's place and the lines under it to one of them: to the table while a session loads,
    /// to the selected latent while it has the focus.
    fn merged(&self, state: &State) -> Self {
        let both = Rect { height: self.latents.height + self.detail.height, ..self.latents };
        match (self.wide, state.has_session()) {
            (false, false) => Self { latents: both, detail: Rect::ZERO, ..*self },
            (false, true) if state.focus == Panel::Detail => Self { latents: Rect::ZERO, detail: both, ..*self },
            _ => *self,
        }
    }
}

/// The explorer's parts in `area`; the prompt wants `prompt` lines inside its frame, the tokens so many strips.
fn arrange(area: Rect, prompt: u16, strips: u16, first_steps: bool) -> Areas {
    let mut rest = area;
    let top = |height: u16, rest: &mut Rect| {
        let height = height.min(rest.height);
        let taken = Rect { height, ..*rest };
        *rest = Rect { y: rest.y + height, height: rest.height - height, ..*rest };
        taken
    };
    let wide = area.width >= 100 && area.height >= 24;
    let low = area.height < 22;
    let header = top(1, &mut rest);
    let prompt = top(prompt.min(if low { 1 } else { 5 }) + 2, &mut rest);
    let tokens = top(if low { 2 } else { strips }, &mut rest);
    let footer = bottom(1, &mut rest);
    let status = bottom(1, &mut rest);
    let steps = if first_steps && area.height >= 24 { 3 } else { 0 };
    let first_steps = bottom(steps, &mut rest);
    let below = bottom(below(area.height), &mut rest);
    let mut areas = Areas { header, prompt, tokens, first_steps, status, footer, wide, ..Areas::default() };
    if wide {
        // The slider lies under the chart of the selected latent, on the same scale.
        let side = (area.width / 3).clamp(40, 80);
        (areas.latents, areas.detail) = split(rest, side);
        (areas.figures, areas.ratio) = split(below, side);
        if area.width >= PREDICTIONS_FROM && below.height >= 8 {
            let room = areas.figures.width.saturating_sub(FIGURES);
            (areas.figures, areas.predictions) = split(areas.figures, room);
        }
    } else {
        areas.detail = bottom(2.min(rest.height / 4), &mut rest);
        areas.latents = rest;
        if low {
            areas.ratio = below;
        } else {
            let side = below.width / 2;
            (areas.ratio, areas.figures) = split(below, side);
        }
    }
    areas
}

/// Lines of slider and figures on a screen of this height.
pub fn below(height: u16) -> u16 {
    match height {
        34.. => 8,
        22.. => 6,
        _ => 1,
    }
}

fn bottom(height: u16, rest: &mut Rect) -> Rect {
    let height = height.min(rest.height);
    rest.height -= height;
    Rect { y: rest.y + rest.height, height, ..*rest }
}

/// Left part and a right part `side` wide.
fn split(area: Rect, side: u16) -> (Rect, Rect) {
    let side = side.min(area.width);
    let left = Rect { width: area.width - side, ..area };
    (left, Rect { x: left.right(), width: side, ..area })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_panel_has_its_row_in_the_order_of_tab() {
        assert_eq!(PANELS.map(|view| view.panel), Panel::ALL);
    }

    #[test]
    fn parts_never_leave_the_screen_or_overlap() {
        for width in (1..=290).step_by(7) {
            for height in 1..=60 {
                let area = Rect::new(0, 0, width, height);
                let a = arrange(area, 3, 4, true);
                let parts = [
                    a.header,
                    a.prompt,
                    a.tokens,
                    a.latents,
                    a.detail,
                    a.figures,
                    a.predictions,
                    a.ratio,
                    a.first_steps,
                    a.status,
                    a.footer,
                ];
                for (at, part) in parts.iter().enumerate() {
                    assert_eq!(part.intersection(area).area(), part.area(), "{width}x{height}: part {at}");
                    for (other_at, other) in parts.iter().enumerate().skip(at + 1) {
                        assert_eq!(part.intersection(*other).area(), 0, "{width}x{height}: {at} and {other_at}");
                    }
                }
            }
        }
    }
}
