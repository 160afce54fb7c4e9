//! The screen of a study, on one that is made up, and on folders.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crossterm::event::{Event, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use prunelens::{
    engine::Command,
    study::{
        Origin, Study, StudyFile,
        squares::{Column, Overview, Pace, Row, Square},
        watch::Seen,
    },
    tui::{
        Effect, Message, message_of,
        state::{Overlay, Phase, Screen, StudyView, Wanted},
        studies::{Ask, Looker, Told, complete},
    },
};
use prunelens_core::{compare::Variant, session::SessionSpec};
use prunelens_metrics::{Detail, Run, details::Series};

use crate::{
    session::{NOW, Session, dark, run},
    snapshots::screen,
};

const RATIOS: [f64; 4] = [0.25, 0.5, 0.75, 0.9];

/// Layers under two compressions; the first are done, one is worked on, one cell has failed.
fn overview() -> Overview {
    let core = RATIOS.map(|ratio| ("core", format!("core wanda {ratio}"), ratio.to_string()));
    let more = ["sweep", "absorption wanda 0.25 seed0", "scr"].map(|name| {
        let metric = name.split(' ').next().unwrap();
        (metric, name.to_owned(), String::new())
    });
    let columns = core.into_iter().chain(more);
    let columns: Vec<Column> =
        columns.map(|(metric, name, rest)| Column { name, metric: metric.into(), rest }).collect();
    let places: Vec<(&str, usize)> =
        ["wanda:0.5", "rtn:int4:g64"].iter().flat_map(|c| (0..6).map(move |l| (*c, l))).collect();
    let n = columns.len();
    let square = |group: usize, cell: usize| match group * n + cell {
        9 => Square::Failed("text.txt: 3 rows of 128 tokens, 64 were asked for: give more text or fewer rows".into()),
        at if at < 17 => Square::Done,
        17 => Square::Working(Some(0.43)),
        _ => Square::Waiting,
    };
    Overview {
        folder: "/data/study".into(),
        common: "smol".into(),
        names: places.iter().map(|(c, l)| format!("smol · {c} · blocks.{l}.hook_resid_post")).collect(),
        labels: places.iter().map(|(c, l)| format!("{c} · blocks.{l}.hook_resid_post")).collect(),
        // The last compression measures no SCR.
        places: (0..12).map(|group| (0..n).map(|at| (group < 6 || at < n - 1).then_some(at)).collect()).collect(),
        rows: (0..12)
            .map(|group| Row {
                squares: (0..if group < 6 { n } else { n - 1 }).map(|cell| square(group, cell)).collect(),
                worker: (group == 2).then(|| "node7 (4711, job 12_3)".into()),
            })
            .collect(),
        columns,
        pace: Some(Pace { an_hour: 36.4 }),
    }
}

fn curves() -> Vec<Detail> {
    let line = |name: &str, variant, of: &dyn Fn(f64) -> f64, ratios: &[f64]| Series {
        name: name.into(),
        variant: Some(variant),
        points: ratios.iter().map(|ratio| (*ratio, of(*ratio))).collect(),
        mark: None,
    };
    let all = [&[0.0], &RATIOS[..]].concat();
    let chart = |figure: &str, by: f64| {
        let series = vec![
            line("pruned wanda", Variant::Pruned, &|r| 3.4 + by * r.powi(3), &all),
            line("original", Variant::Original, &|_| 3.3, &[0.0, 0.9]),
        ];
        Detail::lines(format!("{figure} (core)"), "ratio", "nats", series)
    };
    vec![chart("ce_loss_with_sae", 1.0), chart("kl_div_with_sae", 0.4)]
}

/// What a look at a cell shows.
fn seen(at: (usize, usize)) -> Seen {
    let overview = overview();
    let done = matches!(overview.rows[at.0].squares.get(at.1), Some(Square::Done));
    let result =
        || Run { files: vec![format!("cells/{at:?}/cell.json").into()], ..run(0.25, "blocks.1.hook_resid_post") };
    let run = done.then(|| Ok(Arc::new(result())));
    Seen { overview: overview.into(), at, run, curves: Arc::new(curves()), when: NOW, took: Duration::from_millis(3) }
}

fn look(session: &Session) -> Option<(PathBuf, (usize, usize), bool)> {
    session.effects.iter().rev().find_map(|effect| match effect {
        Effect::Study(Ask::Look { folder, at, anew }) => Some((folder.clone(), *at, *anew)),
        _ => None,
    })
}

fn tell(session: &mut Session, told: Told) {
    session.send(Message::Study(Box::new(told)));
}

/// The study is open, every look was answered, and then these keys were pressed.
pub fn opened(keys: &str) -> Session {
    let mut session = Session::explored();
    session.keys(":study /data/study<enter>");
    tell(&mut session, Told::Seen(seen((0, 0)).into()));
    for step in prunelens::tui::script::parse(keys).unwrap() {
        let prunelens::tui::script::Step::Key(key) = step else { continue };
        session.send(Message::KeyPressed(key));
        if let Some((_, at, _)) = look(&session) {
            tell(&mut session, Told::Seen(seen(at).into()));
        }
    }
    session
}

