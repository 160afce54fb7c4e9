//! Another session in place of the one on screen, which answers until the new one is ready; and the layers beside it.

use std::{path::Path, sync::Arc, time::Instant};

use prunelens_core::{
    error::{Error, Result},
    hub::{self, Kind},
    progress::Progress,
    sae::{Sae, formats},
    session::{SessionSpec, Source},
};

use super::{
    MemoryUse, Report,
    live::Live,
    queue::TrainedSae,
    quiet::{self, Background},
    seat::Seat,
    strip::Strip,
    thread::Engine,
};

/// Progress is told ten times a second at most: enough to watch.
#[derive(Default)]
pub struct ProgressThrottle(Option<(String, Instant)>);

impl ProgressThrottle {
    pub fn is_news(&mut self, progress: &Progress) -> bool {
        let news = self.0.as_ref().is_none_or(|(what, at)| *what != progress.what || at.elapsed().as_millis() >= 100);
        if news {
            self.0 = Some((progress.what.clone(), Instant::now()));
        }
        news
    }
}

impl Engine {
    /// Load a session and put it in the place of this one, which stays if that fails or is stopped.
    pub fn open(&mut self, spec: SessionSpec) {
        let Some(live) = &mut self.live else { return self.load(&spec) };
        if live.seat.spec == spec {
            let before = self.trained.len();
            // Asked for again, it is as it was asked for: what was trained in it stays in its folder.
            self.trained.retain(|(of, _)| *of != spec);
            if self.trained.len() == before {
                let info = live.seat.info.clone();
                return self.send(Report::Opened { info, spec: Arc::new(spec) });
            }
        }
        let loaded = match self.kept.take(&spec) {
            Some(seat) => Ok(seat),
            None => {
                let (mailbox, reports, mut told) =
                    (self.mailbox.clone(), self.reports.clone(), ProgressThrottle::default());
                Seat::load(&spec, live.seat.shared(&spec), &self.trained, self.families, &mut |progress| {
                    if mailbox.ends_opening() {
                        return Err(Error::Interrupted);
                    }
                    if told.is_news(&progress) {
                        let _ = reports.send(Report::Opening(progress));
                    }
                    live.serve();
                    Ok(())
                })
            }
        };
        match loaded {
            Ok(seat) => self.change(seat),
            // Whoever stopped it says what comes instead.
            Err(Error::Interrupted) => {}
            Err(error) => self.send(Report::OpenFailed(error.to_string())),
        }
    }

    /// Put a session in the place of this one.
    fn change(&mut self, seat: Seat) {
        let Some(live) = self.live.take() else { return };
        let before = live.leave();
        let (from, to) = (&before.spec, &seat.spec);
        let beside = before.has_models_of(to);
        let copies = from.is_copy_of(to);
        let (only_layer, anew) = (from.at_layer(0) == to.at_layer(0), from == to);
        let spec = Arc::new(seat.spec.clone());
        if beside || copies {
            // What was started goes on where it was started.
            self.queue.pin(&before.jobs);
        } else {
            self.queue.end(Some(&before.jobs));
        }
        if !beside && !copies {
            self.kept.retain(|_| false);
            self.trained.clear();
        }
        if !only_layer {
            self.strip = Strip::default();
        }
        self.strip.rewind();
        let numbers = [&before, &seat].map(|seat| seat.session.hook.layer);
        self.upwards = numbers[1] >= numbers[0];
        let most = seat.spec.kept_memory;
        match beside || copies {
            true if !anew && (copies || seat.session.spec.layers.len() > 1) => self.kept.put(before, most),
            _ => {
                let devices = [&before.session, &before.jobs].map(|session| session.models.original.device.clone());
                drop(before);
                devices.iter().for_each(prunelens_kernels::gpu::release);
            }
        }
        self.sit(seat, |info| Report::Opened { info, spec });
        if !beside && let Some(live) = &self.live {
            self.queue.recall(&live.seat.jobs);
        }
    }

    /// Answer about this session from now on, and tell what it is.
    pub fn sit(&mut self, seat: Seat, report: impl FnOnce(Arc<super::SessionInfo>) -> Report) {
        let first = seat.matches_first();
        let info = seat.info.clone();
        // Known already: that has to be said, since the interface waits for it.
        let indexed = !seat.todo.contains(&Background::Index);
        self.ahead = true;
        self.live = Some(Live::new(seat, self.mailbox.clone(), self.reports.clone(), self.families));
        if first && let Some(live) = &mut self.live {
            quiet::work(Background::Match, live, &self.mailbox);
        }
        self.send(report(info));
        if indexed {
            self.send(Report::Indexed);
        }
        self.tell_memory();
    }

    /// What uses memory, with the layers that are kept.
    fn tell_memory(&self) {
        let (Some(live), kept) = (&self.live, self.kept.bytes()) else { return };
        if kept > 0 {
            let mut memory = MemoryUse::of(&live.seat.session);
            memory.parts.push(("other layers and copies".into(), kept));
            self.send(Report::Memory(memory));
        }
    }

    /// An SAE that a job has trained is the `trained` variant of its session from now on.
    pub fn take_up_trained(&mut self) {
        for TrainedSae { folder, of } in self.queue.take_trained() {
            let joined = formats::load(&folder).and_then(|sae| self.join(sae, &folder, &of, false));
            if let Err(error) = joined {
                let text = format!("{} is trained, but cannot join the session: {error}", folder.display());
                self.send(Report::Warning(text));
            }
        }
    }

