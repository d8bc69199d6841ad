//! Statistics of rollouts and experiments.
