"""Objectives: log-probabilities become the loss of a batch, against the champion's own, and its gradient."""
