//! What the mouse does: presses, drags, and turns of the wheel.

use crate::tui::{
    keys::action::Action,
    state::{Panel, Pointed, State},
    update::{
        act::{act, move_latent, move_token, set},
        atlas,
        effect::Effect,
        jobs, study,
    },
};

/// The mouse was dragged to something: but on the plot of the atlas that is as good as pressed there.
pub fn dragged(state: &mut State, at: Pointed, effects: &mut Vec<Effect>) {
    match at {
        Pointed::Plot(x, y) => atlas::pointed(state, (x, y), true),
        at => clicked(state, at, effects),
    }
}

/// The mouse was pressed.
pub fn clicked(state: &mut State, at: Pointed, effects: &mut Vec<Effect>) {
    match at {
        Pointed::Panel(panel) => state.focus = panel,
        Pointed::Token(token) => {
            state.focus = Panel::Tokens;
            move_token(state, token);
        }
        Pointed::Row(row) => {
            state.focus = Panel::Latents;
            move_latent(state, |_, _| row);
        }
        Pointed::Slider(place) => {
            state.focus = Panel::Ratio;
            set(state, state.knobs.scale().nearest(place), effects);
        }
        Pointed::Plot(x, y) => atlas::pointed(state, (x, y), false),
        Pointed::Listed(row) => {
            state.atlas.in_list = true;
            atlas::select(state, row);
        }
        Pointed::Layer(layer) => state.strip.selected = Some(layer),
        Pointed::Square(row, column) => study::select(state, (row, column)),
        Pointed::Job(row) => jobs::select(state, row),
        Pointed::View(view) => jobs::show_view(state, view),
        Pointed::Field(row) => jobs::select_field(state, row),
        Pointed::Measured | Pointed::Scrolled => {}
    }
}

/// The wheel moves what it is over.
pub fn turned(state: &mut State, over: Pointed, down: bool, effects: &mut Vec<Effect>) {
    let [upwards, downwards] = match over {
        Pointed::Panel(panel) => panel.wheel(),
        Pointed::Token(_) => Panel::Tokens.wheel(),
        Pointed::Row(_) => Panel::Latents.wheel(),
        Pointed::Slider(_) => Panel::Ratio.wheel(),
        Pointed::Plot(..) => return,
        Pointed::Listed(_) => return atlas::walk(state, if down { 1 } else { -1 }),
        Pointed::Job(_) | Pointed::Field(_) | Pointed::Layer(_) | Pointed::Square(..) | Pointed::Scrolled => {
            [Action::ScrollUp, Action::ScrollDown]
        }
        Pointed::View(_) => [Action::ViewPrevious, Action::ViewNext],
        Pointed::Measured => [Action::PageUp, Action::PageDown],
    };
    act(state, if down { downwards } else { upwards }, effects);
}
