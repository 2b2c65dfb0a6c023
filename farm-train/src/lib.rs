//! Trains scaling policies of a farm in its simulator.
//!
//! * [`sarsa`]: SARSA(λ) on a table;
//! * [`dqn`]: Double DQN, a network;
//! * [`course`]: what is trained for: scenario, contract, reward, seeds.
//!
//! Equal courses, settings and seeds give equal artefacts, byte for byte.

pub mod course;
pub mod dqn;
pub mod sarsa;
