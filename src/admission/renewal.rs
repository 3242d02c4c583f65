//! Fresh tickets of players who are here: judged as at the door, away from the links that they came on.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Admission, Fault, arrival_of};
use crate::hub::{Arrival, Renewal};

impl Admission {
    /// Judges the fresh tickets that players show on open links, until cancelled. Run it once for a hub; a second call
    /// returns at once. At most 64 are judged at a time; the others wait.
    ///
    /// # Cancel safety
    /// A cancelled call may have burned tickets whose players were not told.
    pub async fn run_renewals(self, stop: CancellationToken) {
        let Some(mut renewals) = self.0.hub.take_renewals() else { return };
        let mut judging = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(_) = judging.join_next(), if !judging.is_empty() => {}
                renewal = renewals.recv(), if judging.len() < AT_ONCE => match renewal {
                    Some(renewal) => drop(judging.spawn(self.clone().renew(renewal))),
                    None => return,
                },
            }
        }
    }

    async fn renew(self, renewal: Renewal) {
        let verdict = self.judge_renewal(&renewal).await;
        let fresh = verdict.as_ref().ok().map(|arrival| arrival.ticket.clone());
        let verdict = verdict.map_err(|fault| {
            let refused = fault.told();
            let (player, code, slug) = (renewal.player.in_log(), refused.code.number(), refused.reason);
            self.0.hub.metrics().refusals.of(refused.code).inc();
            tracing::info!(%player, code, slug, why = %fault, "refused a fresh ticket");
            (refused.code, refused.reason)
        });
        self.0.hub.settle_renewal(&renewal, verdict);
        // Who revokes records first and looks for players second: one of the two is found, as at the door.
        if let Some(fresh) = fresh
            && self.is_revoked(&renewal.player, &fresh).await != Ok(false)
        {
            self.0.hub.revoke_where(|player, ticket| *player == renewal.player && *ticket == fresh).await;
        }
    }

    /// The checks of the door in their order. Somebody else's ticket is refused before it is burned: it may be stolen, and
    /// its owner may still need it.
    async fn judge_renewal(&self, renewal: &Renewal) -> Result<Arrival, Fault> {
        if self.0.hub.is_draining() {
            return Err(Fault::Draining);
        }
        let verified = self.verify(renewal.ticket.reveal()).await?;
        self.refuse_revoked(&verified).await?;
        if verified.player != renewal.player {
            return Err(Fault::OtherPlayer);
        }
        let arrival = arrival_of(&verified)?;
        self.0.hub.check_renewal(renewal, &arrival)?;
        self.burn(&verified).await?;
        Ok(arrival)
    }
}

/// Fresh tickets judged at a time.
const AT_ONCE: usize = 64;
