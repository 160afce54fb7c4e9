//! What atlases say, as a page of Markdown with charts beside it.

use prunelens_metrics::atlas::report::{Estimate, Figure, Findings, Kind, NULL, Outcome, PREDICTORS, Report};
use prunelens_metrics::statistics::Interval;

use super::{
    charts::{forest, lines},
    table::escape,
};

/// The page, and the charts that it shows, by name.
pub fn files(report: &Report) -> Vec<(String, String)> {
    let mut out = vec![("report.md".to_owned(), markdown(report))];
    out.push(("survivors.svg".into(), survivors(report)));
    out.push(("goes-with.svg".into(), goes_with(report)));
    out.extend(report.findings.iter().map(|findings| (loss_file(findings), losses(report, findings))));
    out
}

fn loss_file(findings: &Findings) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("loss-{}.svg", findings.criterion.chars().take(40).map(plain).collect::<String>())
}

fn markdown(report: &Report) -> String {
    let mut out = heading(report);
    out += "\n## When latents die\n\n![Share of latents that keep half of their mass, against the ratio](survivors.svg)\n\n";
    out += &beside(report);
    out += "\n![Rank correlations with the ratio at which half of the mass is gone](goes-with.svg)\n";
    for findings in &report.findings {
        out += &format!("\n## Pruned by {}\n\n", escape(&findings.criterion));
        out += &predictors(report, findings, Outcome::Half);
        out += &format!(
            "\nOf the latents that have lost half or more at ratio {}:\n\n{}",
            findings.ratio,
            kinds(findings, Outcome::Half)
        );
        out += &losses_by_kind(report, findings);
    }
    if let Some(findings) = report.findings.first() {
        out += "\n## The model's pruning alone\n\nWhat is left is `mass.transfer` over `mass.original`: the SAE is not pruned, the \
                criterion of no account. Above 0: what has more of it keeps more.\n\n";
        out += &predictors(report, findings, Outcome::Model);
        out += &format!("\nOf the latents that have lost half or more:\n\n{}", kinds(findings, Outcome::Model));
    }
    out + "\n## What this does not say\n\n- Figures are of one hook of one model, compressed once, and of this text.\n\
           - Importance is of first order: near the truth for small changes, and far from it, even in sign, for latents that are \
           always strongly on.\n- Density, strength, norms and entropy go together; the regression tells them apart as far as ranks \
           do.\n- A ratio of death is known to a step of the grid, and a latent that outlives it counts as 1.\n"
}

fn heading(report: &Report) -> String {
    let o = &report.options;
    let saes: Vec<String> = report.saes.iter().map(|(name, n)| format!("{} ({n} count)", escape(name))).collect();
    let rows = match report.blocks {
        0 => "not of rows, of which these atlases keep no sums".into(),
        n => format!(
            "of rows, drawn as {n} blocks (1.96 standard errors to both sides; norms and token entropy stay as they are in all rows)"
        ),
    };
    let seeds = match report.saes.len() {
        1 => "one SAE, so that nothing is said of other seeds".into(),
        2 => "of the two SAEs (from one to the other)".into(),
        n => format!("of the {n} SAEs (percentiles)"),
    };
    format!(
        "# Which latents pruning takes\n\n- SAE at `{}` of {} latents: {}\n- model compressed by `{}`; SAE pruned at ratios {}, by {}\n\
         - text: {}, {} rows, {} positions; importance of the first {} rows\n- a latent counts if it fires {} times or more, has mass \
         on the pruned model, and an importance\n- intervals of 95 % from {} resamples (seed {}): {rows}; \
         of latents (percentiles); {seeds}\n- **noise**: one of its intervals holds 0\n- kinds, the first that fits: *dense and unimportant* \
         (density from its {} quantile on, importance without sign below its {} quantile), *rare and specific* (density below, token \
         entropy below its {} quantile), *polysemantic* (token entropy from its {} quantile on), *other*\n",
        escape(&report.hook),
        report.d_sae,
        saes.join(", "),
        escape(&report.compress),
        report.ratios.iter().map(f64::to_string).collect::<Vec<_>>().join(", "),
        report.findings.iter().map(|f| escape(&f.criterion)).collect::<Vec<_>>().join(", "),
        escape(&report.text),
        report.rows,
        report.positions,
        report.importance_rows,
        o.firings,
        o.resamples,
        o.seed,
        o.dense,
        o.important,
        o.specific,
        o.polysemantic,
    )
}

/// A number with its sign; more digits of small ones.
fn signed(value: f64) -> String {
    match value.abs() {
        v if v.is_nan() => "-".into(),
        v if v > 0.0 && v < 0.0095 => format!("{value:+.4}"),
        _ => format!("{value:+.2}"),
    }
}

