//! Views are saved and opened again.

use std::sync::Arc;

use prunelens::{
    engine::{Command, Query, Report, SessionInfo},
    tui::{
        Effect, Message,
        state::{Ask, Explained, Overlay, SavedView, Screen, Shade, Sort},
    },
};
use prunelens_core::compare::Variant;

use crate::session::{Part, Session, dark};

/// A place that is unlike the one a session begins with.
fn somewhere() -> SavedView {
    let mut session = Session::explored();
    session.keys("]]<left>jjoowdx<enter>").answer(Part::All).answer_study();
    session.keys("b").keys("<right>").answer_latent().answer_study();
    SavedView::of(&session.state).unwrap()
}

fn opened(view: &SavedView) -> Session {
    let mut session = Session::ready();
    session.state.offered = Some(Arc::new(view.clone()));
    session.keys("0").answer(Part::All);
    session
}

#[test]
fn a_view_comes_back_as_it_was() {
    let view = somewhere();
    assert_eq!(
        (view.screen(), view.shade(), view.sort()),
        (Screen::Latent, Shade::Difference, Sort::By(Variant::Pruned))
    );
    assert!(view.pinned.is_some() && view.pinned != view.latent && view.edits.len() == 1, "{view:?}");
    let mut session = opened(&view);
    assert_eq!(session.state.restoring, None);
    // The pinned latent's page is asked for first, then the selected one's.
    session.answer_study();
    assert_eq!(session.state.latent_view.pinned.as_ref().map(|page| page.latent), view.pinned);
    session.answer_study();
    assert_eq!(session.state.latent_view.page.as_ref().map(|page| page.latent), view.latent);
    assert_eq!(SavedView::of(&session.state), Some(view));
}

#[test]
fn what_does_not_fit_here_is_said_and_left_out() {
    let mut view = somewhere();
    view.criterion = "none \u{1b}[31m".into();
    view.latent = Some(999_999);
    view.screen = "later".into();
    view.token = 5000;
    view.knob = "ratio:7\u{1b}[31m".into();
    view.edits = vec!["12=ablate".into(), "999999=ablate".into(), "rubbish".into()];
    view.digests.insert("sae".into(), "another".into());
    let session = opened(&view);
    let state = &session.state;
    let said: Vec<_> = state.log.entries.iter().map(|entry| entry.text.as_str()).collect();
    assert!(said.iter().any(|text| text.contains("sae differ")), "{said:?}");
    assert!(said.iter().any(|text| text.contains("999999=ablate, rubbish")), "{said:?}");
    assert!(said.iter().any(|text| text.contains("criterion")) && said.iter().all(|text| !text.contains('\u{1b}')));
    let tokens = state.shown.as_ref().unwrap().comparison.tokens.len();
    assert!(said.iter().any(|text| text.contains("latent #999999") && text.contains("go to #2047")), "{said:?}");
    assert!(said.iter().any(|text| text.contains("token 5000") && text.contains(&format!("has {tokens} "))));
    assert!(said.iter().any(|text| text.contains("screen \"later\"")), "{said:?}");
    assert!(said.iter().any(|text| text.contains("the view's knob") && text.contains("ratio:7")), "{said:?}");
    assert_eq!((state.token, state.setting().at), (tokens - 1, 0.25));
    assert!(state.latent.is_some_and(|latent| latent < 2048));
    assert_eq!(state.edits.list.len(), 1);
}

#[test]
fn a_view_that_cannot_be_taken_up_whole_does_not_stand_in_the_way() {
    let view = somewhere();
    let asked = || {
        let mut session = Session::ready();
        session.state.offered = Some(Arc::new(view.clone()));
        session.keys("0");
        assert!(session.state.takes_up_a_view());
        session
    };
    let mut session = asked();
    let (generation, _) = session.state.follow.asked.clone().unwrap();
    session.report(Report::RequestFailed { generation, message: "too long".into() });
    assert!(!session.state.takes_up_a_view(), "where one is from now on is kept again");
    let mut session = asked();
    session.keys("1 and more").time(60_000);
    assert!(!session.state.takes_up_a_view());
}

#[test]
fn the_sae_that_was_trained_joins_before_the_view_is_taken_up() {
    let view = SavedView { trained_sae: Some("/saes/mine".into()), ..somewhere() };
    let asked = || {
        let mut session = Session::ready();
        session.state.offered = Some(Arc::new(view.clone()));
        session.keys("0");
        assert!(session.commands().iter().any(|command| matches!(command, Command::Join(at) if at.ends_with("mine"))));
        assert!(session.state.prompt.is_blank());
        session
    };
    let mut session = asked();
    let info = SessionInfo { joined: view.trained_sae.clone(), ..crate::session::info() };
    session.report(Report::Joined { info: Arc::new(info), asked: true }).answer(Part::All);
    assert_eq!((session.state.prompt.text(), session.state.latent), (view.prompt.clone(), view.latent));
    assert_eq!(SavedView::of(&session.state).unwrap().trained_sae, view.trained_sae, "and is saved again");
    // One that a job has trained comes first: the view waits for its own, and asks once. Its path need not be spelled as ours is.
    let mut session = asked();
    for asked in [false, true] {
        assert!(session.state.prompt.is_blank());
        let info = SessionInfo { joined: Some("/saes/../saes/other".into()), ..crate::session::info() };
        session.effects.clear();
        session.report(Report::Joined { info: Arc::new(info), asked });
        assert!(!session.commands().iter().any(|command| matches!(command, Command::Join(_))));
    }
    assert_eq!(session.state.prompt.text(), view.prompt);
    let mut session = asked();
    session.report(Report::NotJoined("/saes/mine: no such folder".into())).answer(Part::All);
    assert!(session.state.log.entries.iter().any(|entry| entry.text.contains("or there are none: /saes/mine")));
    assert_eq!(session.state.prompt.text(), view.prompt);
}

