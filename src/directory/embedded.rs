//! The directory of a node that stands alone: in memory, its revocations in a file as well where one is named.

use std::future::ready;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::revoked_set::{Added, RevokedSet};
use super::store::{self, Store, StoreFault};
use super::{Answer, Burned, Directory, Kept, Recorded, Revocation, Unavailable};
use crate::ids::PlayerId;
use crate::ticket::{Burn, TicketFacts, TicketId, UnixSeconds, UsedTickets};

/// Holds the used tickets until they would have expired anyway, and revocations for as long as they matter.
pub struct Embedded {
    used: Mutex<UsedTickets>,
    revoked: Arc<RevokedOnDisk>,
}

struct RevokedOnDisk {
    set: RwLock<RevokedSet>,
    pending: Mutex<Pending>,
    /// Taken before the other two, and while the disk works.
    store: Option<Mutex<Store>>,
}

/// What is in force and not known to be on disk.
#[derive(Default)]
struct Pending {
    new: Vec<Revocation>,
    /// More than it is worth to append: the whole file is to be written again.
    all: bool,
}

impl Embedded {
    /// Remembers at most `capacity` tickets at a time; when that many are alive, more are refused. Revocations are
    /// forgotten with the process.
    pub fn new(capacity: usize) -> Self {
        Self::over(capacity, RevokedSet::new(MAX_REVOCATIONS), None)
    }

    /// As [`Self::new`], with revocations kept in a file. Those in it that still matter at `now` are in force.
    ///
    /// # Errors
    /// [`StoreFault`]: nothing that was revoked may be forgotten for a broken line.
    pub fn with_store(capacity: usize, path: &Path, now: UnixSeconds) -> Result<Self, StoreFault> {
        let (mut store, read) = Store::open(path)?;
        let mut set = RevokedSet::new(usize::MAX);
        for revocation in store::alive(read, now) {
            let _ = set.add(&revocation);
        }
        set.set_capacity(MAX_REVOCATIONS);
        if store.lines() > set.len()
            && let Err(error) = store.replace(set.iter())
        {
            tracing::warn!(store = %path.display(), %error, "the store could not be tidied; what is in it counts");
        }
        Ok(Self::over(capacity, set, Some(store)))
    }

    fn over(capacity: usize, set: RevokedSet, store: Option<Store>) -> Self {
        let (set, pending) = (RwLock::new(set), Mutex::default());
        let revoked = RevokedOnDisk { set, pending, store: store.map(Mutex::new) };
        Self { used: Mutex::new(UsedTickets::new(capacity)), revoked: Arc::new(revoked) }
    }
}

impl Directory for Embedded {
    fn burn<'a>(&'a self, ticket: &'a TicketId, until: UnixSeconds, now: UnixSeconds) -> Answer<'a, Burned> {
        let outcome = match self.used.lock().burn(ticket, until, now) {
            Burn::First => Ok(Burned::Now),
            Burn::Again => Ok(Burned::Before),
            Burn::Late => Ok(Burned::Late),
            Burn::Full => Err(Unavailable),
        };
        Box::pin(ready(outcome))
    }

    fn is_revoked<'a>(&'a self, player: &'a PlayerId, ticket: &'a TicketFacts) -> Answer<'a, bool> {
        Box::pin(ready(Ok(self.revoked.set.read().covers(player, ticket))))
    }

    fn revoke<'a>(&'a self, revocation: &'a Revocation, now: UnixSeconds) -> Answer<'a, Recorded> {
        Box::pin(ready(Ok(self.revoked.record(revocation, now))))
    }

    fn keep(&self) -> Answer<'_, Kept> {
        Box::pin(async {
            if self.revoked.store.is_none() {
                return Ok(Kept::InMemory);
            }
            let revoked = Arc::clone(&self.revoked);
            // The disk takes its time, and a session's tick must not wait for it.
            tokio::task::spawn_blocking(move || revoked.write()).await.map_err(|_| Unavailable)
        })
    }

    fn forget(&self, now: UnixSeconds) -> Answer<'_, ()> {
        self.revoked.set.write().forget(now);
        Box::pin(ready(Ok(())))
    }

    fn in_force(&self) -> Answer<'_, usize> {
        Box::pin(ready(Ok(self.revoked.set.read().len())))
    }

    fn revocations(&self) -> Answer<'_, Vec<Revocation>> {
        Box::pin(ready(Ok(self.revoked.set.read().iter().collect())))
    }
}

impl RevokedOnDisk {
    fn record(&self, revocation: &Revocation, now: UnixSeconds) -> Recorded {
        let mut set = self.set.write();
        let added = match set.add(revocation) {
            Added::Full => {
                set.forget(now);
                set.add(revocation)
            }
            added => added,
        };
        match added {
            Added::Full => return Recorded::Full,
            Added::New if self.store.is_some() => self.pending.lock().push(revocation),
            Added::New | Added::Known => {}
        }
        Recorded::InForce
    }