fn interval(interval: &Interval) -> String {
    if interval.low.is_nan() { "-".into() } else { format!("[{}, {}]", signed(interval.low), signed(interval.high)) }
}

/// A value with the widest of its intervals, and whether one holds 0.
fn told(estimate: Option<&Estimate>) -> String {
    let Some(estimate) = estimate.filter(|estimate| !estimate.value.is_nan()) else { return "-".into() };
    let noise = if estimate.within_noise() { " noise" } else { "" };
    format!("{} {}{noise}", signed(estimate.value), interval(&widest(estimate)))
}

fn widest(estimate: &Estimate) -> Interval {
    let all = [estimate.rows, estimate.saes].into_iter().flatten();
    all.fold(estimate.latents, |a, b| if b.high - b.low > a.high - a.low { b } else { a })
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn head(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
    format!("{}|---|{}\n", row(&cells), "---:|".repeat(cells.len().saturating_sub(1)))
}

/// Criteria side by side, and against the null.
fn beside(report: &Report) -> String {
    let names: Vec<&str> = report.findings.iter().map(|findings| findings.criterion.as_str()).collect();
    let figures = || {
        let of =
            report.predictors.iter().map(|at| (PREDICTORS[*at].0.to_owned(), Figure::Spearman(Outcome::Half, *at)));
        of.chain([
            ("R² of all, by ranks".into(), Figure::Explained(Outcome::Half)),
            ("mean ratio at which half is gone".into(), Figure::MeanHalf),
        ])
    };
    let mut out = format!(
        "Spearman's coefficient with the ratio at which half of a latent's mass is gone, with the widest of its intervals; above \
         0: what has more of it lives longer.\n\n{}",
        head(&[&[""], &names[..]].concat())
    );
    for (name, figure) in figures() {
        let cells = report.findings.iter().map(|findings| match figure {
            // That these are above 0 says nothing.
            Figure::Explained(_) | Figure::MeanHalf => told(findings.get(figure)).replace(" noise", ""),
            _ => told(findings.get(figure)),
        });
        out += &row(&[name].into_iter().chain(cells).collect::<Vec<_>>());
    }
    let against: Vec<&Findings> = report.findings.iter().filter(|findings| !findings.against_null.is_empty()).collect();
    if against.is_empty() {
        return out
            + &format!(
                "\nWithout an atlas of criterion `{NULL}` there is no null that these figures could be laid against.\n"
            );
    }
    let names: Vec<&str> = against.iter().map(|findings| findings.criterion.as_str()).collect();
    out += &format!(
        "\nThe same less that of `{NULL}`, the null, in the same resamples; noise: no difference from what pruning at random does.\n\n{}",
        head(&[&[""], &names[..]].concat())
    );
    for (name, figure) in figures() {
        let cells = against.iter().map(|findings| told(findings.against(figure)));
        out += &row(&[name].into_iter().chain(cells).collect::<Vec<_>>());
    }
    out
}

/// Every interval of every predictor.
fn predictors(report: &Report, findings: &Findings, outcome: Outcome) -> String {
    let several = report.saes.len() > 1;
    let mut columns = vec!["", "Spearman", "over rows", "over latents"];
    columns.extend(several.then_some("over SAEs"));
    columns.extend(["in the regression of ranks", "widest interval"]);
    let mut out = head(&columns);
    for at in &report.predictors {
        let Some(found) = findings.get(Figure::Spearman(outcome, *at)) else { continue };
        let noise = if found.within_noise() { " noise" } else { "" };
        let mut cells = vec![PREDICTORS[*at].0.to_owned(), signed(found.value) + noise];
        cells.push(found.rows.as_ref().map_or("-".into(), interval));
        cells.push(interval(&found.latents));
        cells.extend(found.saes.as_ref().map(interval));
        let coefficient = findings.get(Figure::Coefficient(outcome, *at));
        cells.push(coefficient.map_or("-".into(), |c| signed(c.value)));
        cells.push(
            coefficient.map_or("-".into(), |c| interval(&widest(c)) + if c.within_noise() { " noise" } else { "" }),
        );
        out += &row(&cells);
    }
    let explained = findings.get(Figure::Explained(outcome)).map_or(f64::NAN, |found| found.value);
    out + &format!("\nR² of the regression: {explained:.2}.\n")
}

fn kinds(findings: &Findings, outcome: Outcome) -> String {
    let lost = findings.get(Figure::Lost(outcome)).map_or(0.0, |found| found.value);
    let known = findings.get(Figure::Difference(outcome, Kind::Other)).is_some_and(|found| !found.value.is_nan());
    if !known {
        return format!("Only {lost:.0} of them: too few to say of which kind they are.\n");
    }
    let mut out = format!("{lost:.0} latents.\n\n{}", head(&["kind", "of all", "of these", "difference, points"]));
    for kind in Kind::ALL {
        let percent = |figure| {
            let value = findings.get(figure).map_or(f64::NAN, |found| found.value);
            format!("{:.1} %", 100.0 * value)
        };
        out += &row(&[
            kind.name().to_owned(),
            percent(Figure::OfAll(outcome, kind)),
            percent(Figure::OfLost(outcome, kind)),
            points(findings.get(Figure::Difference(outcome, kind))),
        ]);
    }
    out
}

/// A difference of shares in points of per cent.
fn points(estimate: Option<&Estimate>) -> String {
    let Some(estimate) = estimate else { return "-".into() };
    let (Interval { low, high }, noise) = (widest(estimate), if estimate.within_noise() { " noise" } else { "" });
    format!("{:+.1} [{:+.1}, {:+.1}]{noise}", 100.0 * estimate.value, 100.0 * low, 100.0 * high)
}

fn losses_by_kind(report: &Report, findings: &Findings) -> String {
    let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let mut out = format!(
        "\nThe change of the loss, to first order (importance times the share of mass lost against `original`), in nats, and what \
         each kind has of it; no shares where the sum is within noise.\n\n{}",
        head(&[&["ratio", "sum"], &names[..]].concat())
    );
    for at in 0..=report.ratios.len() {
        let total = findings.get(Figure::Loss(at));
        let noise = total.is_none_or(Estimate::within_noise);
        let first = match at.checked_sub(1) {
            None => "model's pruning alone".into(),
            Some(ratio) => report.ratios[ratio].to_string(),
        };
        let mut cells = vec![first, total.map_or("-".into(), nats)];
        for kind in Kind::ALL {
            let (sum, share) = (findings.get(Figure::LossOf(at, kind)), findings.get(Figure::LossShare(at, kind)));
            let share = share.filter(|_| !noise).map_or(String::new(), |found| {
                format!(
                    ", {:.0} % [{:.0}, {:.0}]",
                    100.0 * found.value,
                    100.0 * widest(found).low,
                    100.0 * widest(found).high
                )
            });
            cells.push(sum.map_or("-".into(), |found| format!("{:+.4}{share}", found.value)));
        }
        out += &row(&cells);
    }
    out + &format!("\n![Change of the loss by kind, against the ratio]({})\n", loss_file(findings))
}

fn nats(found: &Estimate) -> String {
    let Interval { low, high } = widest(found);
    format!("{:+.4} [{low:+.4}, {high:+.4}]{}", found.value, if found.within_noise() { " noise" } else { "" })
}

fn survivors(report: &Report) -> String {
    let line = |findings: &Findings| lines::Line {
        name: findings.criterion.clone(),
        points: report.ratios.iter().copied().zip(findings.survivors.iter().copied()).collect(),
        band: Vec::new(),
    };
    let all: Vec<_> = report.findings.iter().map(line).collect();
    lines::lines("Latents that keep half of their mass", "ratio of the SAE", "share of the latents that count", &all)
}

fn goes_with(report: &Report) -> String {
    let names: Vec<String> = report.findings.iter().map(|findings| findings.criterion.clone()).collect();
    let value = |findings: &Findings, at: usize| {
        let found = findings.get(Figure::Spearman(Outcome::Half, at))?;
        let Interval { low, high } = widest(found);
        Some((found.value, low, high))
    };
    let row = |at: &usize| {
        (PREDICTORS[*at].0.to_owned(), report.findings.iter().map(|findings| value(findings, *at)).collect())
    };
    let rows: Vec<forest::Row> = report.predictors.iter().map(row).collect();
    let title = "What goes with the ratio at which half of the mass is gone";
    forest::forest(title, "Spearman's coefficient, with the widest 95 % interval", &names, &rows)
}

fn losses(report: &Report, findings: &Findings) -> String {
    let line = |kind: Kind| {
        let at = |row: usize| findings.get(Figure::LossOf(row + 1, kind));
        let value = |row: usize| (report.ratios[row], at(row).map_or(f64::NAN, |found| found.value));
        let band = |row: usize| at(row).map_or((f64::NAN, f64::NAN), |found| (widest(found).low, widest(found).high));
        let rows = 0..report.ratios.len();
        lines::Line {
            name: kind.name().into(),
            points: rows.clone().map(value).collect(),
            band: rows.map(band).collect(),
        }
    };
    let all: Vec<_> = Kind::ALL.into_iter().map(line).collect();
    let title = format!("First-order change of the loss by kind, pruned by {}", findings.criterion);
    lines::lines(&title, "ratio of the SAE", "nats", &all)
}
