//! Native part of the Python package `farm_gym`.
