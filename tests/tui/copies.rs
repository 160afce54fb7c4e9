//! Several compressed copies of the model: the table of them, and changing between them.

use std::sync::Arc;

use prunelens::{
    engine::{Command, JobState, Report, SessionInfo, Unfinished},
    tui::state::{Overlay, SavedView},
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

/// Figures, and what is kept of a job, are of the copy where it was started, whatever is on screen when it goes on.
#[test]
fn what_a_job_left_belongs_to_its_copy() {
    let starts = |session: &Session| {
        let commands = session.commands().into_iter();
        commands.filter(|command| matches!(command, Command::StartJob { .. } | Command::ForgetJob { .. })).count()
    };
    let mut session = several();
    session.keys("m<enter>").keys("<esc>");
    let job = session.state.jobs[0].spec.clone();
    session.job(1, JobState::Interrupted(0.5));
    session.keys("P<down><enter>");
    // While the other is on its way none is begun: it would be measured there.
    for keys in ["m<enter>", "Mr", "x"] {
        session.effects.clear();
        session.keys(keys);
        assert_eq!(starts(&session), 0, "{keys}");
        let said = session.state.log.entries.last().unwrap().text.clone();
        assert!(said.contains("on its way"), "{keys}: {said}");
    }
    come(&mut session, &copies()[1]);
    for keys in ["r", "x"] {
        session.effects.clear();
        session.keys(keys);
        assert_eq!(starts(&session), 0, "{keys}");
        let said = session.state.log.entries.last().unwrap().text.clone();
        assert!(said.contains("core is of another session: open ") && said.contains("wanda 50%"), "{keys}: {said}");
    }
    // The same job is another one here.
    session.effects.clear();
    session.keys("m<enter>");
    let here = Arc::new(spec().at_copy(&copies()[1]));
    assert!(
        matches!(&session.commands()[..], [Command::StartJob { of, .. }] if *of == here),
        "{:?}",
        session.commands()
    );
    assert_eq!(session.state.jobs.len(), 2);
    // Back on the first it can go on, and has one row, though the engine tells of it again.
    session.keys("<esc>P<up><enter>");
    come(&mut session, &copies()[0]);
    session.report(Report::Unfinished(vec![Unfinished { spec: job, share: 0.5 }]));
    let sessions: Vec<bool> = session.state.jobs.iter().map(|job| job.is_here()).collect();
    assert_eq!(sessions, [true, false]);
    session.effects.clear();
    session.keys("M<up><up>r");
    assert!(
        matches!(&session.commands()[..], [Command::StartJob { of, .. }] if **of == spec()),
        "{:?}",
        session.commands()
    );
}

#[test]
fn figures_of_copies_are_of_what_all_are_made_from() {
    let mut session = several();
    assert!(session.state.copy_figures(&copies()[0]).is_some());
    let other = SessionSpec { calibration: Some("b.txt".into()), ..spec() };
    session.report(Report::Opened { info: Arc::new(info()), spec: Arc::new(other) });
    assert!(
        copies().iter().all(|copy| session.state.copy_figures(copy).is_none()),
        "these were of another calibration"
    );
}

#[test]
fn a_view_has_its_copy_and_goes_back_there() {
    let mut session = several();
    session.keys("P<down><enter>");
    come(&mut session, &copies()[1]);
    session.answer(Part::All).keys("]").answer(Part::All);
    let view = SavedView::of(&session.state).unwrap();
    assert_eq!(view.copy(), Some(copies()[1].clone()));
    assert!(view.summary().contains(&copies()[1].label()), "{}", view.summary());
    let mut other = several();
    other.state.offered = Some(Arc::new(view.clone()));
    other.keys("<ctrl-o>");
    come(&mut other, &copies()[1]);
    other.answer(Part::All);
    assert_eq!(SavedView::of(&other.state), Some(view.clone()));
    // Where there is no such copy, what was looked at comes back on the one there is.
    let mut one = Session::explored();
    one.state.offered = Some(Arc::new(view.clone()));
    one.keys("<ctrl-o>");
    assert!(one.state.coming.is_none());
    one.answer(Part::All);
    assert_eq!(SavedView::of(&one.state), Some(SavedView { copy: None, ..view }));
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
