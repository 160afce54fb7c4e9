//! The prompt, continued by the models.

use prunelens::{
    engine::{GenerateTask, Query, Report},
    tui::state::{Overlay, Panel, Screen},
};
use prunelens_core::{
    compare::{Variant, predict::Speaker},
    generate::{Choice, End, Written},
};

use crate::{
    session::{PROMPT, Part, Session},
    update::{compare, ratios},
};

fn generations(session: &Session) -> Vec<Option<GenerateTask>> {
    session
        .requests()
        .into_iter()
        .filter_map(|r| if let Query::Generate { task, .. } = r.query { Some(task) } else { None })
        .collect()
}

#[test]
fn the_prompt_is_continued_and_the_text_taken() {
    let mut session = Session::explored();
    session.keys("g");
    assert_eq!(session.state.screen, Screen::Generation);
    let tasks = generations(&session);
    let [Some(task)] = &tasks[..] else { panic!("{tasks:?}") };
    assert_eq!((task.text.as_str(), task.setting.at, task.most, task.choice), (PROMPT, 0.25, 64, Choice::GREEDY));
    session.effects.clear();
    // Typing, the ratio and the table are free meanwhile.
    session.answer_generation(4);
    session.keys("]");
    assert_eq!(ratios(&session), [0.3]);
    session.answer(Part::All).answer_generation(4);
    assert!(session.state.generation.going);
    assert_eq!(session.state.generation.texts.iter().map(|text| text.tokens.len()).collect::<Vec<_>>(), [4, 4]);
    session.effects.clear();
    session.keys("<right><enter>");
    assert_eq!(generations(&session), [None], "the rest is not needed");
    assert_eq!(session.state.prompt.text(), format!("{PROMPT} in command of the"));
    assert_eq!(compare(&session), Some(session.state.prompt.text()));
    assert_eq!((session.state.screen, session.state.focus), (Screen::Explore, Panel::Latents));
}

#[test]
fn a_text_is_stopped_and_what_is_there_is_not_written_again() {
    let mut session = Session::explored();
    session.keys("g").answer_generation(3);
    session.effects.clear();
    session.keys("<esc>");
    assert_eq!(generations(&session), [None]);
    assert_eq!(session.state.screen, Screen::Generation, "stopped, and still to be read");
    session.answer_generation(9);
    assert_eq!(session.state.generation.texts[0].tokens.len(), 3, "what comes late is dropped");
    let mut taken = Session { state: session.state.clone(), effects: Vec::new() };
    taken.keys("<enter>");
    assert_eq!(taken.state.prompt.text(), format!("{PROMPT} in command of"), "what there is can be taken");
    session.keys("<esc>");
    assert_eq!(session.state.screen, Screen::Explore);
    session.effects.clear();
    session.keys("g");
    assert_eq!(generations(&session).len(), 1, "a stopped one is begun anew");
    session.answer_generation(usize::MAX);
    assert!(!session.state.generation.going);
    session.effects.clear();
    session.keys("<esc>gg");
    assert_eq!(generations(&session), [], "the likeliest are what they were");
    session.keys("x<esc>g");
    assert!(matches!(&generations(&session)[..], [Some(task)] if task.edits.list.len() == 1));
    // What comes late of an earlier text is dropped.
    let of = Speaker::Model(Variant::Original);
    let written = Written::Ended(End::Length);
    session.report(Report::Generated { generation: 1, of, written, seconds: 0.1 });
    assert!(session.state.generation.going && session.state.generation.texts.is_empty());
}

#[test]
fn how_to_continue_is_asked_and_mended() {
    let mut session = Session::explored();
    session.keys("g").answer_generation(usize::MAX);
    session.effects.clear();
    session.keys("o<down><backspace>x<enter>");
    assert!(matches!(&session.state.overlay, Some(Overlay::Generation(form)) if form.selected == 1));
    assert_eq!(generations(&session), []);
    session.keys("<backspace>0.8<down>0.9<down><backspace>7<enter>");
    let choice = Choice { temperature: 0.8, top_p: Some(0.9), seed: 7 };
    assert!(matches!(&generations(&session)[..], [Some(task)] if task.choice == choice));
    session.answer_generation(usize::MAX);
    session.effects.clear();
    session.keys("g");
    assert!(matches!(&generations(&session)[..], [Some(task)] if task.choice.seed == 8), "another draw");
}

#[test]
fn without_a_prompt_there_is_nothing_to_continue() {
    let mut session = Session::ready();
    session.keys("<esc>g");
    assert_eq!((generations(&session), session.state.screen), (Vec::new(), Screen::Explore));
}
