//! State and message in, state and effects out.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use prunelens::{
    engine::{Command, Query, Report},
    tui::{
        Effect, Message,
        state::{Choice, Overlay, Panel, Phase, Screen, Sort},
    },
};
use prunelens_core::{compare::Variant, sae::Criterion};

use crate::session::{PROMPT, Part, Session, info, key};

pub fn compare(session: &Session) -> Option<String> {
    session
        .requests()
        .into_iter()
        .find_map(|r| if let Query::Compare { text, .. } = r.query { Some(text) } else { None })
}

pub fn ratios(session: &Session) -> Vec<f64> {
    session
        .requests()
        .into_iter()
        .filter_map(|r| if let Query::Turn { setting, .. } = r.query { Some(setting.at) } else { None })
        .collect()
}

#[test]
fn a_session_begins_by_loading() {
    assert!(matches!(Session::loading().commands()[..], [Command::Load(_)]));
}

#[test]
fn typing_is_compared_after_a_pause() {
    let mut session = Session::ready();
    session.time(1000).keys("hello");
    assert_eq!(session.requests(), []);
    session.time(1119);
    assert_eq!(session.requests(), []);
    session.time(1120);
    assert_eq!(compare(&session).as_deref(), Some("hello"));
    session.time(5000);
    assert_eq!(session.requests(), [], "asked once");
}

#[test]
fn a_new_prompt_goes_out_while_the_last_is_unanswered() {
    let mut session = Session::ready();
    session.keys("a").time(200);
    assert_eq!(compare(&session).as_deref(), Some("a"));
    session.keys("b").time(400);
    assert_eq!(compare(&session).as_deref(), Some("ab"));
}

#[test]
fn a_paste_is_one_edit_without_control_characters() {
    let mut session = Session::ready();
    session.send(Message::Pasted("one\r\ntwo\u{1b}[31m".into())).time(200);
    assert_eq!(compare(&session).as_deref(), Some("one\ntwo[31m"));
    session.keys("<ctrl-u>").time(400);
    assert_eq!(session.state.prompt.text(), "", "one undo takes it back");
}

#[test]
fn slow_sessions_wait_for_enter() {
    let mut session = Session::loading();
    let mut slow = info();
    slow.probe_ms = 900.0;
    session.report(Report::Ready(Arc::new(slow)));
    session.keys("hello").time(5000);
    assert_eq!(session.requests(), []);
    assert!(session.state.awaits_enter());
    session.keys("<enter>");
    assert_eq!(compare(&session).as_deref(), Some("hello"));
    assert!(!session.state.awaits_enter());
}

#[test]
fn an_empty_prompt_offers_examples_by_number() {
    let mut session = Session::ready();
    session.keys("2");
    assert_eq!(compare(&session).as_deref(), Some("Four score and seven years ago"));
    assert_eq!(session.state.focus, Panel::Latents);
    session.keys("1").time(9000);
    assert_eq!(session.state.focus, Panel::Prompt, "with a prompt, digits go to panels");
}

#[test]
fn emptying_the_prompt_asks_for_nothing() {
    let mut session = Session::explored();
    session.keys("1<ctrl-l>").time(1000);
    assert_eq!(session.requests(), []);
    assert!(session.state.shown.is_some(), "the last comparison stays");
}

#[test]
fn dragging_asks_at_once_then_only_when_answered_and_ends_at_rest() {
    let mut session = Session::explored();
    session.keys("]]]]");
    assert_eq!(session.state.setting().at, 0.45);
    assert_eq!(ratios(&session), [0.3]);
    session.effects.clear();
    session.answer(Part::Latents);
    assert_eq!(ratios(&session), [0.45]);
    session.effects.clear();
    session.answer(Part::All);
    assert!(ratios(&session).is_empty());
}

