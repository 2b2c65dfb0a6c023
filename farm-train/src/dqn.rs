//! Double DQN: a network.
