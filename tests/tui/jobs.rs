//! The Metrics screen: the form, the queue, views of a run, and what becomes of them.

use std::sync::Arc;

use prunelens::{
    engine::{Command, JobState, Query, Report, Request, Unfinished},
    export,
    tui::{
        Effect, Message,
        state::{Overlay, Pointed, Screen, View},
        theme::{ColorDepth, Theme},
        update::effect::Picture,
        view::{draw, draw_run},
    },
};
use prunelens_metrics::{JobSpec, ParamValue};

use crate::session::{NOW, Part, Session, dark, details, estimate, run, table};

fn screen(session: &Session, width: u16, height: u16) -> String {
    export::text::text(&draw(width, height, &session.state, &dark()).0)
}

fn spec(ratio: f64) -> JobSpec {
    JobSpec::new("core").with("ratio", ParamValue::Number(ratio)).with("criterion", ParamValue::Text("wanda".into()))
}

fn running(done: u64) -> JobState {
    JobState::Running { done, total: 100, unit: "rows", seconds: 20.0, note: "transfer".into() }
}

fn estimates(session: &Session) -> Vec<JobSpec> {
    let job = |request: Request| if let Query::Estimate { job, .. } = request.query { Some(job) } else { None };
    session.requests().into_iter().filter_map(job).collect()
}

/// A core job at 62 % with figures and details, above two earlier runs.
fn measured() -> Session {
    let mut session = Session::explored();
    session.keys("m<enter>").job(1, running(62));
    let details = Arc::new(details());
    session.report(Report::JobTable { id: 1, table: Arc::new(table(0.62)), details });
    let runs = [(0.5, "blocks.1.hook_resid_post"), (0.5, "blocks.2.hook_resid_post")].map(|(r, h)| run(r, h));
    session.report(Report::Runs { runs: Arc::new(runs.to_vec()), now: NOW });
    session
}

#[test]
fn the_form_says_the_job_and_asks_what_it_takes() {
    let mut session = Session::explored();
    session.keys("]").answer(Part::All).keys("m");
    assert_eq!(session.state.screen, Screen::Metrics);
    assert_eq!(estimates(&session), [spec(0.3)], "the ratio on screen");
    session.keys("<down><down>");
    assert_eq!(estimates(&session), [], "asked once");
    session.keys("<bs><bs>12");
    let last = estimates(&session).pop().unwrap();
    assert_eq!(last, spec(0.3).with("rows", ParamValue::Number(12.0)));
    // An answer to an earlier question is not taken for the last one's.
    let Some(Overlay::Form(form)) = session.state.overlay.clone() else { panic!("no form") };
    let generation = form.asked.as_ref().unwrap().0;
    session.report(Report::Estimate { generation: generation - 1, estimate: Ok(estimate()) });
    assert!(matches!(&session.state.overlay, Some(Overlay::Form(f)) if f.estimate.is_none()));
    session.report(Report::Estimate { generation, estimate: Ok(estimate()) });
    assert!(matches!(&session.state.overlay, Some(Overlay::Form(f)) if f.estimate.is_some() && !f.waiting));
    insta::assert_snapshot!("form_120x36", screen(&session, 120, 36));
    insta::assert_snapshot!("form_80x24", screen(&session, 80, 24));
    session.keys("<enter>");
    let started = session.commands();
    assert!(matches!(&started[..], [Command::StartJob { id: 1, job, anew: false, .. }] if *job == last), "{started:?}");
    assert_eq!(session.state.overlay, None);
}

#[test]
fn a_mistake_in_the_form_is_shown_and_starts_nothing() {
    let mut session = Session::explored();
    session.keys("m<down><down>x");
    assert!(screen(&session, 120, 36).contains("rows: expected a whole number from 1 to 1000"));
    session.keys("<up><enter>");
    assert!(session.commands().is_empty());
    assert!(matches!(&session.state.overlay, Some(Overlay::Form(f)) if f.selected == 2), "it goes to the mistake");
    session.keys("<delete><enter>");
    assert!(matches!(&session.commands()[..], [Command::StartJob { job, anew: false, .. }] if *job == spec(0.25)));
}

#[test]
fn a_job_that_cannot_begin_is_not_started_and_says_why() {
    let mut session = Session::explored();
    session.keys("m");
    let Some(Overlay::Form(form)) = session.state.overlay.clone() else { panic!("no form") };
    let (generation, _) = form.asked.unwrap();
    session.report(Report::Estimate { generation, estimate: Err("labelled texts are needed".into()) });
    session.keys("<enter>");
    assert!(session.commands().is_empty());
    assert!(screen(&session, 120, 36).contains("labelled texts are needed"));
    // What was told of other values says nothing of these.
    session.keys("<down><down><bs><enter>");
    assert!(matches!(&session.commands()[..], [Command::StartJob { .. }]));
}

