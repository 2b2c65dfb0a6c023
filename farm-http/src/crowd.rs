//! The connections beyond the bound: the latest few of them, so that probes get through.

use std::collections::VecDeque;

use tokio::task::AbortHandle;

/// Connections over the bound that are served at once.
pub(crate) const MOST: usize = 64;

/// A probe is answered in milliseconds; who holds on longer makes room for newer ones.
#[derive(Default)]
pub(crate) struct Crowd(VecDeque<AbortHandle>);

impl Crowd {
    /// Takes one in, and closes the oldest if it is one too many.
    pub fn add(&mut self, connection: AbortHandle) {
        self.0.retain(|older| !older.is_finished());
        self.0.push_back(connection);
        if self.0.len() > MOST
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_makes_room_for_the_newest() {
        let mut crowd = Crowd::default();
        let mut connections: Vec<_> = (0..MOST + 1)
            .map(|_| tokio::spawn(std::future::pending::<()>()))
            .collect();
        for connection in &connections {
            crowd.add(connection.abort_handle());
        }
        let oldest = connections.remove(0).await;
        assert!(oldest.is_err_and(|error| error.is_cancelled()));
        assert!(connections.iter().all(|rest| !rest.is_finished()));
    }
}
