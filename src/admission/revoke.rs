//! Taking back what was granted: tickets that are good no longer, and the players who are here by them.
//!
//! Owns: the order of it. Recorded first, then everybody who is here is looked at, then it is waited for the disk.

use std::sync::Arc;

use parking_lot::RwLock;

use super::Admission;
use crate::directory::{Kept, MAX_REVOCATIONS, Recorded, Revocation, RevokedSet, Unavailable};
use crate::ids::PlayerId;
use crate::metrics::RevocationFault;
use crate::ticket::TicketFacts;

/// The operator's own list, replaced whole.
pub(super) struct Listed(RwLock<Arc<RevokedSet>>);

impl Default for Listed {
    fn default() -> Self {
        Self(RwLock::new(Arc::new(RevokedSet::new(MAX_REVOCATIONS))))
    }
}

/// What a revocation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokeOutcome {
    /// Players who were here and went.
    pub sent_away: usize,
    /// Whether it outlives the process.
    pub kept: Kept,
}

/// Why a revocation is not in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeFault {
    /// As many as there may be are in force. Nothing was forgotten for it.
    #[error("{MAX_REVOCATIONS} revocations are in force, and no more are taken")]
    Full,
    /// The directory cannot record it.
    #[error(transparent)]
    Directory(#[from] Unavailable),
}

/// Where a revocation in force comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationSource {
    /// The directory: it was asked for while the server ran.
    Asked,
    /// The operator's list.
    Listed,
}

impl Admission {
    /// Revokes, and sends away who is here by what is revoked: it is told Goodbye 4403, `revoked`.
    ///
    /// # Errors
    /// [`RevokeFault`]: then nothing is revoked. A store that fails is no error, since the revocation is in force: see
    /// [`RevokeOutcome::kept`].
    ///
    /// # Cancel safety
    /// A cancelled call may have revoked, and may have sent some away; called again, it does the rest.
    pub async fn revoke(&self, revocation: &Revocation) -> Result<RevokeOutcome, RevokeFault> {
        let now = self.0.hub.clock().unix();
        if self.0.directory.revoke(revocation, now).await? == Recorded::Full {
            return Err(RevokeFault::Full);
        }
        let sent_away = self.0.hub.revoke(revocation).await;
        let kept = self.keep_revocations().await;
        tracing::info!(%revocation, sent_away, ?kept, "revoked");
        Ok(RevokeOutcome { sent_away, kept })
    }

    /// Puts the operator's list in force in place of the one before, at once. Who is here and on it is sent away by
    /// [`Self::send_listed_away`].
    pub fn replace_listed(&self, list: &[Revocation]) {
        let now = self.0.hub.clock().unix();
        let mut set = RevokedSet::new(MAX_REVOCATIONS);
        for revocation in list.iter().filter(|revocation| revocation.until > now) {
            let _ = set.add(revocation);
        }
        *self.0.listed.0.write() = Arc::new(set);
    }

    /// Sends away who is here and on the operator's list; says how many went.
    ///
    /// # Cancel safety
    /// Those who went stay away.
    pub async fn send_listed_away(&self) -> usize {
        let set = Arc::clone(&self.0.listed.0.read());
        let sent_away = self.0.hub.revoke_where(|player, ticket| set.covers(player, ticket)).await;
        self.count_revocations().await;
        sent_away
    }

    /// Forgets what no longer matters, and writes what the disk did not take before.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn tidy_revocations(&self) {
        // A directory that cannot be reached is asked again the next time.
        let _ = self.0.directory.forget(self.0.hub.clock().unix()).await;
        self.keep_revocations().await;
    }

    async fn keep_revocations(&self) -> Kept {
        self.count_revocations().await;
        let kept = self.0.directory.keep().await.unwrap_or_else(|fault| Kept::NotYet(fault.to_string()));
        if let Kept::NotYet(reason) = &kept {
            self.0.hub.metrics().revocation_faults.of(RevocationFault::Store).inc();
            tracing::error!(reason, "revocations are in force and not on disk: a restart would forget them");
        }
        kept
    }

    async fn count_revocations(&self) {
        let asked = self.0.directory.in_force().await.unwrap_or_default();
        let in_force = asked + self.0.listed.0.read().len();
        self.0.hub.metrics().revocations.set(i64::try_from(in_force).unwrap_or(i64::MAX));
    }

    /// Every revocation in force.
    ///
    /// # Errors
    /// [`Unavailable`] when the directory cannot answer.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn revocations(&self) -> Result<Vec<(Revocation, RevocationSource)>, Unavailable> {
        let asked = self.0.directory.revocations().await?;
        let listed = Arc::clone(&self.0.listed.0.read());
        let asked = asked.into_iter().map(|revocation| (revocation, RevocationSource::Asked));
        Ok(asked.chain(listed.iter().map(|revocation| (revocation, RevocationSource::Listed))).collect())
    }

    /// Whether a ticket is revoked, by whomever.
    pub(super) async fn is_revoked(&self, player: &PlayerId, ticket: &TicketFacts) -> Result<bool, Unavailable> {
        if self.0.listed.0.read().covers(player, ticket) {
            return Ok(true);
        }
        self.0.directory.is_revoked(player, ticket).await
    }
}