#[test]
fn fields_with_few_values_turn_and_so_does_the_metric() {
    let mut session = Session::explored();
    session.keys("m<up><up><down><down><down><down><down><right>");
    assert_eq!(estimates(&session).pop().unwrap().params.get::<String>("criterion").unwrap().as_deref(), Some("paper"));
    session.keys("<left><left>");
    assert_eq!(
        estimates(&session).pop().unwrap().params.get::<String>("criterion").unwrap().as_deref(),
        Some("random")
    );
    session.keys("<s-tab><s-tab><s-tab><s-tab><s-tab><right>");
    assert_eq!(estimates(&session).pop().unwrap(), JobSpec::new("sweep"));
    session.keys("<tab>");
    session.send(Message::Pasted(",0.9\n".into()));
    assert_eq!(
        estimates(&session).pop().unwrap().params.get::<Vec<f64>>("ratios").unwrap().unwrap(),
        [0.0, 0.25, 0.5, 0.75, 0.9]
    );
    session.keys("<enter>m");
    assert!(matches!(&session.state.overlay, Some(Overlay::Form(f)) if f.family == 1), "the metric of the last job");
}

#[test]
fn one_job_is_started_shown_and_cancelled() {
    let mut session = Session::explored();
    session.keys("m<enter>");
    assert!(matches!(session.commands()[..], [Command::StartJob { id: 1, .. }]));
    session.keys("<esc>m<enter>");
    assert!(session.commands().is_empty(), "the same job is not started twice");
    session.job(1, JobState::Running { done: 1, total: 4, unit: "rows", seconds: 2.0, note: String::new() });
    let job = &session.state.jobs[0];
    assert_eq!((job.share(), job.seconds_left()), (Some(0.25), Some(6.0)));
    session.keys("x");
    assert!(matches!(session.commands()[..], [Command::CancelJob(1)]));
    let (table, details) = (Arc::new(table(0.25)), Arc::default());
    session.report(Report::JobTable { id: 1, table, details }).job(1, JobState::Cancelled);
    assert!(session.state.jobs[0].table.is_some(), "what was measured stays");
    session.keys("]m<enter>");
    assert!(matches!(session.commands()[..], [Command::StartJob { id: 2, .. }]));
}

#[test]
fn jobs_are_paused_resumed_and_moved() {
    let mut session = Session::explored();
    session.keys("m<enter>]m<enter>]m<enter>");
    assert_eq!(session.state.jobs.iter().map(|j| j.id).collect::<Vec<_>>(), [1, 2, 3]);
    session.keys("K");
    assert!(matches!(session.commands()[..], [Command::MoveJob { id: 3, earlier: true }]));
    assert_eq!(session.state.jobs.iter().map(|j| j.id).collect::<Vec<_>>(), [1, 3, 2]);
    assert_eq!(session.state.metrics.row, 1, "the selection goes with it");
    session.keys("JJ");
    assert_eq!(session.commands().len(), 1, "it is the last");
    session.keys("p");
    assert!(matches!(session.commands()[..], [Command::PauseJob(3)]));
    session.job(3, JobState::Paused(0.4));
    assert!(screen(&session, 120, 36).contains("paused at 40 %"));
    assert!(!session.state.jobs[2].is_busy() && !session.state.jobs[2].is_over());
    session.keys("r");
    assert!(matches!(session.commands()[..], [Command::ResumeJob(3)]));
    session.job(3, JobState::Queued).keys("r");
    assert!(session.commands().is_empty());
}

#[test]
fn what_was_interrupted_is_offered_and_goes_on() {
    let mut session = Session::explored();
    session.report(Report::Unfinished(vec![Unfinished { spec: spec(0.25), share: 0.43 }]));
    let said = session.state.log.status().unwrap().text.clone();
    assert!(said.contains("M shows it") && said.contains("r goes on"), "{said}");
    assert!(!session.state.busy_jobs(), "nothing runs by itself");
    session.keys("M");
    insta::assert_snapshot!("interrupted", screen(&session, 120, 36));
    session.keys("r");
    assert!(matches!(&session.commands()[..], [Command::StartJob { job, anew: false, .. }] if *job == spec(0.25)));
    // The same from the form.
    let mut session = Session::explored();
    session.report(Report::Unfinished(vec![Unfinished { spec: spec(0.25), share: 0.43 }])).keys("m<enter>");
    assert_eq!((session.commands().len(), session.state.jobs.len()), (1, 1));
    // Thrown away.
    let mut session = Session::explored();
    session.report(Report::Unfinished(vec![Unfinished { spec: spec(0.25), share: 0.43 }])).keys("Mx");
    assert!(matches!(&session.commands()[..], [Command::ForgetJob { job, .. }] if *job == spec(0.25)));
    assert_eq!(session.state.jobs[0].state, JobState::Cancelled);
}

