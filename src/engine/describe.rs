//! What a session is, in plain data.

use std::time::Instant;

use prunelens_core::{
    compare::Prompt,
    demo,
    error::Result,
    sae::Criterion,
    session::{Session, Source},
};
use prunelens_kernels::gpu;
use prunelens_metrics::{Family, Param};

use super::{FamilyInfo, MemoryUse, ParamInfo, SessionInfo};

/// What the header and the status line say, with the time that a short prompt takes.
pub fn describe(session: &Session, families: &[Family]) -> Result<SessionInfo> {
    let spec = &session.spec;
    let examples = demo::EXAMPLES.map(String::from).to_vec();
    let variants = session.readers(session.setting)?.iter().map(|r| r.variant).collect();
    let read = || {
        let readers = session.readers(session.setting)?;
        Prompt::read(&examples[0], session.tokens(&examples[0])?, readers, session.setting, &mut || Ok(()))
    };
    if !session.models.original.device.is_cpu() {
        // The driver fits the kernels to its GPU when they are first used.
        read()?;
    }
    let started = Instant::now();
    read()?;
    let probe_ms = started.elapsed().as_secs_f64() * 1e3;
    let sae_digest = session.digest_of(&session.sae);
    Ok(SessionInfo {
        model: match &spec.model {
            Source::Demo => "demo".into(),
            Source::Path(_) | Source::Hub(_) => session.models.original.name.clone(),
        },
        parameters: session.models.original.parameters(),
        compression: session.models.compression.clone(),
        hook: session.hook.to_string(),
        layer: session.hook.layer,
        layers: session.spec.layers.iter().map(|layer| layer.number).collect(),
        sae: session.sae.label(),
        sae_name: session.sae.config.name.clone(),
        joined: session.joined.clone(),
        d_sae: session.sae.d_sae(),
        d_in: session.sae.d_in(),
        digests: digests(session, &sae_digest),
        sae_digest,
        n_layers: session.models.original.config.n_layers,
        variants,
        setting: session.setting,
        criterion: spec.criterion,
        criteria: Criterion::ALL.to_vec(),
        context: session.models.original.config.n_ctx,
        device: device_label(session),
        dtype: session.models.original.dtype.as_str().into(),
        space: session.space.name().into(),
        memory: MemoryUse::of(session),
        examples,
        families: families.iter().map(|family| family_info(family, session)).collect(),
        probe_ms,
        warnings: session.warnings.clone(),
    })
}

/// By what they are of.
fn digests(session: &Session, sae: &str) -> Vec<(String, String)> {
    let trained = session.trained.as_ref().map(|sae| session.digest_of(sae));
    [("model", session.models.digest.clone()), ("sae", Some(sae.to_owned())), ("trained-sae", trained)]
        .into_iter()
        .filter_map(|(name, digest)| Some((name.to_owned(), digest?)))
        .collect()
}

/// A family's form, filled in for this session.
fn family_info(family: &Family, session: &Session) -> FamilyInfo {
    let param = |p: &Param| ParamInfo { name: p.name, help: p.help, kind: p.kind, default: (p.default)(session) };
    FamilyInfo { name: family.name, title: family.title, params: family.params.iter().map(param).collect() }
}

fn device_label(session: &Session) -> String {
    let device = &session.models.original.device;
    let name = gpu::name(device);
    match gpu::opened(device) {
        Some(gpu) => format!("{name} {}", gpu.label()),
        None if device.is_cpu() => format!("{name} {} threads", rayon::current_num_threads()),
        None => name,
    }
}
