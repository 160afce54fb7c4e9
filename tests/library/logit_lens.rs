//! The logit lens, by latent and by token.

use candle_core::DType;
use prunelens_core::{
    compare::logit_lens,
    model::{HookPoint, Site},
};

use crate::support::{demo_spec, session};

#[test]
fn both_ways_give_the_same_numbers() {
    let session = session(demo_spec());
    let (model, sae) = (&session.models.original, &session.sae);
    let within = if model.dtype == DType::F32 { 1e-3 } else { 0.05 };
    // The demo's heads are together as wide as its stream: its SAE can stand at either hook.
    for hook in [session.hook, HookPoint { site: Site::Z, ..session.hook }] {
        let raised = logit_lens::of_latent(model, hook, sae, 7).unwrap();
        assert_eq!(raised.len(), model.config.d_vocab);
        for token in [0, 300, 4095] {
            let by = logit_lens::of_token(model, hook, sae, token).unwrap();
            assert_eq!(by.len(), sae.d_sae());
            let (there, back) = (raised[token as usize], by[7]);
            assert!((there - back).abs() <= within * there.abs().max(1.0), "{hook}: {there} and {back}");
        }
    }
}
