//! SARSA(λ) on a table.