#[test]
fn quitting_asks_while_jobs_are_unfinished_and_keeps_or_drops_them() {
    let mut session = Session::explored();
    assert!(session.keys("q").leaves());
    for state in [running(5), JobState::Queued, JobState::Paused(0.1), JobState::Unwritten("full".into())] {
        let mut session = Session::explored();
        session.keys("m<enter>").job(1, state.clone());
        assert!(!session.keys("q").leaves(), "{state:?}");
        assert_eq!(session.state.overlay, Some(Overlay::ConfirmQuit));
        assert!(!session.keys("n").leaves());
        assert_eq!(session.state.overlay, None);
        assert!(session.keys("qy").leaves());
        assert!(matches!(session.commands()[..], [Command::Quit]), "the engine keeps what it has");
        let mut session = Session::explored();
        session.keys("m<enter>").job(1, state);
        assert!(session.keys("qx").leaves());
        assert!(matches!(session.commands()[..], [Command::CancelJob(1), Command::Quit]));
    }
    for state in [JobState::Interrupted(0.5), JobState::Failed("no".into()), JobState::Cancelled] {
        let mut session = Session::explored();
        assert!(session.keys("m<enter>").job(1, state).keys("q").leaves());
    }
}

#[test]
fn results_that_could_not_be_written_are_written_elsewhere() {
    let mut session = measured();
    session.job(1, JobState::Unwritten("results: no space left".into()));
    assert!(session.state.log.status().unwrap().text.contains("no space left"));
    session.keys("w");
    let Some(Overlay::WriteTo { folder, .. }) = session.state.overlay.clone() else { panic!("nothing asked") };
    session.keys(&format!("{}/elsewhere", "<bs>".repeat(folder.len())));
    insta::assert_snapshot!("write_to", screen(&session, 80, 24));
    session.keys("<enter>");
    assert!(
        matches!(&session.commands()[..], [Command::WriteJob { id: 1, folder: Some(f) }] if f.as_os_str() == "/elsewhere")
    );
    session.job(1, JobState::Done { seconds: 3.0, files: Vec::new() }).keys("w");
    assert_eq!(session.state.overlay, None);
}

