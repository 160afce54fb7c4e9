//! Metric jobs on a second device: two stand-ins, each of which refuses the other's memory.

use candle_core::Device;
use prunelens_core::{
    compare::Variant,
    sae::Criterion,
    session::{DeviceSpec, Session, SessionSpec, silent},
};
use prunelens_kernels::{
    device::{self, Buffer},
    ops,
};
use prunelens_metrics::{
    Job, Metric, MetricTable, Step,
    core::{CoreJob, CoreOptions},
};

use crate::support::stand_in;

fn core(session: &Session) -> MetricTable {
    let variants = vec![Variant::Pruned];
    let options = CoreOptions { rows: Some(1), context: Some(6), variants, ..CoreOptions::default() };
    let mut job = CoreJob::new(session, &options).unwrap();
    while job.step(&mut || Ok(())).unwrap() == Step::More {}
    job.table()
}

fn assert_same(ours: &MetricTable, theirs: &MetricTable) {
    assert!(!ours.rows.is_empty());
    for (ours, theirs) in ours.rows.iter().zip(&theirs.rows) {
        assert_eq!((&ours.name, format!("{:?}", ours.values)), (&theirs.name, format!("{:?}", theirs.values)));
    }
}

#[test]
fn each_device_works_with_its_own_memory() {
    let (Some(first), Some(second)) = (stand_in::device(0), stand_in::device(1)) else { return };
    // Ranks by magnitude: norms would take the whole calibration text.
    let (device, criterion) = (DeviceSpec::Cpu, Criterion::Magnitude);
    let spec = SessionSpec { device, criterion, trained_sae: None, ..SessionSpec::demo() };
    let session = Session::load(&spec, &mut silent).unwrap().on_ops(&Device::Cpu, ops::on(Some(first))).unwrap();
    // Ranks of the first are there before the second is made of it.
    let here = core(&session);
    let jobs = session.on_ops(&Device::Cpu, ops::on(Some(second))).unwrap();
    drop(session);
    assert_same(&core(&jobs), &here);
}

#[test]
#[should_panic(expected = "memory of another device")]
fn memory_of_another_device_is_refused() {
    let (Some(first), Some(second)) = (stand_in::device(0), stand_in::device(1)) else {
        panic!("memory of another device: not tried without a compiler");
    };
    let latents = Buffer::from_slice(&*first, &[1.0_f32, 0.0, 2.0]).unwrap();
    let _ = device::active(&*second, &latents, 3);
}
