//! Jobs that read the same, done together: each has what it would have by itself, to the bit.

use prunelens_core::session::Session;
use prunelens_metrics::{FAMILIES, Job, JobSpec, ParamValue, Step};

use crate::support;

fn with(family: &str, params: &[(&str, f64)]) -> JobSpec {
    let number = |job: JobSpec, (name, value): &(&str, f64)| job.with(name, ParamValue::Number(*value));
    params.iter().fold(JobSpec::new(family), number)
}

/// All variants at one ratio, and the pruned one at two other settings.
fn cells(job: &JobSpec) -> Vec<JobSpec> {
    let alone = |job: JobSpec| job.with("variants", ParamValue::Words(vec!["pruned".into()]));
    let at = |ratio: f64, criterion: &str| {
        job.clone().with("ratio", ParamValue::Number(ratio)).with("criterion", ParamValue::Text(criterion.into()))
    };
    vec![at(0.25, "magnitude"), alone(at(0.5, "magnitude")), alone(at(0.5, "random"))]
}

fn finish(job: &mut dyn Job) {
    while job.step(&mut || Ok(())).unwrap() == Step::More {}
}

fn joined(specs: &[&JobSpec], session: &Session) -> Box<dyn Job> {
    JobSpec::join(specs, FAMILIES, session).unwrap().expect("they read the same")
}

#[test]
fn each_has_what_it_would_have_by_itself() {
    let session = support::session(support::demo_spec());
    let small = [
        with("core", &[("rows", 4.0), ("batch", 2.0), ("context", 24.0)]),
        with("absorption", &[("words", 300.0)]),
        with("sparse_probing", &[("train-size", 32.0), ("test-size", 16.0), ("context", 24.0)]),
        with("tpp", &[("train-size", 32.0), ("test-size", 16.0), ("context", 24.0)]),
        with("scr", &[("train-size", 32.0), ("test-size", 16.0), ("context", 24.0)]),
    ];
    for job in &small {
        let cells = cells(job);
        let specs: Vec<&JobSpec> = cells.iter().collect();
        // Stopped in the middle and gone on with.
        let mut together = joined(&specs, &session);
        for _ in 0..3 {
            together.step(&mut || Ok(())).unwrap();
        }
        let state = together.state().unwrap();
        let mut together = joined(&specs, &session);
        together.restore(&state).unwrap();
        finish(&mut *together);
        let states = together.states().unwrap();
        assert_eq!(states.len(), cells.len(), "{}", job.family);
        for (spec, state) in cells.iter().zip(&states) {
            let mut alone = spec.make(FAMILIES, &session).unwrap();
            finish(&mut *alone);
            assert!(alone.state().unwrap() == *state, "{} {:?}", job.family, spec.params);
            let mut taken_up = spec.make(FAMILIES, &session).unwrap();
            taken_up.restore(state).unwrap();
            assert_eq!(taken_up.step(&mut || Ok(())).unwrap(), Step::Done);
            assert_eq!(
                serde_json::to_string(&taken_up.table()).unwrap(),
                serde_json::to_string(&alone.table()).unwrap()
            );
        }
    }
}

#[test]
fn what_reads_otherwise_is_not_joined() {
    let session = support::session(support::demo_spec());
    let core = |rows: f64| with("core", &[("rows", rows), ("batch", 2.0), ("context", 24.0)]);
    let none = |specs: &[&JobSpec]| JobSpec::join(specs, FAMILIES, &session).unwrap().is_none();
    assert!(none(&[&core(4.0), &core(6.0)]), "other rows");
    assert!(none(&[&core(4.0)]) && none(&[]), "nothing to share");
    assert!(none(&[&JobSpec::new("ravel"), &with("ravel", &[("ratio", 0.5)])]), "it reads for each variant");
}