#[test]
fn two_prompts_come_back_in_the_order_that_both_give() {
    let mut session = Session::explored();
    session.keys("|").keys(" ready").time(400).answer(Part::All).keys("<esc>");
    let view = SavedView { sort: "difference".into(), ..SavedView::of(&session.state).unwrap() };
    let mut session = opened(&view);
    session.answer_beside();
    assert!(!session.state.table.disordered && session.state.table.sort == Sort::Difference);
    let differences = session.state.table.rows.iter().map(|row| row.between(Variant::Original).unwrap_or(0.0).abs());
    assert!(differences.collect::<Vec<_>>().is_sorted_by(|a, b| a >= b));
}

#[test]
fn a_view_has_the_second_prompt() {
    let mut session = Session::explored();
    session.keys("|").keys(" ready").time(400).answer(Part::All);
    let view = SavedView::of(&session.state).unwrap();
    let second = view.second_prompt.clone().unwrap();
    assert!(view.prompt != second && view.prompt.starts_with(&second), "{view:?}");
    assert!(view.summary().contains("two prompts"));
    let mut session = opened(&view);
    session.answer_beside();
    let pair = session.state.pair.as_ref().unwrap();
    assert_eq!((&*pair.text, pair.shown.is_some(), pair.waiting), (second.as_str(), true, false));
    assert_eq!(SavedView::of(&session.state), Some(view.clone()));
    // One that cannot be read here is said, as where it is typed.
    let mut session = opened(&view);
    let generation = session.state.pair.as_ref().unwrap().asked.clone().unwrap().0;
    session.report(Report::RequestFailed { generation, message: "it has 9000 tokens".into() });
    assert!(session.state.log.status().unwrap().text.contains("9000 tokens"));
    // A view of one prompt leaves no second.
    let mut session = opened(&view);
    session.state.offered = Some(Arc::new(SavedView { second_prompt: None, ..view }));
    session.keys("<ctrl-o>");
    assert!(session.state.pair.is_none());
}

#[test]
fn the_last_session_is_offered_with_the_examples() {
    let mut session = Session::ready();
    session.state.offered = Some(Arc::new(somewhere()));
    for (width, height) in [(120, 36), (80, 24)] {
        let screen = crate::snapshots::screen(&session.state, width, height, &dark());
        assert!(screen.contains("as you left it: ratio 0.35") && screen.contains(" 0 "), "{screen}");
    }
    // From anywhere, later too.
    session.keys("hello<ctrl-o>");
    let asked = session.requests().into_iter().any(|request| matches!(request.query, Query::Compare { .. }));
    assert!(asked && session.state.offered.is_none());
    session.keys("<ctrl-o>");
    assert!(session.state.log.status().unwrap().text.contains("no earlier session"));
}

#[test]
fn commands_take_names() {
    let mut session = Session::explored();
    session.keys(":save-view a navy<enter>");
    assert!(matches!(&session.effects[..], [Effect::SaveView(name)] if name == "a navy"));
    session.keys("<ctrl-s>");
    assert!(matches!(session.state.overlay, Some(Overlay::Ask { what: Ask::SaveView, .. })));
    session.keys("x<enter>");
    assert!(matches!(&session.effects[..], [Effect::SaveView(name)] if name == "x"));
    session.keys(":explanations batch-0.jsonl<enter>");
    assert!(matches!(&session.effects[..], [Effect::Explain(path)] if path.as_os_str() == "batch-0.jsonl"));
    session.keys("Rit<enter>");
    assert!(matches!(&session.effects[..], [Effect::Record(Some(name))] if name == "it"));
    session.send(Message::Recording(Some("it.cast".into())));
    let screen = crate::snapshots::screen(&session.state, 120, 36, &dark());
    assert!(screen.contains("● recording"), "{screen}");
    session.keys("R");
    assert!(matches!(session.effects[..], [Effect::Record(None)]));
}

#[test]
fn there_is_nothing_to_save_before_there_is_a_prompt() {
    let mut session = Session::ready();
    session.keys("<esc><ctrl-s>");
    assert!(session.state.overlay.is_none());
    assert!(session.state.log.status().unwrap().text.contains("type a prompt first"));
    assert_eq!(SavedView::of(&session.state), None);
}

#[test]
fn own_names_go_before_explanations_and_those_say_where_they_are_from() {
    let mut session = Session::explored();
    let latent = session.state.latent.unwrap();
    let texts = [(latent, "naval\u{202e} forces".to_owned()), (77, "ships".to_owned())].into();
    session.send(Message::Explained(Ok(Explained { from: "Neuronpedia gpt2-small/6-res-jb".into(), texts })));
    let screen = |session: &Session, width| crate::snapshots::screen(&session.state, width, 60, &dark());
    assert!(screen(&session, 200).contains("naval\\u202e forces (Neuronpedia gpt2"), "{}", screen(&session, 200));
    let wide = screen(&session, 200);
    assert!(wide.lines().any(|line| line.contains("#77 ") && line.contains("ships")), "{wide}");
    session.keys("nmine<enter>");
    let own = screen(&session, 200);
    assert!(own.contains(&format!("#{latent} mine")) && !own.contains("naval"), "{own}");
    session.keys("/ships");
    assert!(screen(&session, 120).contains("Neuronpedia gpt2-small/6-res-jb: ships"));
}
