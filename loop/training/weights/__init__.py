"""Weights in training: the adapter, its fused layers, its mean over the last steps, and the dtypes of all of them."""