#[test]
fn the_ratio_has_bounds_and_comes_back_exactly() {
    let mut session = Session::explored();
    session.keys(&"]".repeat(40));
    assert_eq!(session.state.setting().at, 0.99);
    session.keys(&"[".repeat(40));
    assert_eq!(session.state.setting().at, 0.0);
    session.keys("}}}{{{]][[");
    assert_eq!(session.state.setting().at, 0.0);
    session.keys("]]0");
    assert_eq!(session.state.setting().at, 0.0);
}

#[test]
fn each_knob_has_its_steps_and_keeps_its_place() {
    let mut session = Session::explored();
    let words = |session: &Session| session.state.setting().to_string();
    session.keys("C");
    assert_eq!((words(&session), ratios(&session)), ("4 bits".into(), vec![4.0]));
    session.answer(Part::All);
    // A bit a step, coarse or fine, to the ends and back.
    session.keys("]}");
    assert_eq!(words(&session), "2 bits");
    session.keys("]0");
    assert_eq!(words(&session), "32 bits");
    session.keys("]");
    assert_eq!(words(&session), "8 bits");
    // Nothing is ranked: the criterion is said to be of no account, and stays.
    session.keys("c");
    assert!(session.state.log.entries.last().unwrap().text.contains("bits has no criterion"));
    session.keys("C]");
    assert_eq!(words(&session), "rank 59");
    session.keys("[");
    assert_eq!(words(&session), "rank 64");
    session.keys("Cc");
    assert_eq!(words(&session), "0.25 of latents paper");
    session.keys("C");
    assert_eq!(words(&session), "0.25 paper");
    session.keys("C");
    assert_eq!(words(&session), "8 bits");
}

#[test]
fn answers_to_earlier_requests_are_dropped() {
    let mut session = Session::explored();
    let (old, target) = session.state.follow.asked.clone().unwrap();
    session.keys("]");
    let comparison = crate::session::comparison(&target.prompt, target.setting.knob.at(0.7), Part::All);
    session.report(Report::Comparison { generation: old, comparison: Arc::new(comparison), complete: true });
    assert_eq!(session.state.shown.as_ref().unwrap().of.setting.at, 0.25);
    assert!(session.state.follow.waiting);
}

#[test]
fn old_figures_stay_until_new_ones_come() {
    let mut session = Session::explored();
    session.keys("]").answer(Part::Latents);
    let shown = session.state.shown.clone().unwrap();
    let target = session.state.target();
    assert!(shown.is_fresh(Variant::Pruned, &target));
    let pruned = shown.reconstruction[Variant::Pruned as usize].as_ref().unwrap();
    assert_eq!(pruned.of.setting.at, 0.25);
    assert!(!pruned.is_fresh(Variant::Pruned, &target));
    assert!(shown.reconstruction[Variant::Original as usize].as_ref().unwrap().is_fresh(Variant::Original, &target));
    session.answer(Part::All);
    let shown = session.state.shown.clone().unwrap();
    assert!(shown.reconstruction[Variant::Pruned as usize].as_ref().unwrap().is_fresh(Variant::Pruned, &target));
}

#[test]
fn a_failed_request_is_told_once_and_not_repeated() {
    let mut session = Session::ready();
    session.keys("x").time(200);
    let generation = session.state.follow.asked.clone().unwrap().0;
    session.report(Report::RequestFailed { generation, message: "300 tokens, at most 256".into() }).time(9000);
    assert_eq!(session.requests(), []);
    assert_eq!(session.state.log.status().unwrap().text, "300 tokens, at most 256");
    assert!(!session.state.comparing());
    session.keys("<bs>y").time(9900);
    assert_eq!(compare(&session).as_deref(), Some("y"));
    session.report(Report::RequestFailed { generation: session.state.follow.generation, message: "no".into() });
    session.keys("<esc>]");
    assert!(compare(&session).is_some(), "the engine may still hold another prompt");
}