#[test]
fn a_failure_stays_in_its_row() {
    let mut session = Session::explored();
    session
        .keys("m<enter>]m<enter>")
        .job(1, JobState::Failed("the text holds no row\u{1b}[2J".into()))
        .job(2, running(3));
    session.keys("<up>");
    let text = screen(&session, 120, 36);
    assert!(text.contains("failed   the text holds no row"), "{text}");
    assert!(!text.contains('\u{1b}'));
    session.keys("r");
    assert!(
        matches!(&session.commands()[..], [Command::StartJob { id: 3, job, anew: false, .. }] if *job == spec(0.25)),
        "tried again"
    );
    assert_eq!(session.state.jobs.iter().map(|j| j.id).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn a_job_that_is_done_is_measured_anew_beside_it() {
    let mut session = Session::explored();
    session.keys("m<enter>").job(1, JobState::Done { seconds: 4.0, files: Vec::new() });
    session.keys("m<enter>");
    let started = session.commands();
    assert!(matches!(&started[..], [.., Command::StartJob { anew: false, .. }]), "the engine knows it: {started:?}");
    session.job(2, JobState::Done { seconds: 4.0, files: Vec::new() });
    session.keys("r");
    let started = session.commands();
    assert!(matches!(&started[..], [Command::StartJob { job, anew: true, .. }] if *job == spec(0.25)), "{started:?}");
    assert_eq!((session.state.jobs.len(), session.state.metrics.row), (3, 2));
}

#[test]
fn views_of_a_run() {
    let mut session = Session::explored();
    session.keys("m<enter>");
    insta::assert_snapshot!("metrics_queued", screen(&session, 120, 36));
    let mut session = measured();
    insta::assert_snapshot!("metrics_running", screen(&session, 120, 36));
    insta::assert_snapshot!("metrics_80x24", screen(&session, 80, 24));
    assert_eq!(session.state.views(), [View::Figures, View::Detail(0), View::Detail(1)]);
    session.keys("<right>");
    insta::assert_snapshot!("metrics_chart", screen(&session, 120, 36));
    session.keys("<right>");
    insta::assert_snapshot!("metrics_words", screen(&session, 120, 36));
    session.keys("<right>");
    assert_eq!(session.state.view(), View::Figures, "round and round");
    session.keys("<esc>");
    insta::assert_snapshot!("explore_with_job", screen(&session, 120, 36));
}

#[test]
fn runs_of_other_layers_are_bars() {
    let mut session = measured();
    session.keys("<down>");
    assert_eq!(session.state.views(), [View::Figures, View::Layers]);
    session.keys("<right>");
    insta::assert_snapshot!("metrics_layers", screen(&session, 120, 36));
    session.keys("o");
    assert!(screen(&session, 120, 36).contains("ce_loss_with_sae"));
}

#[test]
fn two_runs_are_compared() {
    let mut session = measured();
    session.keys("<down>b<up>");
    assert_eq!(session.state.views()[1], View::Compare);
    session.keys("<right>");
    insta::assert_snapshot!("metrics_compared", screen(&session, 120, 36));
    session.keys("<down>");
    assert!(!session.state.views().contains(&View::Compare), "a run is not compared with itself");
    session.keys("b<up>");
    assert!(!session.state.views().contains(&View::Compare), "the mark is gone");
    // A job started meanwhile moves the runs down, and the mark with them.
    session.keys("<down>b]m<enter>");
    assert_eq!(session.state.metrics.beside, Some(2));
}

#[test]
fn what_is_shown_is_exported_and_copied() {
    let mut session = measured();
    session.keys("<down>b<up>e");
    let [Effect::Export(export)] = &session.effects[..] else { panic!("{:?}", session.effects) };
    assert_eq!((export.name.as_str(), export.picture), ("core", Picture::Run));
    let names: Vec<_> = export.documents.iter().map(|d| d.extension.as_str()).collect();
    assert_eq!(names, ["json", "csv", "md", "detail-1.csv", "detail-2.csv", "beside.csv"]);
    let json: serde_json::Value = serde_json::from_str(&export.documents[0].text).unwrap();
    assert_eq!(json["params"]["ratio"], 0.25);
    assert_eq!(json["details"][0]["kind"]["lines"]["series"][0]["mark"]["name"], "knee");
    assert_eq!(json["beside"]["rows"][0]["values"]["pruned"], 0.85);
    insta::assert_snapshot!("run_markdown", export.documents[2].text);
    session.keys("y");
    assert!(matches!(&session.effects[..], [Effect::Copy(text)] if text.contains("knee of pruned, wanda")));
    // The panel alone, as high as what it shows.
    session.keys("<right><right>");
    insta::assert_snapshot!("run_picture", export::text::text(&draw_run(100, &session.state, &dark())));
    let mut session = Session::explored();
    session.keys("m<enter>e");
    assert!(session.commands().len() == 1 && !session.effects.iter().any(|e| matches!(e, Effect::Export(_))));
}

#[test]
fn the_mouse_points_at_rows_views_and_fields() {
    use crossterm::event::{Event, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
    let mut session = measured();
    let point = |session: &Session, column, row| {
        let kind = MouseEventKind::Down(MouseButton::Left);
        let event = Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE });
        prunelens::tui::message_of(event, &session.state, &dark())
    };
    let clicked = |message| if let Some(Message::Clicked(at)) = message { Some(at) } else { None };
    let text = screen(&session, 120, 36);
    let find = |what: &str| {
        let (row, line) = text.lines().enumerate().find(|(_, l)| l.contains(what)).unwrap();
        (line.chars().count() - line.split(what).nth(1).unwrap().chars().count() - 1, row)
    };
    let (column, row) = find("3 h ago");
    assert_eq!(clicked(point(&session, column as u16, row as u16)), Some(Pointed::Job(1)));
    let (column, row) = find("CE against");
    assert_eq!(clicked(point(&session, column as u16, row as u16)), Some(Pointed::View(1)));
    session.send(Message::Clicked(Pointed::View(1)));
    assert_eq!(session.state.view(), View::Detail(0));
    session.send(Message::Clicked(Pointed::Job(2)));
    assert_eq!(session.state.metrics.row, 2);
    session.send(Message::Turned { over: Pointed::Measured, down: true });
    assert_eq!(session.state.metrics.scroll, 10);
    session.keys("m");
    let text = screen(&session, 120, 36);
    let row = text.lines().position(|l| l.contains("criterion   ")).unwrap();
    assert_eq!(clicked(point(&session, 60, row as u16)), Some(Pointed::Field(5)));
}

#[test]
fn without_colours_and_unicode_all_is_said() {
    let theme = Theme::load("dark", ColorDepth::None, true).unwrap();
    let mut session = measured();
    for keys in ["", "<right>", "<right>", "<down>b<right>", "<up>"] {
        session.keys(keys);
        let text = export::text::text(&draw(120, 36, &session.state, &theme).0);
        assert!(text.is_ascii(), "{:?} in\n{text}", text.chars().find(|c| !c.is_ascii()));
    }
    session.keys("<right>m");
    let text = export::text::text(&draw(120, 36, &session.state, &theme).0);
    assert!(text.is_ascii(), "{:?} in\n{text}", text.chars().find(|c| !c.is_ascii()));
    session.keys("<esc><left><left>");
    session.state.metrics.view = 2;
    insta::assert_snapshot!("metrics_ascii", export::text::text(&draw(120, 36, &session.state, &theme).0));
}

#[test]
fn a_training_has_a_form_and_its_sae_joins_what_is_on_screen() {
    let mut session = Session::explored();
    session.keys("<ctrl-t>");
    assert!(matches!(&session.state.overlay, Some(Overlay::Form(f)) if f.family == 2), "the form of a training");
    session.keys("<down><bs>5<enter>");
    let expected = JobSpec::new("train").with("tokens", ParamValue::Number(200_005.0));
    let started = session.commands();
    assert!(matches!(&started[..], [Command::StartJob { job, anew: false, .. }] if *job == expected), "{started:?}");

    // Another ratio than the session began with, a token and a latent that were chosen: all stay.
    session.keys("<esc>]").answer(Part::All);
    let (turned, token, latent) = (session.state.setting(), session.state.token, session.state.latent);
    session.requests();
    let info = prunelens::engine::SessionInfo { warnings: Vec::new(), ..crate::session::info() };
    session.report(Report::Joined { info: Arc::new(info), asked: false });
    let asked = session.requests();
    assert!(
        asked.iter().any(|request| matches!(request.query, Query::Compare { setting, .. } if setting == turned)),
        "the comparison is asked anew: {asked:?}"
    );
    session.answer(Part::All);
    assert_eq!((session.state.setting(), session.state.token, session.state.latent), (turned, token, latent));
}

#[test]
fn what_a_person_made_outlives_an_sae_that_joins_and_what_the_one_before_gave_does_not() {
    let mut session = Session::explored();
    session.keys("x|").keys(" ready").time(400).answer(Part::All).keys("<esc>").answer_beside();
    session.state.names.insert(7, "navy".into());
    session.keys("g");
    let (edits, names) = (session.state.edits.clone(), session.state.names.clone());
    assert!(!edits.list.is_empty() && session.state.generation.going);
    let second = |session: &Session| session.state.pair.as_ref().unwrap().shown.is_some();
    assert!(second(&session));
    session.report(Report::Joined { info: Arc::new(crate::session::info()), asked: false });
    assert_eq!((&session.state.edits, &session.state.names), (&edits, &names));
    // Of the SAE that was `trained` before nothing stands beside what comes of the new one.
    assert!(!second(&session), "the second prompt's latents are those of the SAE before");
    let beside = session.requests().into_iter().filter(|request| matches!(request.query, Query::Beside { .. })).count();
    assert_eq!(beside, 1);
    assert!(!session.state.generation.going, "nobody goes on with that text");
    let shown = session.state.shown.as_ref().unwrap();
    let trained = prunelens_core::compare::Variant::Trained as usize;
    assert!(shown.reconstruction[trained].is_none() && shown.splice[trained].is_none());
    assert!(shown.reconstruction[0].is_some());
}

#[test]
fn curves_of_a_marked_run_are_laid_over_the_chosen_one() {
    let curve = |end: f64| {
        let points = vec![(0.0, 0.0), (1000.0, end)];
        let series = prunelens_metrics::details::Series { name: "this run".into(), variant: None, points, mark: None };
        prunelens_metrics::Detail::lines("curve: explained variance", "tokens", "EV", vec![series])
    };
    let of = |end: f64| prunelens_metrics::Run { details: vec![curve(end)], ..run(0.5, "blocks.1.hook_resid_post") };
    let mut session = Session::explored();
    session.report(Report::Runs { runs: Arc::new(vec![of(0.5), of(0.9)]), now: NOW });
    session.keys("Mb<down>");
    let at = session.state.views().iter().position(|view| matches!(view, View::Detail(_))).unwrap();
    session.keys(&"<right>".repeat(at));
    let text = screen(&session, 120, 36);
    assert!(text.contains("this run") && text.contains("marked: this run"), "{text}");
}
