//! Where the parts of the Explore screen go, for each size.

use ratatui::layout::Rect;

/// Below this the screen only asks for room.
pub const SMALLEST: (u16, u16) = (60, 16);

/// Parts of the Explore screen; those with no room are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Areas {
    pub header: Rect,
    pub prompt: Rect,
    pub original: Rect,
    pub pruned: Rect,
    pub latents: Rect,
    /// The selected latent: a panel, or lines under the table where the screen is narrow.
    pub detail: Rect,
    pub figures: Rect,
    pub ratio: Rect,
    pub first_steps: Rect,
    pub status: Rect,
    pub footer: Rect,
    /// The detail has a panel of its own.
    pub wide: bool,
    /// The ratio has lines of its own instead of a panel.
    pub low: bool,
}

/// The explorer's parts in `area`; the prompt wants `prompt` lines inside its frame.
pub fn explore(area: Rect, prompt: u16, first_steps: bool) -> Areas {
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
    let original = top(1, &mut rest);
    let pruned = top(1, &mut rest);
    let footer = bottom(1, &mut rest);
    let status = bottom(1, &mut rest);
    let steps = if first_steps && area.height >= 24 { 3 } else { 0 };
    let first_steps = bottom(steps, &mut rest);
    let below = match area.height {
        34.. => 8,
        22.. => 6,
        _ => 1,
    };
    let below = bottom(below, &mut rest);
    let mut areas =
        Areas { header, prompt, original, pruned, first_steps, status, footer, wide, low, ..Areas::default() };
    if wide {
        // The slider lies under the chart of the selected latent, on the same scale.
        let side = (area.width / 3).clamp(40, 80);
        (areas.latents, areas.detail) = split(rest, side);
        (areas.figures, areas.ratio) = split(below, side);
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
    fn parts_never_leave_the_screen_or_overlap() {
        for width in (1..=200).step_by(7) {
            for height in 1..=60 {
                let area = Rect::new(0, 0, width, height);
                let a = explore(area, 3, true);
                let parts = [
                    a.header,
                    a.prompt,
                    a.original,
                    a.pruned,
                    a.latents,
                    a.detail,
                    a.figures,
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