#[test]
fn the_latent_is_asked_for_when_the_selection_changes() {
    let mut session = Session::explored();
    let show = |session: &Session| {
        session.requests().into_iter().filter(|r| matches!(r.query, Query::ShowLatent { .. })).count()
    };
    session.effects.clear();
    session.keys("<down>");
    assert_eq!(show(&session), 1);
    session.keys("<down><down><down>");
    assert_eq!(show(&session), 0, "one at a time");
    session.answer_latent();
    assert_eq!(session.state.detail.as_ref().unwrap().latent, session.state.latent.unwrap());
    session.keys("]").answer(Part::All);
    assert_eq!(show(&session), 0, "the ratio changes nothing about it");
    session.keys("c");
    assert_eq!(show(&session), 0, "the engine has to rank by it first");
    session.answer(Part::All);
    assert_eq!(show(&session), 1);
}

#[test]
fn the_strongest_latent_is_selected_until_somebody_chooses() {
    let mut session = Session::explored();
    let first = session.state.table.rows[0].latent;
    assert_eq!((session.state.latent, session.state.choice), (Some(first), Choice::Strongest));
    session.keys("<right>");
    assert_eq!(session.state.latent, Some(session.state.table.rows[0].latent));
    session.keys("<down>");
    let chosen = session.state.latent;
    session.keys("<right><right>");
    assert_eq!(session.state.latent, chosen, "kept across tokens");
}

#[test]
fn the_selection_keeps_its_identity_while_rows_wait_to_be_sorted() {
    let mut session = Session::explored();
    while session.state.table.sort != Sort::By(Variant::Pruned) {
        session.keys("o");
    }
    session.keys("<down>").answer_latent();
    let order: Vec<u32> = session.state.table.rows.iter().map(|r| r.latent).collect();
    let chosen = session.state.latent.unwrap();
    session.keys("]]]]]]]").answer(Part::Latents).answer(Part::All);
    let after: Vec<u32> = session.state.table.rows.iter().map(|r| r.latent).collect();
    assert_eq!(order, after, "nothing moved");
    assert!(session.state.table.disordered);
    let selected_value = |s: &Session| s.state.table.rows.iter().position(|r| Some(r.latent) == s.state.latent);
    assert_eq!(session.state.latent, Some(chosen));
    session.keys("<down>");
    assert!(!session.state.table.disordered, "put right by moving");
    assert!(selected_value(&session).is_some());
    let values: Vec<f32> = session.state.table.rows.iter().map(|r| r.value(Variant::Pruned).unwrap()).collect();
    assert!(values.windows(2).all(|w| w[0] >= w[1]), "{values:?}");
}

#[test]
fn sorting_goes_round() {
    let mut session = Session::explored();
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(session.state.table.sort.name());
        session.keys("o");
    }
    assert_eq!(seen, ["original", "transfer", "pruned", "trained", "difference"]);
    assert_eq!(session.state.table.sort, Sort::By(Variant::Original));
}

#[test]
fn a_latent_is_found_by_number_and_kept() {
    let mut session = Session::explored();
    session.keys("/17<enter>").answer_latent();
    assert_eq!((session.state.latent, session.state.choice), (Some(17), Choice::Found));
    assert_eq!(session.state.table.rows[0].latent, 17, "listed although it is silent");
    session.keys("1<ctrl-l>other words").time(9000).answer(Part::All);
    assert_eq!(session.state.latent, Some(17));
    session.keys("<esc>/99999<enter>");
    assert_eq!(session.state.latent, Some(17));
    assert!(session.state.log.status().unwrap().text.contains("#2047"));
}

#[test]
fn the_token_follows_the_end_while_typing() {
    let mut session = Session::ready();
    session.keys("1").answer(Part::All);
    assert_eq!(session.state.token, 10);
    session.keys("<left><left>");
    assert_eq!(session.state.token, 8);
    session.keys("1 of").time(9000).answer(Part::All);
    assert_eq!(session.state.token, 11);
}

#[test]
fn the_whole_prompt_shows_the_strongest_of_all_tokens() {
    let mut session = Session::explored();
    session.keys("w");
    let row = session.state.table.rows.iter().find(|r| r.latent == 1204).unwrap();
    assert_eq!(
        row.value(Variant::Original),
        Some(8.21),
        "special tokens do not count, some other token has it in full"
    );
}

