"""Batches: examples become token ids, share their prefixes in trees, and get the order of the steps."""
