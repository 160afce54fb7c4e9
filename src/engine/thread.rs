//! The engine thread: it alone holds models, SAEs and caches.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use prunelens_core::{
    compare::{Prompt, matching::Matching},
    demo,
    error::{Error, Result},
    sae::{Criterion, Sae, formats},
    session::{Session, SessionSpec, Source},
};
use prunelens_metrics::{Family, JOBS, Param, Store};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{
    Command, EngineHandle, FamilyInfo, ParamInfo, Report, SessionInfo, live::Live, mailbox::Mailbox, queue::Queue,
};

/// What an engine works with.
#[derive(Clone, Debug)]
pub struct Options {
    pub families: &'static [Family],
    /// Where unfinished jobs and finished runs are kept; nowhere if there is no such place.
    pub store: Option<Store>,
}

/// Start an engine that keeps nothing; it waits for a `Load`.
pub fn start() -> Result<EngineHandle> {
    start_with(Options { families: JOBS, store: None })
}

/// Start the engine; it waits for a `Load`.
pub fn start_with(options: Options) -> Result<EngineHandle> {
    let (mailbox, (sender, reports)) = (Arc::new(Mailbox::default()), unbounded_channel());
    let (ours, crashed) = (mailbox.clone(), sender.clone());
    std::thread::Builder::new()
        .name("engine".into())
        .spawn(move || {
            let engine = AssertUnwindSafe(|| {
                Engine {
                    mailbox: ours,
                    live: None,
                    queue: Queue::new(options.families, options.store, sender.clone()),
                    families: options.families,
                    reports: sender,
                    background: VecDeque::new(),
                }
                .run()
            });
            if let Err(panic) = catch_unwind(engine) {
                let _ = crashed.send(Report::Crashed(message(&*panic)));
            }
        })
        .map_err(|e| Error::invalid(format!("cannot start the engine's thread: {e}")))?;
    Ok(EngineHandle::new(mailbox, reports))
}

fn message(panic: &dyn Any) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown panic".into())
}

/// Work for quiet moments, once a session.
#[derive(Clone, Copy, Debug)]
enum Background {
    Match,
    Index,
    /// The corpus once more, with the SAE pruned as it is now.
    IndexPruned,
}

struct Engine {
    mailbox: Arc<Mailbox>,
    reports: UnboundedSender<Report>,
    live: Option<Live>,
    queue: Queue,
    families: &'static [Family],
    background: VecDeque<Background>,
}

impl Engine {
    fn send(&self, report: Report) {
        // Fails only when the interface is gone.
        let _ = self.reports.send(report);
    }

