"""Batches: examples become token ids, share their prefixes in trees, and are put in the order of the steps."""