#[test]
fn ctrl_c_and_signals_always_quit() {
    for keys in ["", "1", "?", ":", "/", "m", "m<enter>q", "i", "L"] {
        let mut session = Session::explored();
        session.keys(keys);
        assert!(session.keys("<ctrl-c>").leaves(), "after {keys:?}");
    }
    assert!(Session::loading().keys("<ctrl-c>").leaves());
    assert!(Session::loading().keys("<esc>q").leaves());
    assert!(Session::explored().send(Message::Terminated).leaves());
}

#[test]
fn letters_belong_to_the_prompt_while_it_has_the_focus() {
    let mut session = Session::ready();
    session.keys("quick [m]");
    assert!(!session.leaves());
    assert_eq!(session.state.prompt.text(), "quick [m]");
    assert_eq!(session.state.setting().at, 0.25);
    assert!(session.keys("<esc>q").leaves());
}

#[test]
fn key_releases_are_ignored() {
    let mut session = Session::ready();
    let mut release = KeyEvent::new(KeyCode::Char('a'), KeyModifiers::NONE);
    release.kind = KeyEventKind::Release;
    session.send(Message::KeyPressed(release));
    assert_eq!(session.state.prompt.text(), "");
    session.send(key(KeyCode::Char('a')));
    assert_eq!(session.state.prompt.text(), "a");
}

#[test]
fn tab_goes_round_the_panels() {
    let mut session = Session::explored();
    session.keys("1").time(9000);
    for panel in Panel::ALL {
        assert_eq!(session.state.focus, panel);
        session.keys("<tab>");
    }
    assert_eq!(session.state.focus, Panel::Prompt);
    session.keys("<s-tab>");
    assert_eq!(session.state.focus, Panel::Figures);
}

#[test]
fn arrows_slide_in_the_ratio_panel_only() {
    let mut session = Session::explored();
    let token = session.state.token;
    session.keys("5").time(8000).keys("<right><right>");
    assert_eq!((session.state.setting().at, session.state.token), (0.27, token));
    session.keys("3").time(9000).keys("<right>");
    assert_eq!((session.state.setting().at, session.state.token), (0.27, token + 1));
}

#[test]
fn escape_closes_the_top_layer() {
    let mut session = Session::explored();
    session.keys("i?<esc>");
    assert_eq!((session.state.overlay.clone(), session.state.screen), (None, Screen::Session));
    session.keys("<esc>");
    assert_eq!(session.state.screen, Screen::Explore);
    session.keys("1<esc>");
    assert_eq!(session.state.focus, Panel::Latents);
}

#[test]
fn commands_are_found_and_run() {
    let mut session = Session::explored();
    session.keys(":crit<enter>");
    assert_eq!((session.state.knobs.criterion(), session.state.overlay.clone()), (Criterion::Paper, None));
    session.keys("1<ctrl-p>log<enter>");
    assert_eq!(session.state.screen, Screen::Log);
}

#[test]
fn figures_are_copied_and_exported() {
    let mut session = Session::explored();
    session.keys("y");
    assert!(matches!(&session.effects[..], [Effect::Copy(text)] if text.contains(PROMPT) && text.contains("| l0 |")));
    session.keys("e");
    assert!(matches!(&session.effects[..], [Effect::Export(export)] if export.documents.len() == 4));
    let paths = ["json", "pair.csv", "svg"].map(|ending| format!("results/explore-002.{ending}").into());
    session.send(Message::Exported(Ok(paths.to_vec())));
    assert_eq!(session.state.log.status().unwrap().text, "wrote explore-002 as .json .pair.csv .svg in results");
    session.send(Message::Exported(Ok(vec!["results/navy.toml".into()])));
    assert_eq!(session.state.log.status().unwrap().text, "wrote results/navy.toml");
    session.send(Message::Exported(Err("results: no space left on device".into())));
    assert!(session.state.log.status().unwrap().text.contains("no space"));
    let mut session = Session::ready();
    assert!(session.keys("<esc>y").effects.is_empty());
    assert!(session.state.log.status().is_some());
}

