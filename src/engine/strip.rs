//! One prompt at every layer, a layer at a time: each model is run through once, and what is known stays known.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use prunelens_core::{
    compare::{LayerFigures, Passes, Prompt, Token, Variant, View},
    error::{Error, Result},
    progress::Tick,
    sae::Setting,
    session::Session,
};

use super::{Report, live::Live, quiet::yield_to, seat::Seat, thread::Engine};

/// Figures that are kept: those of a slider moved about for a while.
const MOST: usize = 4096;

/// A prompt whose layers are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub generation: u64,
    pub text: String,
    pub setting: Setting,
    /// Layers that have yet to be read, in the order of the models.
    pub left: VecDeque<usize>,
}

/// What is known of prompts at the layers of the session's models.
#[derive(Default)]
pub struct Strip {
    text: String,
    /// What does not depend on the knob, by layer: every variant but `pruned`, and which tokens count.
    still: HashMap<usize, (Vec<View>, Vec<bool>)>,
    /// Where the models stopped last: both, and the one that `pruned` reads by itself.
    both: Option<Passes>,
    alone: Option<Passes>,
    known: Vec<(String, Arc<LayerFigures>)>,
}

impl Strip {
    pub fn known(&self, layer: usize, task: &Task) -> Option<Arc<LayerFigures>> {
        let is = |(text, figures): &&(String, Arc<LayerFigures>)| {
            figures.layer == layer && figures.setting == task.setting && *text == task.text
        };
        self.known.iter().find(is).map(|(_, figures)| figures.clone())
    }

    /// Read the prompt at the layer of a session.
    pub fn read(
        &mut self,
        layer: usize,
        session: &Session,
        (text, setting): (&str, Setting),
        tick: Tick,
    ) -> Result<Option<Arc<LayerFigures>>> {
        if self.text != text {
            (self.text, self.both, self.alone) = (text.to_owned(), None, None);
            self.still.clear();
        }
        session.order(setting.knob, tick)?;
        let tokens = session.tokens(text)?;
        if !self.still.contains_key(&layer) {
            let variants = Variant::ALL.into_iter().filter(|variant| *variant != Variant::Pruned);
            let prompt = at(&mut self.both, session, (text, tokens.clone()), variants, setting, tick)?;
            self.still.insert(layer, (prompt.views(), prompt.counts().to_vec()));
        }
        let pruned = at(&mut self.alone, session, (text, tokens), [Variant::Pruned].into_iter(), setting, tick)?;
        let Some((still, counts)) = self.still.get(&layer) else { return Ok(None) };
        let mut views: Vec<View> = still.iter().cloned().chain(pruned.views()).collect();
        views.sort_by_key(|view| view.variant as usize);
        let place = (session.hook.to_string(), session.sae.label());
        let Some(figures) = LayerFigures::new(layer, place, setting, &views, counts) else { return Ok(None) };
        let figures = Arc::new(figures);
        if self.known.len() >= MOST {
            self.known.remove(0);
        }
        self.known.push((text.to_owned(), figures.clone()));
        Ok(Some(figures))
    }

    /// The next reading begins at the first layer again.
    pub fn rewind(&mut self) {
        (self.both, self.alone) = (None, None);
    }
}

/// A prompt with all figures of some variants at a session's layer, reached from where its models stopped if that is before it.
fn at(
    passes: &mut Option<Passes>,
    session: &Session,
    (text, tokens): (&str, Vec<Token>),
    variants: impl Iterator<Item = Variant>,
    setting: Setting,
    tick: Tick,
) -> Result<Prompt> {
    let readers = variants.filter_map(|v| session.reader(v, setting).transpose()).collect::<Result<Vec<_>>>()?;
    let mut prompt = match passes.as_ref().filter(|passes| passes.hook().layer < session.hook.layer) {
        Some(before) => {
            let here = before.on(session.hook, tick)?;
            Prompt::from_passes(text, tokens, here, readers, setting, tick)?
        }
        None => Prompt::read(text, tokens, readers, setting, tick)?,
    };
    prompt.reconstruct(tick)?;
    while prompt.splice_next(tick)? {}
    *passes = Some(prompt.passes().clone());
    Ok(prompt)
}

impl Engine {
    /// Read the prompt whose layers are wanted at the next of them.
    pub fn strip_on(&mut self) {
        let Some(live) = &mut self.live else { return };
        let Some(task) = &mut live.strip else { return };
        // What is known already is told at once.
        let strip = &self.strip;
        let known: Vec<_> = task.left.iter().filter_map(|layer| strip.known(*layer, task)).collect();
        task.left.retain(|layer| known.iter().all(|figures| figures.layer != *layer));
        let generation = task.generation;
        let Some(layer) = task.left.front().copied() else {
            live.strip = None;
            self.strip.rewind();
            for figures in known {
                self.send(Report::Layer { generation, layer: figures.layer, figures: Ok(figures) });
            }
            return self.send(Report::Layers { generation });
        };
        let task = task.clone();
        for figures in known {
            self.send(Report::Layer { generation, layer: figures.layer, figures: Ok(figures) });
        }
        let found = self.strip_at(layer, &task);
        let figures = match found {
            Err(Error::Interrupted) => return,
            Ok(None) => Err("it has no figures".to_owned()),
            Ok(Some(figures)) => Ok(figures),
            Err(error) => Err(error.to_string()),
        };
        if let Some(task) = self.live.as_mut().and_then(|live| live.strip.as_mut())
            && task.generation == generation
        {
            task.left.retain(|left| *left != layer);
        }
        self.send(Report::Layer { generation, layer, figures });
    }

    fn strip_at(&mut self, layer: usize, task: &Task) -> Result<Option<Arc<LayerFigures>>> {
        let Some(live) = &mut self.live else { return Ok(None) };
        let mailbox = self.mailbox.clone();
        let own = live.seat.session.hook.layer == layer;
        let spec = live.seat.spec.at_layer(layer);
        let mut session = if own { Some(live.seat.session.clone()) } else { None };
        session = session.or_else(|| self.kept.get(&spec).map(|seat| seat.session.clone()));
        // A newer request takes the place of this one.
        let tick = &mut |live: &mut Live| {
            yield_to(live, &mailbox)?;
            let same = live.strip.as_ref().is_some_and(|now| now.generation == task.generation);
            if same { Ok(()) } else { Err(Error::Interrupted) }
        };
        let session = match session {
            Some(session) => session,
            None => {
                let shared = live.seat.shared(&spec);
                let seat = Seat::load(&spec, shared, &self.trained, self.families, &mut |_| tick(live))?;
                let session = seat.session.clone();
                self.kept.put(seat, spec.kept_memory);
                session
            }
        };
        self.strip.read(layer, &session, (&task.text, task.setting), &mut || tick(live))
    }
}