    /// Take up an SAE that was trained in a session like this one, of the same hook.
    pub fn join_again(&mut self, folder: &Path) {
        let Some(live) = &self.live else { return };
        let of = live.seat.spec.clone();
        let joined = formats::load(folder).and_then(|sae| self.join(sae, folder, &of, true));
        if let Err(error) = joined {
            self.send(Report::NotJoined(error.to_string()));
        }
    }

    /// In the session in which it was trained: the one that is open, or one of another layer, copy or SAE.
    fn join(&mut self, sae: Sae, folder: &Path, of: &SessionSpec, asked: bool) -> Result<()> {
        let sae = Arc::new(sae);
        let Some(live) = &mut self.live else { return Ok(()) };
        let elsewhere = live.seat.spec != *of;
        let hook = sae.config.hook;
        let seat = if elsewhere { self.kept.get(of) } else { Some(&live.seat) };
        let joined = match seat {
            Some(seat) => {
                let session = seat.session.with_trained(sae.clone(), folder)?;
                let jobs = match Arc::ptr_eq(&seat.session, &seat.jobs) {
                    true => None,
                    false => Some(seat.jobs.with_trained(sae, folder)?),
                };
                Some(Seat::new(seat.spec.clone(), session, jobs, self.families)?)
            }
            None => None,
        };
        // Where it is not in memory any more, it joins when it is opened again.
        self.trained.push((of.clone(), folder.to_path_buf()));
        self.strip = Strip::default();
        match joined {
            Some(seat) if elsewhere => {
                self.kept.take(of);
                self.kept.put(seat, of.kept_memory);
            }
            Some(seat) => {
                // What was started reads what it was started with.
                self.queue.pin(&live.seat.jobs);
                self.sit(seat, |info| Report::Joined { info, asked });
                return Ok(());
            }
            None => {}
        }
        let copy = if of.compressions.len() > 1 { format!(" ({})", of.compress.label()) } else { String::new() };
        self.send(Report::JoinedElsewhere(format!(
            "the SAE that was trained is the variant `trained` at {hook}{copy} from now on"
        )));
        Ok(())
    }

    /// Load the layer that is likely to come next, while there is nothing else to do; never from the network.
    pub fn read_ahead(&mut self) {
        let Some(spec) = self.next_layer() else { return self.ahead = false };
        let Some(live) = &mut self.live else { return self.ahead = false };
        let (mailbox, shared, most) = (self.mailbox.clone(), live.seat.shared(&spec), spec.kept_memory);
        let tick = &mut |_: Progress| quiet::give_way(live, &mailbox);
        match Seat::load(&spec, shared, &self.trained, self.families, tick) {
            Ok(seat) => {
                self.kept.put(seat, most);
                self.tell_memory();
            }
            // A command came first; again after it, if it is still wanted.
            Err(Error::Interrupted) => return,
            // It is told when somebody asks for the layer.
            Err(error) => tracing::warn!("layer read ahead: {error}"),
        }
        self.ahead = false;
    }

    /// The neighbour in the direction last gone, if it can be had on this machine and there is room for it.
    fn next_layer(&self) -> Option<SessionSpec> {
        let seat = &self.live.as_ref()?.seat;
        let layers = &seat.session.spec.layers;
        let at = layers.iter().position(|layer| layer.number == seat.session.hook.layer)?;
        let sides = [layers.get(at + 1), at.checked_sub(1).and_then(|before| layers.get(before))];
        let [up, down] = sides;
        let next = if self.upwards { up.or(down) } else { down.or(up) }?;
        let spec = seat.spec.at_layer(next.number);
        let here = |source: &Source| match source {
            Source::Hub(id) => spec.hub.as_ref().is_ok_and(|hub| hub::cached(hub, id, Kind::Sae).is_some()),
            Source::Demo | Source::Path(_) => true,
        };
        let known = self.kept.get(&spec).is_some();
        let fits = seat.session.sae_bytes() <= spec.kept_memory;
        (!known && fits && here(&next.sae) && next.trained_sae.iter().all(here)).then_some(spec)
    }
}

/// A first load, which nothing answers in the meantime.
impl Engine {
    pub fn load(&mut self, spec: &SessionSpec) {
        self.queue.end(self.live.as_ref().map(|live| &*live.seat.jobs));
        self.kept.retain(|_| false);
        self.strip = Strip::default();
        self.trained.clear();
        // What is loaded goes before the new is read: both might not fit.
        if let Some(live) = self.live.take() {
            let seat = live.leave();
            let devices = [&seat.session, &seat.jobs].map(|session| session.models.original.device.clone());
            drop(seat);
            devices.iter().for_each(prunelens_kernels::gpu::release);
        }
        let (mailbox, reports, mut told) = (self.mailbox.clone(), self.reports.clone(), ProgressThrottle::default());
        let loaded = Seat::load(spec, None, &self.trained, self.families, &mut |progress| {
            if mailbox.ends(None) {
                return Err(Error::Interrupted);
            }
            if told.is_news(&progress) {
                let _ = reports.send(Report::Loading(progress));
            }
            Ok(())
        });
        match loaded {
            Ok(seat) => {
                self.sit(seat, Report::Ready);
                if let Some(live) = &self.live {
                    self.queue.recall(&live.seat.jobs);
                }
            }
            Err(Error::Interrupted) => {}
            Err(error) => self.send(Report::LoadFailed(error.to_string())),
        }
    }
}