#[test]
fn information_goes_with_the_next_key_errors_stay() {
    let mut session = Session::explored();
    session.send(Message::Copied(10)).keys("<down>");
    assert!(session.state.log.status().is_none());
    session.send(Message::Exported(Err("disk".into()))).keys("<down><down>");
    assert!(session.state.log.status().is_some());
    session.keys("<esc>");
    assert!(session.state.log.status().is_none());
}

#[test]
fn loading_can_fail_and_be_tried_again() {
    let mut session = Session::loading();
    session.report(Report::LoadFailed("missing.safetensors: no such file".into()));
    assert!(matches!(session.state.phase, Phase::Failed(_)));
    session.keys("r");
    assert!(matches!(session.commands()[..], [Command::Load(_)]));
    assert!(matches!(session.state.phase, Phase::Loading { .. }));
}

#[test]
fn a_crash_of_the_engine_leaves_what_is_shown() {
    let mut session = Session::explored();
    session.keys("m<enter><esc>").report(Report::Crashed("index out of bounds".into()));
    assert!(session.state.jobs[0].is_over());
    assert!(session.state.shown.is_some());
    assert!(!session.state.animating());
    assert_eq!(session.keys("]").requests(), []);
    assert!(session.keys("e").effects.iter().any(|e| matches!(e, Effect::Export(_))));
    assert!(session.keys("q").leaves());
}

#[test]
fn nothing_moves_when_nothing_works() {
    let mut session = Session::explored();
    session.time(1000);
    assert_eq!(session.state.next_wake(), None);
    session.state.redraw = false;
    session.time(99_000);
    assert!(!session.state.redraw);
    session.keys("]");
    assert!(session.state.next_wake().is_some(), "a spinner turns while something is awaited");
}

#[test]
fn first_steps_go_after_the_first_use() {
    let mut session = Session::explored();
    session.state.first_steps = true;
    session.keys("]");
    assert!(session.effects.iter().any(|e| matches!(e, Effect::RememberUse)));
    assert!(!session.state.first_steps);
}

#[test]
fn a_prompt_can_be_typed_while_the_session_loads() {
    let mut session = Session::loading();
    session.time(100).keys("quick").time(900);
    assert!(!session.leaves());
    assert_eq!(session.requests(), []);
    session.report(Report::Ready(Arc::new(info())));
    assert_eq!(compare(&session).as_deref(), Some("quick"));
}

#[test]
fn escape_and_a_key_in_one_go_are_both_heard() {
    let mut session = Session::explored();
    session.keys("?<alt-:>");
    assert!(matches!(session.state.overlay, Some(Overlay::Palette { .. })));
}

#[test]
fn earlier_prompts_come_back() {
    let mut session = Session::ready();
    session.keys("one<enter>").answer(Part::All);
    session.keys("<s-tab>").keys("<tab>");
    session.state.focus = Panel::Prompt;
    session.keys("<ctrl-l>two");
    session.keys("<up>");
    assert_eq!(session.state.prompt.text(), "one");
    session.keys("<down>");
    assert_eq!(session.state.prompt.text(), "two", "what was being typed is not lost");
}

#[test]
fn a_knob_at_its_end_says_so_once() {
    let mut session = Session::explored();
    session.keys(&"[".repeat(30)).keys(&"]".repeat(40));
    let said = |session: &Session| {
        session.state.log.entries.iter().filter(|entry| entry.text.contains("goes no further")).count()
    };
    assert_eq!((session.state.setting().at, said(&session)), (0.99, 2), "{:?}", session.state.log.entries);
    assert!(session.state.log.status().unwrap().text.starts_with("0.99 wanda"));
    session.keys("[");
    assert!(session.state.log.status().is_none(), "it is no longer so");
}
