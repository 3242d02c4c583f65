//! How many files the process may have open, and how many of them strangers may hold.
//!
//! Owns: the system's limit on open files. Must not know: what a connection is for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit on open files as far as it goes without rights: the soft one to the hard one. Returns what holds
/// from now on; `None` is no limit.
pub fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit on open files stays as it is");
            current
        }
    }
}

/// How many connections without a ticket may be held: as configured, and never more than a quarter of the files that
/// may be open, so that strangers cannot take the places of players.
pub fn pending_links(configured: usize, open_files: Option<u64>) -> usize {
    let Some(files) = open_files else { return configured };
    let share = usize::try_from(files / 4).unwrap_or(usize::MAX).max(1);
    if share < configured {
        tracing::warn!(
            open_files = files,
            held = share,
            configured,
            "few files may be open: limits.pending_links is held to a quarter of them; raise `ulimit -n` or LimitNOFILE"
        );
    }
    configured.min(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_have_a_quarter_of_the_files_at_the_most() {
        for (configured, files, held) in
            [(4_096, Some(1_024), 256), (4_096, Some(65_536), 4_096), (4_096, Some(3), 1), (4_096, None, 4_096)]
        {
            assert_eq!(pending_links(configured, files), held, "{files:?}");
        }
    }

    #[test]
    fn the_soft_limit_ends_up_at_the_hard_one() {
        let raised = raise_limit();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(raised, current);
        // A system without a hard limit need not grant that.
        assert!(maximum.is_none() || current == maximum, "{current:?} {maximum:?}");
    }
}