    /// Writes whatever is not on disk yet; whoever comes while that is done finds its own written too, or tries again.
    fn write(&self) -> Kept {
        let Some(store) = &self.store else { return Kept::InMemory };
        let mut store = store.lock();
        let pending = std::mem::take(&mut *self.pending.lock());
        let tidies = pending.all || store.is_mostly_dead(self.set.read().len());
        let alive: Vec<Revocation> = if tidies { self.set.read().iter().collect() } else { Vec::new() };
        let outcome = match tidies.then(|| store.replace(alive.into_iter())) {
            Some(Err(error)) if pending.all => Err(error),
            Some(Ok(())) => Ok(()),
            // A file that could not be tidied is still whole.
            _ if pending.new.is_empty() => Ok(()),
            _ => store.append(&pending.new),
        };
        match outcome {
            Ok(()) => Kept::OnDisk,
            Err(error) => {
                self.pending.lock().put_back(pending);
                Kept::NotYet(error.to_string())
            }
        }
    }
}

impl Pending {
    fn push(&mut self, revocation: &Revocation) {
        if self.all || self.new.len() >= MAX_PENDING {
            *self = Self { new: Vec::new(), all: true };
        } else {
            self.new.push(revocation.clone());
        }
    }

    fn put_back(&mut self, mut older: Self) {
        older.new.append(&mut self.new);
        older.all |= self.all || older.new.len() > MAX_PENDING;
        if older.all {
            older.new.clear();
        }
        *self = older;
    }
}

/// Tickets and players that can be revoked at a time. Past it a revocation is refused, and none is forgotten.
pub const MAX_REVOCATIONS: usize = 100_000;

/// Revocations that wait for the disk one by one; past it the whole file is written again.
const MAX_PENDING: usize = 10_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_000);

    fn one(jti: usize, until: u64) -> Revocation {
        super::super::read_line(&format!("{{\"jti\":\"t{jti}\",\"until\":{until}}}")).unwrap()
    }

    fn scratch(test: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("muster-directory-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[tokio::test]
    async fn a_full_directory_refuses_until_something_is_over() {
        let directory = Embedded::new(10);
        for n in 0..MAX_REVOCATIONS {
            assert_eq!(directory.revoke(&one(n, 2_000), NOW).await, Ok(Recorded::InForce));
        }
        let more = one(MAX_REVOCATIONS, 2_000);
        assert_eq!(directory.revoke(&more, NOW).await, Ok(Recorded::Full));
        assert_eq!(directory.in_force().await, Ok(MAX_REVOCATIONS));
        assert_eq!(directory.revoke(&more, UnixSeconds(2_000)).await, Ok(Recorded::InForce), "the old are over");
        assert_eq!(directory.in_force().await, Ok(1));
        assert_eq!(directory.keep().await, Ok(Kept::InMemory));
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_written_when_it_can_be_and_the_file_is_tidied() {
        let folder = scratch("tidied");
        let path = folder.join("revoked.jsonl");
        let directory = Embedded::with_store(10, &path, NOW).unwrap();
        for n in 0..1_500 {
            assert_eq!(directory.revoke(&one(n, 1_100), NOW).await, Ok(Recorded::InForce));
        }
        assert_eq!(directory.keep().await, Ok(Kept::OnDisk));
        directory.forget(UnixSeconds(1_100)).await.unwrap();
        // Mostly over, and a directory stands where the new file would: what is new is written all the same.
        std::fs::create_dir(folder.join("revoked.jsonl.new")).unwrap();
        assert_eq!(directory.revoke(&one(7_000, 5_000), NOW).await, Ok(Recorded::InForce));
        assert_eq!(directory.keep().await, Ok(Kept::OnDisk));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1_501);
        // More than is appended one by one waits for the whole file to be written.
        for n in 0..MAX_PENDING + 2 {
            assert_eq!(directory.revoke(&one(n, 5_000), NOW).await, Ok(Recorded::InForce));
        }
        assert!(matches!(directory.keep().await, Ok(Kept::NotYet(_))));
        std::fs::remove_dir(folder.join("revoked.jsonl.new")).unwrap();
        assert_eq!(directory.keep().await, Ok(Kept::OnDisk));
        drop(directory);
        let again = Embedded::with_store(10, &path, NOW).unwrap();
        assert_eq!(again.in_force().await, Ok(MAX_PENDING + 2), "t7000 is one of them");
        drop(again);
        assert!(Embedded::with_store(10, &path, UnixSeconds(5_000)).unwrap().revocations().await.unwrap().is_empty());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "", "what is over is not kept");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
