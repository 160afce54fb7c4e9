//! Work for quiet moments, of which requests see what is known so far.

use prunelens_core::{
    compare::matching::Matching,
    error::{Error, Result},
    sae::Sae,
    session::Session,
};

use super::{Report, live::Live, mailbox::Mailbox};

/// Work for quiet moments, once a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    Match,
    Index,
    /// The corpus once more, with the SAE pruned as it is now.
    IndexPruned,
}

/// One of them; what it is interrupted in waits until the next time.
pub fn work(task: Background, live: &mut Live, mailbox: &Mailbox) {
    let done = match task {
        Background::Match => match_all(live, mailbox),
        Background::Index => index(live, mailbox),
        Background::IndexPruned => index_pruned(live, mailbox),
    };
    // A command came first: again later.
    if matches!(done, Err(Error::Interrupted)) {
        return;
    }
    live.seat.todo.retain(|other| *other != task);
    if let Err(error) = done {
        tracing::warn!("{task:?}: {error}");
        match task {
            Background::Index => live.send(Report::Indexed),
            Background::IndexPruned => live.forget_wanted(),
            Background::Match => {}
        }
    }
}

fn match_all(live: &mut Live, mailbox: &Mailbox) -> Result<()> {
    let session = live.seat.session.clone();
    let Some(trained) = &session.trained else { return Ok(()) };
    let tick = &mut || give_way(live, mailbox);
    let found = Matching::new(&*session.sae, &**trained, &*session.models.original.ops, tick)?;
    live.seat.matching = Some(found);
    live.tell();
    Ok(())
}

/// Whether matching the two dictionaries takes no longer than a blink.
pub fn quick_to_match(session: &Session) -> bool {
    let cost = |trained: &Sae| 2 * session.sae.d_sae() as u64 * trained.d_sae() as u64 * trained.d_in() as u64;
    session.trained.as_ref().is_some_and(|trained| cost(trained) < 4_000_000_000)
}

/// Let the user through; stop for a command.
pub fn yield_to(live: &mut Live, mailbox: &Mailbox) -> Result<()> {
    if mailbox.has_command() {
        return Err(Error::Interrupted);
    }
    live.serve();
    Ok(())
}

/// The same for what can wait: it stops for a prompt whose layers are wanted, too.
pub fn give_way(live: &mut Live, mailbox: &Mailbox) -> Result<()> {
    yield_to(live, mailbox)?;
    if live.strip.is_some() { Err(Error::Interrupted) } else { Ok(()) }
}

/// Rows between two words about how far an index is: often enough to watch, too seldom to cost anything.
const NEWS: usize = 32;

/// Read the corpus, or take what is known of it from the cache.
fn index(live: &mut Live, mailbox: &Mailbox) -> Result<()> {
    let session = live.seat.session.clone();
    let mut indexing = match live.seat.indexing.take() {
        Some(indexing) => indexing,
        None => {
            let found = session.indexing(session.setting, &mut || give_way(live, mailbox))?;
            live.seat.keeping.found(&found);
            found
        }
    };
    let mut told = indexing.index.read;
    while let Some(batch) = indexing.next() {
        // Requests that come meanwhile see what is known so far.
        live.seat.indexing = Some(indexing);
        let fired = batch.read(&mut || give_way(live, mailbox))?;
        let Some(grown) = live.seat.indexing.take() else { return Ok(()) };
        indexing = grown;
        indexing.add(&fired);
        live.seat.keeping.now_and_then(&session, &indexing);
        live.send(Report::Reading { read: indexing.index.read, of: indexing.index.rows.len() });
        if indexing.index.read >= told + NEWS {
            told = indexing.index.read;
            live.seat.indexing = Some(indexing);
            live.tell_index();
            let Some(shown) = live.seat.indexing.take() else { return Ok(()) };
            indexing = shown;
        }
    }
    live.seat.indexing = Some(indexing);
    live.seat.keep_index();
    live.tell_index();
    live.send(Report::Indexed);
    Ok(())
}

/// What fires in `pruned` as it is pruned now, over what was read of the corpus; or what is known of that from the cache.
fn index_pruned(live: &mut Live, mailbox: &Mailbox) -> Result<()> {
    let session = live.seat.session.clone();
    let (Some(wanted), Some(indexing)) = (live.wants_index(), &live.seat.indexing) else { return Ok(()) };
    let (rows, read) = (indexing.index.rows.clone(), indexing.index.read);
    let rows = rows.get(..read).unwrap_or_default();
    let mut new = session.indexing_pruned(rows, wanted, &mut || give_way(live, mailbox))?;
    if new.is_kept() {
        live.seat.keeping.found(&new);
        live.seat.indexing = Some(new);
        live.tell_index();
        return Ok(());
    }
    while let Some(batch) = new.next() {
        let fired = batch.read(&mut || match live.wants_index() {
            Some(still) if still == wanted => give_way(live, mailbox),
            // Another setting is wanted by now.
            _ => Err(Error::Interrupted),
        })?;
        new.add(&fired);
    }
    let Some(indexing) = &mut live.seat.indexing else { return Ok(()) };
    if !indexing.replace_pruned(new) {
        // The memory granted for it was not enough.
        live.forget_wanted();
        return Ok(());
    }
    live.seat.keep_index();
    live.tell_index();
    Ok(())
}
