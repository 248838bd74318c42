"""Objectives: the loss of a batch, from log-probabilities and those of the champion, and its gradient."""
