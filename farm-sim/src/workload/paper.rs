//! The workload of arXiv 2602.06555, "steady low, steady high, slow and fast oscillation".

use super::{Arrivals, Deadline, Phase, Workload};
use crate::random::Duration;

/// The four phases, of 60 windows of nominally one second each. As the authors' code has it rather
/// than as its names say: the two "oscillating" phases never oscillate, both are a bursty 5
/// tasks/s. The first takes about 46 s, the whole about 225 s, because a window without tasks lasts
/// nothing (see [`Phase`]).
pub const PAPER_PHASES: [Phase; 4] = [
    Phase {
        tasks: 90,
        windows: 60,
    },
    Phase {
        tasks: 450,
        windows: 60,
    },
    Phase {
        tasks: 300,
        windows: 60,
    },
    Phase {
        tasks: 300,
        windows: 60,
    },
];

/// Mean of the clipped service time.
pub const PAPER_SERVICE_SECONDS_MEAN: f64 = 1.4715;

pub(super) fn workload() -> Workload {
    Workload {
        arrivals: Arrivals::Phases {
            phases: PAPER_PHASES.to_vec(),
            shuffled: false,
        },
        service: Duration::Gamma {
            mean: 1.5,
            shape: 4.0,
            // The range of the authors' image sizes, in service time.
            clip: Some((0.0465, 2.8705)),
        },
        deadline: Deadline::ServiceTimes {
            factor: 2.0,
            bounds: (0.1, 30.0),
        },
    }
}