    /// Control first, then the user, then jobs, then quiet work.
    fn run(&mut self) {
        loop {
            match self.mailbox.next_command() {
                Some(Command::Quit) => {
                    self.queue.end(self.live.as_ref().map(|live| &*live.jobs));
                    return;
                }
                Some(command) => {
                    self.obey(command);
                    continue;
                }
                None => {}
            }
            if let Some(live) = &mut self.live {
                live.serve();
            } else {
                // Without a session requests cannot be answered; the interface asks again once it is ready.
                while self.mailbox.next_request().is_some() {}
            }
            if self.mailbox.has_command() {
                continue;
            }
            if let Some(live) = self.live.as_mut().filter(|_| self.queue.has_work()) {
                self.queue.step(live, &self.mailbox);
                self.take_up_trained();
            } else if let Some(task) = self.background.pop_front() {
                self.quiet(task);
            } else if self.live.as_ref().is_some_and(|live| live.wants_index().is_some()) {
                self.quiet(Background::IndexPruned);
            } else {
                self.mailbox.wait();
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Load(spec) => self.load(&spec),
            command => {
                self.queue.obey(command, self.live.as_ref().map(|live| &*live.jobs));
                self.take_up_trained();
            }
        }
    }

    /// An SAE that a job has trained is the session's `trained` variant from now on.
    fn take_up_trained(&mut self) {
        let (Some(folder), Some(live)) = (self.queue.take_trained(), &self.live) else { return };
        let joined = formats::load(&folder).and_then(|sae| {
            let sae = Arc::new(sae);
            let session = live.session.with_trained(sae.clone(), &folder)?;
            let jobs = match Arc::ptr_eq(&live.session, &live.jobs) {
                true => None,
                false => Some(live.jobs.with_trained(sae, &folder)?),
            };
            Ok((describe(&session, self.families)?, jobs, session))
        });
        match joined {
            Ok((info, jobs, session)) => self.begin(session, jobs, Report::Joined, info),
            Err(error) => {
                let text = format!("{} is trained, but cannot join the session: {error}", folder.display());
                self.send(Report::Warning(text));
            }
        }
    }

    /// Answer about this session from now on, and tell what it is.
    fn begin(
        &mut self,
        session: Session,
        jobs: Option<Session>,
        report: fn(Arc<SessionInfo>) -> Report,
        info: SessionInfo,
    ) {
        let (quick, session) = (quick_to_match(&session), Arc::new(session));
        let jobs = jobs.map_or_else(|| session.clone(), Arc::new);
        self.live = Some(Live::new(session, jobs, self.mailbox.clone(), self.reports.clone(), self.families));
        self.background.clear();
        self.background.extend([Background::Match, Background::Index]);
        if quick {
            // Small dictionaries are matched before anything is shown of them.
            self.background.pop_front();
            self.quiet(Background::Match);
        }
        self.send(report(Arc::new(info)));
    }

    fn load(&mut self, spec: &SessionSpec) {
        self.queue.end(self.live.as_ref().map(|live| &*live.jobs));
        self.background.clear();
        // What is loaded goes before the new is read: both might not fit.
        if let Some(live) = self.live.take() {
            let devices = [&live.session, &live.jobs].map(|session| session.original.device.clone());
            drop(live);
            devices.iter().for_each(prunelens_kernels::gpu::release);
        }
        let (mailbox, reports, families) = (self.mailbox.clone(), self.reports.clone(), self.families);
        let mut shown: Option<(String, Instant)> = None;
        let loaded = Session::load(spec, &mut |progress| {
            if mailbox.ends(None) {
                return Err(Error::Interrupted);
            }
            // Ten reports a second are enough to watch.
            let news =
                shown.as_ref().is_none_or(|(what, at)| *what != progress.what || at.elapsed().as_millis() >= 100);
            if news {
                shown = Some((progress.what.clone(), Instant::now()));
                let _ = reports.send(Report::Loading(progress));
            }
            Ok(())
        })
        .and_then(|session| Ok((describe(&session, families)?, for_jobs(&session)?, session)));
        match loaded {
            Ok((info, jobs, session)) => {
                self.begin(session, jobs, Report::Ready, info);
                if let Some(live) = &self.live {
                    self.queue.recall(&live.jobs);
                }
            }
            Err(Error::Interrupted) => {}
            Err(error) => self.send(Report::LoadFailed(error.to_string())),
        }
    }

    fn quiet(&mut self, task: Background) {
        let Some(live) = &mut self.live else { return };
        let (session, mailbox) = (live.session.clone(), self.mailbox.clone());
        let done = match task {
            Background::Match => match &session.trained {
                Some(trained) => {
                    let tick = &mut || yield_to(live, &mailbox);
                    Matching::new(&*session.sae, &**trained, &*session.original.ops, tick).map(|found| {
                        live.matching = Some(found);
                        live.tell();
                    })
                }
                None => Ok(()),
            },
            Background::Index => index(live, &mailbox),
            Background::IndexPruned => index_pruned(live, &mailbox),
        };
        match done {
            Ok(()) => {}
            // Something else came first. It is asked for as long as it is wanted.
            Err(Error::Interrupted) if matches!(task, Background::IndexPruned) => {}
            // A command came first: again later.
            Err(Error::Interrupted) => self.background.push_front(task),
            Err(error) => {
                tracing::warn!("{task:?}: {error}");
                match task {
                    Background::Index => self.send(Report::Indexed),
                    Background::IndexPruned => live.forget_wanted(),
                    Background::Match => {}
                }
            }
        }
    }
}

/// A copy of the session for metric jobs, if they are to run on another device.
fn for_jobs(session: &Session) -> Result<Option<Session>> {
    let Some(spec) = session.spec.jobs_device else { return Ok(None) };
    let (device, _) = spec.open(&session.spec.libraries)?;
    if device.location() == session.original.device.location() {
        return Ok(None);
    }
    session.on(&device).map(Some)
}

/// Whether matching the two dictionaries takes no longer than a blink.
fn quick_to_match(session: &Session) -> bool {
    let cost = |trained: &Sae| 2 * session.sae.d_sae() as u64 * trained.d_sae() as u64 * trained.d_in() as u64;
    session.trained.as_ref().is_some_and(|trained| cost(trained) < 4_000_000_000)
}

/// Let the user through; stop for a command.
fn yield_to(live: &mut Live, mailbox: &Mailbox) -> Result<()> {
    if mailbox.has_command() {
        return Err(Error::Interrupted);
    }
    live.serve();
    Ok(())
}

/// Rows between two words about how far an index is: often enough to watch, too seldom to cost anything.
const NEWS: usize = 32;

/// Read the corpus, or take what is known of it from the cache.
fn index(live: &mut Live, mailbox: &Mailbox) -> Result<()> {
    let session = live.session.clone();
    let mut indexing = match live.indexing.take() {
        Some(indexing) => indexing,
        None => session.indexing(session.setting, &mut || yield_to(live, mailbox))?,
    };
    let kept = indexing.next().is_none();
    let mut told = indexing.index.read;
    while let Some(batch) = indexing.next() {
        // Requests that come meanwhile see what is known so far.
        live.indexing = Some(indexing);
        let fired = batch.read(&mut || yield_to(live, mailbox))?;
        let Some(grown) = live.indexing.take() else { return Ok(()) };
        indexing = grown;
        indexing.add(&fired);
        if indexing.index.read >= told + NEWS {
            told = indexing.index.read;
            live.indexing = Some(indexing);
            live.tell_index();
            let Some(shown) = live.indexing.take() else { return Ok(()) };
            indexing = shown;
        }
    }
    if !kept && let Err(error) = session.keep_index(&indexing.index) {
        tracing::warn!("examples are not kept: {error}");
    }
    live.indexing = Some(indexing);
    live.tell_index();
    live.send(Report::Indexed);
    Ok(())
}

/// What fires in `pruned` as it is pruned now, over what was read of the corpus; or what is known of that from the cache.
fn index_pruned(live: &mut Live, mailbox: &Mailbox) -> Result<()> {
    let session = live.session.clone();
    let (Some(wanted), Some(indexing)) = (live.wants_index(), &live.indexing) else { return Ok(()) };
    let (rows, read) = (indexing.index.rows.clone(), indexing.index.read);
    let rows = rows.get(..read).unwrap_or_default();
    let mut new = session.indexing_pruned(rows, wanted, &mut || yield_to(live, mailbox))?;
    if new.is_kept() {
        live.indexing = Some(new);
        live.tell_index();
        return Ok(());
    }
    while let Some(batch) = new.next() {
        let fired = batch.read(&mut || match live.wants_index() {
            Some(still) if still == wanted => yield_to(live, mailbox),
            // Another setting is wanted by now.
            _ => Err(Error::Interrupted),
        })?;
        new.add(&fired);
    }
    let Some(indexing) = &mut live.indexing else { return Ok(()) };
    if !indexing.index.replace_pruned(new.index) {
        // The memory granted for it was not enough.
        live.forget_wanted();
        return Ok(());
    }
    if let Err(error) = session.keep_index(&indexing.index) {
        tracing::warn!("examples are not kept: {error}");
    }
    live.tell_index();
    Ok(())
}

/// What the header and the status line say, with the time that a short prompt takes.
fn describe(session: &Session, families: &[Family]) -> Result<SessionInfo> {
    let spec = &session.spec;
    let examples = demo::EXAMPLES.map(String::from).to_vec();
    let variants = session.readers(session.setting)?.iter().map(|r| r.variant).collect();
    let read = || {
        let readers = session.readers(session.setting)?;
        Prompt::read(&examples[0], session.tokens(&examples[0])?, readers, session.setting, &mut || Ok(()))
    };
    if !session.original.device.is_cpu() {
        // The driver fits the kernels to its GPU when they are first used.
        read()?;
    }
    let started = Instant::now();
    read()?;
    let probe_ms = started.elapsed().as_secs_f64() * 1e3;
    let sae_digest = session.sae.digest();
    Ok(SessionInfo {
        model: match &spec.model {
            Source::Demo => "demo".into(),
            Source::Path(_) | Source::Hub(_) => session.original.name.clone(),
        },
        parameters: session.original.parameters(),
        compression: session.compression.clone(),
        hook: session.hook.to_string(),
        layer: session.hook.layer,
        sae: session.sae.label(),
        d_sae: session.sae.d_sae(),
        d_in: session.sae.d_in(),
        digests: digests(session, &sae_digest),
        sae_digest,
        n_layers: session.original.config.n_layers,
        variants,
        setting: session.setting,
        criterion: spec.criterion,
        criteria: Criterion::ALL.to_vec(),
        context: session.original.config.n_ctx,
        device: device_label(session),
        dtype: spec.dtype.as_str().into(),
        space: session.space.name().into(),
        memory: super::memory(session),
        examples,
        families: families.iter().map(|family| family_info(family, session)).collect(),
        probe_ms,
        warnings: session.warnings.clone(),
    })
}

/// By what they are of.
fn digests(session: &Session, sae: &str) -> Vec<(String, String)> {
    let trained = session.trained.as_ref().map(|sae| sae.digest());
    [("model", session.digest.clone()), ("sae", Some(sae.to_owned())), ("trained-sae", trained)]
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
    match session.original.device.location() {
        candle_core::DeviceLocation::Cpu => format!("cpu {} threads", rayon::current_num_threads()),
        candle_core::DeviceLocation::Cuda { gpu_id } => {
            match prunelens_kernels::gpu::opened(&session.original.device) {
                Some(gpu) => format!("cuda:{gpu_id} {}", gpu.label()),
                None => format!("cuda:{gpu_id}"),
            }
        }
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}