#[test]
fn at_three_sizes() {
    let session = opened("<down><right><right>");
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        insta::assert_snapshot!(format!("study_{width}x{height}"), screen(&session.state, width, height, &dark()));
    }
    let session = opened("");
    insta::assert_snapshot!("study_done_120x36", screen(&session.state, 120, 36, &dark()));
    let session = opened("<down><down><right><right><right>f");
    insta::assert_snapshot!("study_working_80x24", screen(&session.state, 80, 24, &dark()));
}

#[test]
fn a_click_selects_a_cell() {
    let mut session = opened("");
    let shown = screen(&session.state, 120, 36, &dark());
    let find = |(row, line): (usize, &str)| Some((line.chars().position(|c| c == '✗')? as u16, row as u16));
    let (column, row) = shown.lines().enumerate().find_map(find).unwrap();
    let mouse =
        MouseEvent { kind: MouseEventKind::Down(MouseButton::Left), column, row, modifiers: KeyModifiers::NONE };
    session.send(message_of(Event::Mouse(mouse), &session.state, &dark()).unwrap());
    assert_eq!((session.state.study.row, session.state.study.column), (1, 2));
}

#[test]
fn a_folder_is_asked_for_and_looked_at_while_it_is_seen() {
    let mut session = Session::explored();
    session.time(60_000).keys("S");
    assert!(matches!(&session.state.overlay, Some(Overlay::Open(line)) if line.wanted == Wanted::Study));
    assert!(matches!(&session.effects[..], [Effect::CompleteStudy(line)] if line.is_empty()));
    session.keys("st");
    session.send(Message::Completed { line: "st".into(), found: vec!["study one/".into(), "stones/".into()] });
    insta::assert_snapshot!("study_asked_for", screen(&session.state, 80, 24, &dark()));
    session.keys("<tab><enter>");
    assert_eq!(look(&session), Some(("study one/".into(), (0, 0), true)), "a path is one word");
    assert!(session.state.animating());
    tell(&mut session, Told::Seen(seen((0, 0)).into()));
    assert!(!session.state.animating());
    let now = session.state.now;
    let due = session.state.next_wake().unwrap();
    assert_eq!(due, now + Duration::from_secs(2));
    session.time((due.as_millis() - 1) as u64);
    assert_eq!(look(&session), None);
    session.time(due.as_millis() as u64);
    assert_eq!(look(&session), Some(("study one/".into(), (0, 0), false)));
    // The same again changes nothing on screen.
    session.state.redraw = false;
    let same = session.state.study.seen.clone().unwrap();
    tell(&mut session, Told::Seen(Arc::new(Seen { took: Duration::from_secs(1), ..Seen::clone(&same) })));
    assert!(!session.state.redraw);
    assert_eq!(session.state.next_wake(), Some(session.state.now + Duration::from_secs(10)), "a slow folder is spared");
    session.keys("<esc>");
    assert_eq!((session.state.screen, session.state.next_wake()), (Screen::Explore, None));
    session.time(1_000_000);
    assert_eq!(look(&session), None, "what is not seen is not looked at");
    session.keys("S");
    assert_eq!((session.state.screen, look(&session).unwrap().2), (Screen::Study, true));
}

#[test]
fn a_result_opens_in_metrics_and_esc_comes_back() {
    let mut session = opened("<right>");
    assert_eq!(session.state.study.cell(), Some((0, Some(1))));
    session.keys("<enter>");
    assert_eq!(session.state.screen, Screen::Metrics);
    assert_eq!(session.state.chosen().unwrap().session(), Some("demo, wanda 50%, 2k topk32, blocks.1.hook_resid_post"));
    session.keys("<esc>");
    assert_eq!(session.state.screen, Screen::Study);
    // It is not there twice.
    session.keys("<enter><esc><enter>");
    assert_eq!(session.state.rows_of_metrics(), 1);
    session.keys("<esc><esc>M<esc>");
    assert_eq!(session.state.screen, Screen::Explore, "the study is left");
}

#[test]
fn what_is_not_done_says_why() {
    let said = |keys: &str| {
        let session = opened(keys);
        assert_eq!(session.state.screen, Screen::Study);
        session.state.log.entries.last().unwrap().text.clone()
    };
    assert!(said("<down><right><right><enter>").contains("3 rows of 128 tokens"));
    assert!(said("n<enter>").contains("3 rows of 128 tokens"), "the next of note is the one that failed");
    assert!(said("<down><down><right><right><right><enter>").contains("being measured"));
    assert!(said("<pagedown><enter>").contains("study work"));
    assert!(said("<pagedown><pagedown><right><right><right><right><right><right><enter>").contains("no such cell"));
    let mut session = opened("");
    let damaged = Seen { run: Some(Err("cell.json: not a cell of this study".into())), ..seen((0, 0)) };
    tell(&mut session, Told::Seen(damaged.into()));
    assert!(screen(&session.state, 120, 36, &dark()).contains("its result cannot be read"));
    session.keys("<enter>");
    assert!(session.state.log.entries.last().unwrap().text.contains("not a cell"));
}

