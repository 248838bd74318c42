"""Simulated users with a hidden, checkable taste: what the loop learns from them can be measured against the truth."""
