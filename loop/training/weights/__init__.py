"""Weights that are trained: the adapter, its fused layers, its mean over the last steps, and how it is held."""
