//! Jobs and memory. Where memory is short a job's batch is halved, as often as it takes.
//!
//! On a CPU an allocation that fails ends the process, and the system may end it before that: so what a job says it
//! needs is held against what is free before it starts. On a GPU a failed allocation is an error of the step it happens
//! in, and the job begins anew with half the batch.

use prunelens_core::{
    error::{Error, Result},
    memory,
    session::Session,
    text::bytes,
};

use super::{Family, JobSpec, ParamValue};

/// The parameter that says how much is in memory at a time.
const BATCH: &str = "batch";
/// Share of the free memory that a job may take: the user's prompts need some, too.
const MOST: f64 = 0.8;

/// Halve the batch until the job fits into `free` bytes; says what was done.
pub fn fit(family: &Family, spec: &JobSpec, session: &Session, free: Option<u64>) -> Result<(JobSpec, Option<String>)> {
    let (mut fitted, mut needed) = (spec.clone(), None);
    // Where it is not known what is free, nothing is counted.
    while let Some(free) = free {
        let Some(cost) = (family.cost)(session, &fitted.params)? else { break };
        let before = needed.get_or_insert(cost.bytes);
        if cost.bytes as f64 <= MOST * free as f64 {
            break;
        }
        match halved(family, &fitted, session) {
            Some(smaller) => fitted = smaller,
            None => {
                return Err(Error::invalid(format!(
                    "{} needs about {} of memory, {} are free, and its batch cannot be halved any more: choose less at a time, or free some memory",
                    family.name,
                    bytes(*before),
                    bytes(free)
                )));
            }
        }
    }
    let remark = (fitted != *spec).then(|| {
        let [needed, free] = [needed, free].map(|b| bytes(b.unwrap_or(0)));
        format!(
            "batch halved to {}: {needed} of memory needed, {free} free",
            batch(family, &fitted, session).unwrap_or(0)
        )
    });
    Ok((fitted, remark))
}

/// Whether these jobs fit into `free` bytes all at once, as they are.
pub fn fit_together(family: &Family, specs: &[&JobSpec], session: &Session, free: Option<u64>) -> Result<bool> {
    let Some(free) = free else { return Ok(true) };
    let mut needed = 0;
    for spec in specs {
        needed += (family.cost)(session, &spec.params)?.map_or(0, |cost| cost.bytes);
    }
    Ok(needed as f64 <= MOST * free as f64)
}

/// After memory ran out in a step: the same job with half the batch, and what to say about it.
pub fn after_failure(family: &Family, spec: &JobSpec, session: &Session) -> Option<(JobSpec, String)> {
    let smaller = halved(family, spec, session)?;
    let remark = format!("memory ran out: begun anew with a batch of {}", batch(family, &smaller, session)?);
    Some((smaller, remark))
}

/// Whether an error says that memory ran out, on the device or here.
pub fn is_out_of_memory(error: &Error) -> bool {
    let Error::Tensor(error) = error else { return false };
    let text = error.to_string().to_lowercase();
    ["out of memory", "out_of_memory", "memory allocation", "alloc failed", "alloc_failed"]
        .iter()
        .any(|words| text.contains(words))
}

/// What a job of this session has to fit into. On a GPU that is not known before it is tried.
pub fn free_for(session: &Session) -> Option<u64> {
    if session.models.original.device.is_cpu() { memory::free() } else { None }
}

fn batch(family: &Family, spec: &JobSpec, session: &Session) -> Option<usize> {
    let param = family.params.iter().find(|p| p.name == BATCH)?;
    match spec.params.get(BATCH) {
        Ok(Some(batch)) => Some(batch),
        _ => (param.default)(session).parse().ok(),
    }
}

fn halved(family: &Family, spec: &JobSpec, session: &Session) -> Option<JobSpec> {
    let batch = batch(family, spec, session).filter(|batch| *batch > 1)?;
    Some(spec.clone().with(BATCH, ParamValue::Number((batch / 2) as f64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_is_mistaken_for_memory() {
        let tensor = |text: &str| Error::Tensor(candle_core::Error::Msg(text.into()));
        assert!(is_out_of_memory(&tensor("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")")));
        assert!(!is_out_of_memory(&tensor("shape mismatch in matmul")));
        assert!(!is_out_of_memory(&Error::invalid("out of memory")));
    }
}
