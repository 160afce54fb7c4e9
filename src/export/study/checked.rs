//! What came of a study's bounds, as JUnit XML, as a page of Markdown, and for a terminal.

use std::fmt::Write;

use super::{head, row};
use crate::{
    export::{markup, table},
    study::check::{Outcome, Verdict, counts},
};

/// A test case an outcome: broken bounds are failures, what cannot be told is an error.
pub fn junit(outcomes: &[Outcome]) -> String {
    let (broken, unknown) = counts(outcomes);
    let of =
        format!("tests=\"{}\" failures=\"{broken}\" errors=\"{unknown}\" skipped=\"0\" time=\"0\"", outcomes.len());
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {of}>\n<testsuite name=\"prunelens check\" {of}>\n"
    );
    for outcome in outcomes {
        let _ = write!(
            out,
            "<testcase classname=\"{}\" name=\"{}\" time=\"0\"",
            markup::escape(&place(outcome)),
            markup::escape(&name(outcome))
        );
        let _ = match &outcome.verdict {
            Verdict::Held => writeln!(out, "/>"),
            Verdict::Broken(why) => {
                let why = markup::escape(why);
                writeln!(out, "><failure message=\"{why}\" type=\"bound\">{why}</failure></testcase>")
            }
            Verdict::Unknown(why) => {
                let why = markup::escape(why);
                writeln!(out, "><error message=\"{why}\" type=\"unknown\">{why}</error></testcase>")
            }
        };
    }
    out + "</testsuite>\n</testsuites>\n"
}

pub fn markdown(outcomes: &[Outcome]) -> String {
    let (broken, unknown) = counts(outcomes);
    let verdict = if broken + unknown == 0 { "within its bounds" } else { "not within its bounds" };
    let mut out = format!("# The study is {verdict}\n\n{}\n\n", summary(outcomes));
    let columns = ["", "figure", "bound", "found", "baseline", "outcome"].map(String::from);
    out += &head(&columns);
    for outcome in sorted(outcomes) {
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
        out += &row([
            table::escape(&markup::escape(&place(outcome))),
            table::escape(&markup::escape(&figure(outcome))),
            outcome.bound.clone(),
            number(outcome.found),
            number(outcome.baseline),
            table::escape(&markup::escape(&said(outcome))),
        ]);
    }
    out
}

/// A line for each that does not hold, and a count.
pub fn text(outcomes: &[Outcome]) -> String {
    let bad = sorted(outcomes).into_iter().filter(|outcome| outcome.verdict != Verdict::Held);
    let line = |outcome: &Outcome| format!("{}: {}: {}", place(outcome), name(outcome), said(outcome));
    bad.map(line).chain([summary(outcomes)]).collect::<Vec<_>>().join("\n")
}

fn summary(outcomes: &[Outcome]) -> String {
    let (broken, unknown) = counts(outcomes);
    format!("{} bounds held, {broken} broken, {unknown} that cannot be told", outcomes.len() - broken - unknown)
}

/// Broken ones first.
fn sorted(outcomes: &[Outcome]) -> Vec<&Outcome> {
    let mut all: Vec<&Outcome> = outcomes.iter().collect();
    all.sort_by_key(|outcome| match outcome.verdict {
        Verdict::Broken(_) => 0,
        Verdict::Unknown(_) => 1,
        Verdict::Held => 2,
    });
    all
}

fn place(outcome: &Outcome) -> String {
    let place = &outcome.place;
    let layer = place.layer.map(|layer| format!(".layer{layer}")).unwrap_or_default();
    let seed = place.seed.map(|seed| format!(".seed{seed}")).unwrap_or_default();
    format!("{}.{}{layer}{seed}", place.session, place.compress)
}

fn figure(outcome: &Outcome) -> String {
    let seed = outcome.seed.map(|seed| format!(", seed {seed}")).unwrap_or_default();
    let of = if outcome.of.is_empty() { String::new() } else { format!(" of {}", outcome.of) };
    format!("{}: {}{of}{seed}", outcome.metric, outcome.figure)
}

fn name(outcome: &Outcome) -> String {
    format!("{}, {}", figure(outcome), outcome.bound)
}

fn said(outcome: &Outcome) -> String {
    match &outcome.verdict {
        Verdict::Held => "held".into(),
        Verdict::Broken(why) => format!("broken: {why}"),
        Verdict::Unknown(why) => format!("cannot be told: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::made::place;

    fn outcome(figure: &str, verdict: Verdict) -> Outcome {
        Outcome {
            place: place(3),
            metric: "core".into(),
            figure: figure.into(),
            of: "transfer".into(),
            seed: None,
            bound: "at most 3".into(),
            found: Some(3.25),
            baseline: None,
            verdict,
        }
    }

    #[test]
    fn junit_counts_and_escapes() {
        let odd = outcome("a<b>&\"\u{1b}[31m", Verdict::Broken("3.25 > 3 \u{0}".into()));
        let unknown = outcome("l0", Verdict::Unknown("cell core: not measured yet".into()));
        let xml = junit(&[outcome("l0", Verdict::Held), odd, unknown]);
        assert!(
            xml.contains("<testsuite name=\"prunelens check\" tests=\"3\" failures=\"1\" errors=\"1\" skipped=\"0\"")
        );
        assert!(xml.contains("a&lt;b&gt;&amp;&quot;\u{fffd}[31m") && xml.contains("3.25 &gt; 3 \u{fffd}"), "{xml}");
        assert!(xml.chars().all(|c| c == '\n' || !c.is_control()), "{xml}");
        assert!(
            xml.contains("classname=\"demo.wanda:0.5.layer3\" name=\"core: l0 of transfer, at most 3\" time=\"0\"/>")
        );
        assert_eq!((xml.matches("<failure").count(), xml.matches("<error ").count()), (1, 1));
    }

    #[test]
    fn what_does_not_hold_comes_first() {
        let all = [
            outcome("l0", Verdict::Held),
            outcome("l1|x", Verdict::Unknown("why".into())),
            outcome("mse", Verdict::Broken("more".into())),
        ];
        let page = markdown(&all);
        let at = |word: &str| page.find(word).unwrap();
        assert!(at("mse") < at("l1\\|x") && at("l1\\|x") < at("core: l0"), "{page}");
        assert!(
            page.starts_with("# The study is not within its bounds\n\n1 bounds held, 1 broken, 1 that cannot be told")
        );
        assert!(markdown(&all[..1]).starts_with("# The study is within its bounds"));
        assert_eq!(text(&all).lines().count(), 3);
    }
}
