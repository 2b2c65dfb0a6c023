//! Connections are open files, of which a process may have only so many.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::crowd;

/// Open files left for everything else: NATS, callbacks, traces, and what the worker opens.
const RESERVED: u64 = 256;

/// How many of `wanted` connections each of `listeners` can serve with the open files this process
/// may have. Raises its soft limit to the hard one first, and warns if that is not enough.
#[must_use]
pub fn fitting_connections(wanted: usize, listeners: usize) -> usize {
    let Some(open_files) = raise_limit() else {
        return wanted;
    };
    let fitting = fitting(wanted, listeners, open_files);
    if fitting < wanted {
        tracing::warn!(
            open_files,
            wanted,
            connections = fitting,
            "too few open files are allowed for that many connections: raise the limit (ulimit -Hn)"
        );
    }
    fitting
}

/// Open files this process may have from now on; `None` for any number.
fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it is");
            current
        }
    }
}

fn fitting(wanted: usize, listeners: usize, open_files: u64) -> usize {
    let each = open_files.saturating_sub(RESERVED) / listeners.max(1) as u64;
    let each = usize::try_from(each).unwrap_or(usize::MAX);
    wanted.min(each.saturating_sub(crowd::MOST)).max(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn connections_fit_with_those_over_the_bound_and_the_reserve() {
        assert_eq!(fitting(1024, 2, 1 << 20), 1024);
        assert_eq!(fitting(1024, 2, 2 * (1024 + 64) + 256), 1024);
        assert_eq!(fitting(1024, 2, 1024), 320);
        assert_eq!(fitting(1024, 2, 16), 1);
        assert_eq!(fitting(10, 2, 1024), 10);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        let lower = Rlimit {
            current: Some(512),
            ..before
        };
        setrlimit(Resource::Nofile, lower).unwrap();
        assert_eq!(raise_limit(), before.maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    }
}
