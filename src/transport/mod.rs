//! The transports, in one vocabulary: a request opens a link, bytes come in, an [`Outlet`](crate::outbox::Outlet) leads out.
//!
//! Owns: what both transports share: that a link is a reader and an outlet, when it is called again (`timers`), and whether
//! sockets are looked at when they have something or by the clock (`pace`). `memory` is their twin without sockets, for tests.
//! Must not know: lobbies, sessions, games.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

pub mod memory;
mod pace;
mod timers;
pub mod websocket;
pub mod webtransport;

/// Work that other threads may go on with.
type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a future gives at once, or else the future, for a task of its own. Admission asks nobody beyond this node as a rule, and
/// then a task, its waking and the way back would cost as much as the answer.
fn at_once<T>(future: impl Future<Output = T> + Send + 'static) -> Result<T, Task<T>> {
    let mut task: Task<T> = Box::pin(future);
    match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Ok(outcome),
        // Whoever goes on with it asks anew, and is woken then.
        Poll::Pending => Err(task),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_is_there_comes_at_once_and_what_is_not_goes_on_elsewhere() {
        assert!(matches!(at_once(async { 7 }), Ok(7)));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let Err(task) = at_once(async { receiver.await.unwrap() }) else { unreachable!("nothing was sent") };
        let waiting = tokio::spawn(task);
        tokio::task::yield_now().await;
        sender.send(8).unwrap();
        assert_eq!(waiting.await.unwrap(), 8);
    }
}
