//! Several compressed copies of the model: the table of them, and changing between them.

use std::sync::Arc;

use prunelens::{
    engine::{Command, JobState, Report, SessionInfo},
    tui::state::Overlay,
};
use prunelens_core::session::{Compress, SessionSpec, Source};

use crate::{
    session::{Part, Session, dark, info},
    snapshots::screen,
};

fn copies() -> Vec<Compress> {
    ["wanda:0.5", "rtn:int4:g32", "gptq:int4:g32:actorder", "wanda:heads:0.25"].map(|c| c.parse().unwrap()).to_vec()
}

fn spec() -> SessionSpec {
    SessionSpec { compressions: copies(), ..SessionSpec::demo() }
}

/// On the first copy, with the first example compared.
fn several() -> Session {
    let mut session = Session::loading();
    session.state.spec = Arc::new(spec());
    session.report(Report::Ready(Arc::new(info())));
    session.keys("1").answer(Part::All);
    session.keys("<left><left>").answer_latent();
    session
}

fn come(session: &mut Session, copy: &Compress) {
    let coming = session.state.coming.clone().expect("nothing is coming");
    assert_eq!(coming.spec.compress, *copy);
    let info = SessionInfo { compression: copy.label(), ..info() };
    session.report(Report::Opened { info: Arc::new(info), spec: coming.spec });
}

#[test]
fn a_copy_is_chosen_in_the_table_and_the_prompt_goes_on() {
    let mut session = several();
    let (prompt, setting) = (session.state.target().prompt, session.state.setting());
    session.keys("P");
    assert_eq!(session.state.overlay, Some(Overlay::Copies { selected: 0 }));
    session.keys("<down><down><down><down><up><enter>");
    let asked = session.commands().into_iter().rev().find_map(|command| match command {
        Command::Open(spec) => Some(*spec),
        _ => None,
    });
    assert_eq!(asked, Some(spec().at_copy(&copies()[2])));
    come(&mut session, &copies()[2]);
    assert!(session.state.shown.is_none(), "nothing of the copy before stands under the new one's name");
    session.answer(Part::All);
    assert_eq!((session.state.target().prompt, session.state.setting()), (prompt, setting));
    // Both have figures now, and the others do not.
    let known: Vec<bool> = copies().iter().map(|copy| session.state.copy_figures(copy).is_some()).collect();
    assert_eq!(known, [true, false, true, false]);
    // Back where one is, nothing is asked for.
    session.keys("P");
    let before = session.commands().len();
    session.keys("<enter>");
    assert_eq!((session.commands().len(), &session.state.overlay), (before, &None));
    // Of another prompt nothing is known yet.
    session.keys("1 and more").time(60_000);
    assert!(copies().iter().all(|copy| session.state.copy_figures(copy).is_none()));
}

#[test]
fn what_runs_on_a_copy_goes_on_beside_another() {
    let mut session = several();
    session.keys("m<enter>").keys("<esc>");
    session.job(1, JobState::Running { done: 1, total: 8, unit: "rows", seconds: 2.0, note: String::new() });
    session.keys("P<down><enter>");
    come(&mut session, &copies()[1]);
    let [job] = &session.state.jobs[..] else { panic!("{:?}", session.state.jobs) };
    assert!(!job.is_over() && job.session.as_deref().is_some_and(|label| label.contains("wanda")), "{job:?}");
    session.keys("M");
    assert!(screen(&session.state, 120, 36, &dark()).contains("on wanda 50%"), "it is not of what is on screen");
    // Another model is another session: what is left of its jobs is kept there.
    session.job(1, JobState::Interrupted(0.1));
    let other = SessionSpec { model: Source::Path("another".into()), ..spec() };
    session.report(Report::Opened { info: Arc::new(info()), spec: Arc::new(other) });
    assert!(session.state.jobs.is_empty());
    let said = |text: &str| session.state.log.entries.iter().any(|entry| entry.text.contains(text));
    assert!(said("1 unfinished in the session before"));
}

#[test]
fn looks() {
    let mut session = several();
    session.keys("P<down><enter>");
    come(&mut session, &copies()[1]);
    session.answer(Part::All);
    // Figures of the SAE at another setting are old; those of the untouched one are not.
    session.keys("]").answer(Part::All);
    session.keys("P<down>");
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        insta::assert_snapshot!(format!("copies_{width}x{height}"), screen(&session.state, width, height, &dark()));
    }
}

#[test]
fn one_copy_is_no_table() {
    let mut session = Session::loading();
    session.report(Report::Ready(Arc::new(info())));
    session.keys("<esc>P");
    assert_eq!(session.state.overlay, None);
    let text = screen(&session.state, 120, 36, &dark());
    assert!(text.contains("--compress given more than once"), "{text}");
}
