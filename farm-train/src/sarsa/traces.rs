//! Eligibility traces: which earlier choices a surprise teaches.

use serde::{Deserialize, Serialize};

/// What a choice that is made again adds to its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceKind {
    /// One more: the paper's.
    Accumulating,
    /// It begins anew at one (Singh and Sutton, 1996).
    Replacing,
}

/// The trace of one choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trace {
    pub state: u64,
    pub action: usize,
    /// How much of a surprise it is taught.
    pub strength: f64,
}

/// The traces of one episode.
#[derive(Debug)]
pub(super) struct Traces {
    kind: TraceKind,
    /// Fading from one step to the next: discount times λ.
    decay: f64,
    /// Fainter traces are forgotten.
    threshold: f64,
    traces: Vec<Trace>,
}

impl Traces {
    pub fn new(kind: TraceKind, decay: f64, threshold: f64) -> Self {
        Self {
            kind,
            decay,
            threshold,
            traces: Vec::new(),
        }
    }

    /// An episode begins.
    pub fn clear(&mut self) {
        self.traces.clear();
    }

    /// Fades every trace, then marks the choice that was just made.
    pub fn mark(&mut self, state: u64, action: usize) {
        let (decay, threshold) = (self.decay, self.threshold);
        self.traces.retain_mut(|trace| {
            trace.strength *= decay;
            trace.strength >= threshold
        });
        let chosen = |trace: &&mut Trace| (trace.state, trace.action) == (state, action);
        match (self.traces.iter_mut().find(chosen), self.kind) {
            (Some(trace), TraceKind::Accumulating) => trace.strength += 1.0,
            (Some(trace), TraceKind::Replacing) => trace.strength = 1.0,
            (None, _) => self.traces.push(Trace {
                state,
                action,
                strength: 1.0,
            }),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Trace> {
        self.traces.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{TraceKind, Traces};

    fn marked(kind: TraceKind, threshold: f64, choices: &[(u64, usize)]) -> Vec<(u64, usize, f64)> {
        let mut traces = Traces::new(kind, 0.5, threshold);
        for (state, action) in choices {
            traces.mark(*state, *action);
        }
        traces
            .iter()
            .map(|trace| (trace.state, trace.action, trace.strength))
            .collect()
    }

    #[test]
    fn accumulating_traces_add_up() {
        let traces = marked(TraceKind::Accumulating, 0.0, &[(7, 1), (3, 0), (7, 1)]);
        assert_eq!(traces, [(7, 1, 1.25), (3, 0, 0.5)]);
    }

    #[test]
    fn replacing_traces_begin_anew() {
        let traces = marked(TraceKind::Replacing, 0.0, &[(7, 1), (3, 0), (7, 1)]);
        assert_eq!(traces, [(7, 1, 1.0), (3, 0, 0.5)]);
    }

    #[test]
    fn actions_of_one_state_have_traces_of_their_own() {
        let traces = marked(TraceKind::Replacing, 0.0, &[(7, 1), (7, 2)]);
        assert_eq!(traces, [(7, 1, 0.5), (7, 2, 1.0)]);
    }

    #[test]
    fn faint_traces_are_forgotten() {
        let choices = [(1, 0), (2, 0), (3, 0)];
        let traces = marked(TraceKind::Accumulating, 0.3, &choices);
        assert_eq!(traces, [(2, 0, 0.5), (3, 0, 1.0)]);
    }

    #[test]
    fn an_episode_begins_without_traces() {
        let mut traces = Traces::new(TraceKind::Accumulating, 0.5, 0.0);
        traces.mark(1, 0);
        traces.clear();
        assert_eq!(traces.iter().count(), 0);
    }
}
