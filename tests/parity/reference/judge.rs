//! Whether numbers are those of the reference, and what is told of it.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use prunelens_core::sae::Latents;
use serde_json::Value;

use crate::support::{
    device::{TestDevice, at_edges},
    floats,
};

/// What one kind of check found.
#[derive(Default)]
pub struct Tally {
    passed: usize,
    failed: Vec<String>,
}

pub struct Report {
    pub tallies: BTreeMap<&'static str, Tally>,
    /// Where the numbers come from.
    pub device: Device,
}

impl Report {
    pub fn of(place: &TestDevice) -> Self {
        Self { tallies: BTreeMap::new(), device: place.device.clone() }
    }

    /// How many of some entries differ, of which a card may have a few. Whether none does: if one does, what is computed from
    /// them is another number, and there is nothing to compare.
    pub fn count(&mut self, kind: &'static str, name: String, differ: usize, of: usize) -> bool {
        if differ > 0 {
            println!("{kind}, {name}: {differ} of {of} differ; what follows from them is not compared");
        }
        let allowed = at_edges(&self.device, of);
        let many = || format!("{differ} of {of} differ, {allowed} are allowed");
        self.add(kind, name, if differ <= allowed { Ok(()) } else { Err(many()) });
        differ == 0
    }

    pub fn add(&mut self, kind: &'static str, name: String, result: Result<(), String>) {
        let tally = self.tallies.entry(kind).or_default();
        match result {
            Ok(()) => tally.passed += 1,
            Err(why) => tally.failed.push(format!("{name}: {why}")),
        }
    }

    pub fn finish(self) {
        let mut failed = 0;
        for (kind, tally) in &self.tallies {
            println!("{kind}: {} passed, {} failed", tally.passed, tally.failed.len());
            tally.failed.iter().for_each(|why| println!("  FAILED {why}"));
            failed += tally.failed.len();
        }
        assert_eq!(failed, 0, "{failed} cases failed");
        let passed = |kind: &str| self.tallies.get(kind).map_or(0, |t| t.passed);
        assert!(passed("model") > 0 && passed("sae") > 0, "no case was found");
    }
}

/// By how much each value is farther away than it may be.
pub fn excesses(got: &[f32], want: &[f32], atol: f64, rtol: f64) -> impl Iterator<Item = f64> {
    got.iter().zip(want).map(move |(g, w)| {
        let (g, w) = (f64::from(*g), f64::from(*w));
        let excess = (g - w).abs() - (atol + rtol * w.abs());
        if excess.is_nan() { f64::INFINITY } else { excess }
    })
}

pub fn close(got: &[f32], want: &[f32], atol: f64, rtol: f64) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{} values, expected {}", got.len(), want.len()));
    }
    let (at, worst) =
        excesses(got, want, atol, rtol).enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
    if worst > 0.0 {
        return Err(format!("value {at} is {}, expected {} (tolerance {atol} + {rtol} relative)", got[at], want[at]));
    }
    Ok(())
}

/// Masks of the fixtures: bits, highest first, 1 = pruned.
pub fn unpack(t: &Tensor, n: usize) -> Vec<bool> {
    let bytes: Vec<u8> = t.to_vec1().unwrap();
    (0..n).map(|i| bytes[i / 8] >> (7 - i % 8) & 1 == 1).collect()
}

/// How many bits are not those of the fixture.
pub fn wrong_bits(got: &[bool], want: &Tensor) -> usize {
    unpack(want, got.len()).iter().zip(got).filter(|(a, b)| a != b).count()
}

pub struct Tolerance<'a>(pub &'a Value);

impl Tolerance<'_> {
    pub fn check(&self, kind: &str, got: &[f32], want: &Tensor) -> Result<(), String> {
        let number = |key: &str| self.0[kind][key].as_f64().unwrap_or(0.0);
        close(got, &floats(want), number("atol"), number("rtol"))
    }

    /// Latents one by one, since the k-th of near equals may be another one: whether all are as expected.
    pub fn latents(&self, got: &Latents, want: &Tensor, kind: &'static str, name: String, report: &mut Report) -> bool {
        let number = |key: &str| self.0["latents"][key].as_f64().unwrap_or(0.0);
        let (dense, want) = (got.dense(), floats(want));
        let active = want.iter().filter(|w| **w != 0.0).count();
        let far = excesses(&dense, &want, number("atol"), number("rtol")).filter(|excess| *excess > 0.0).count();
        let differ = if dense.len() == want.len() { far } else { active.max(1) };
        if differ > at_edges(&report.device, active) {
            // With the values, for whoever looks into it.
            report.add(kind, name, close(&dense, &want, number("atol"), number("rtol")));
            return false;
        }
        report.count(kind, name, differ, active)
    }
}
