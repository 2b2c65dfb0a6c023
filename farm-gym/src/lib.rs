//! Native part of the Python package `farm_gym`: conversion between Python and the simulator,
//! nothing else.

use pyo3::prelude::*;

mod batch;
mod facts;
mod live;
mod policy;
mod settings;
mod simulation;
mod training;

/// The module `farm_gym._core`.
#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::batch::Batch;
    #[pymodule_export]
    use crate::live::Live;
    #[pymodule_export]
    use crate::policy::Policy;
    #[pymodule_export]
    use crate::settings::{contract, scenario, scenario_names, sense_names};
    #[pymodule_export]
    use crate::simulation::Simulation;
    #[pymodule_export]
    use crate::training::train;

    use super::*;
    use farm_train::course::{EVALUATION_SEEDS, TRAINING_SEEDS};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let bounds = |seeds: &std::ops::Range<u64>| (seeds.start, seeds.end);
        module.add("TRAINING_SEEDS", bounds(&TRAINING_SEEDS))?;
        module.add("EVALUATION_SEEDS", bounds(&EVALUATION_SEEDS))
    }
}