#[test]
fn a_session_opens_in_explore() {
    let mut session = opened("<down>o");
    assert!(matches!(&session.effects[..], [Effect::Study(Ask::Session { group: 1, .. })]));
    let spec = SessionSpec { layer: Some(1), ..SessionSpec::demo() };
    let settings = session.state.settings.as_ref().clone();
    tell(&mut session, Told::Session(Ok(Box::new((spec.clone(), settings)))));
    assert!(matches!(&session.commands()[..], [Command::Open(asked)] if **asked == spec));
    assert_eq!(session.state.screen, Screen::Explore);
    let mut session = opened("");
    tell(&mut session, Told::Session(Err("no such file".into())));
    assert_eq!(session.state.log.entries.last().unwrap().text, "no such file");
    session.state.phase = Phase::Loading { progress: None, since: Duration::ZERO };
    session.keys("o");
    assert!(session.effects.is_empty());
}

#[test]
fn a_folder_that_goes_away_is_told_and_comes_back() {
    let mut session = opened("");
    tell(&mut session, Told::Wrong("/data/study/study.json: no such file".into()));
    let shown = screen(&session.state, 120, 36, &dark());
    assert!(shown.contains("no such file; this is what was there") && shown.contains("hook_resid_post"), "{shown}");
    assert!(session.state.next_wake().is_some(), "it is looked for again");
    tell(&mut session, Told::Seen(seen((0, 0)).into()));
    assert!(!screen(&session.state, 120, 36, &dark()).contains("no such file"));
    // One that never was there.
    session.state.study = StudyView::default();
    session.keys(":study nowhere<enter>");
    tell(&mut session, Told::Wrong("nowhere/study.json: no such file: this folder holds no study".into()));
    insta::assert_snapshot!("study_nowhere", screen(&session.state, 80, 24, &dark()));
}

/// A study of the demo's model with SAEs that are never loaded.
fn begun() -> (tempfile::TempDir, Study) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("sae1")).unwrap();
    std::fs::create_dir_all(folder.path().join("sae2")).unwrap();
    let text = "[session]\nsae = \"sae{layer}\"\nlayers = \"1-2\"\n[grid]\nratios = [0.25, 0.5]\n[metrics.core]\n[metrics.sweep]\n";
    let origin = Origin { file: folder.path().join("s.toml"), folder: folder.path().to_path_buf(), text: text.into() };
    let study = Study::new(StudyFile::parse(origin).unwrap(), &folder.path().join("study"), &|_| None).unwrap();
    (folder, study)
}

#[test]
fn a_real_folder_empty_spoilt_and_gone() {
    let (folder, study) = begun();
    let mut looker = Looker::default();
    let mut look = |at| looker.answer(Ask::Look { folder: study.folder.clone(), at, anew: false });
    assert!(matches!(look((0, 0)), Told::Wrong(why) if why.contains("holds no study")));
    study.keep().unwrap();
    let Told::Seen(seen) = look((0, 0)) else { panic!("it is there") };
    let overview = &seen.overview;
    assert_eq!(overview.labels, ["layer 1", "layer 2"]);
    let heads: Vec<_> = overview.columns.iter().map(|c| (c.metric.as_str(), c.rest.as_str())).collect();
    assert_eq!(heads, [("core", "0.25"), ("core", "0.5"), ("sweep", "")]);
    assert_eq!((overview.counts().done, overview.counts().cells), (0, 6));
    // One cell fails, one is spoilt, one is there.
    let cells = &study.groups[0].cells;
    std::fs::create_dir_all(&cells[0].folder).unwrap();
    std::fs::write(cells[0].folder.join("failed.json"), r#"{"error": "no room"}"#).unwrap();
    std::fs::create_dir_all(&cells[1].folder).unwrap();
    std::fs::write(cells[1].folder.join("cell.json"), "{").unwrap();
    let Told::Seen(seen) = look((0, 1)) else { panic!("it is there") };
    assert_eq!(seen.overview.rows[0].squares, [Square::Failed("no room".into()), Square::Done, Square::Waiting]);
    assert!(matches!(&seen.run, Some(Err(why)) if why.contains("not a cell")), "{:?}", seen.run);
    // Taken away again, it is to be done.
    std::fs::remove_file(cells[1].folder.join("cell.json")).unwrap();
    let Told::Seen(seen) = look((0, 1)) else { panic!("it is there") };
    assert!(seen.run.is_none());
    let Told::Seen(seen) = look((0, 1)) else { panic!("it is there") };
    assert_eq!(seen.overview.rows[0].squares[1], Square::Waiting);
    // The folder goes.
    let aside = folder.path().join("aside");
    std::fs::rename(&study.folder, &aside).unwrap();
    assert!(matches!(look((0, 0)), Told::Wrong(_)));
    std::fs::rename(&aside, &study.folder).unwrap();
    assert!(matches!(look((0, 0)), Told::Seen(_)));
    let parent = format!("{}/", folder.path().display());
    assert_eq!(complete(&parent)[0], format!("{parent}study/"), "the one with a study comes first");
}
