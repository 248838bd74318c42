"""Simulated users with a hidden taste that can be checked: the loop's learning is measured against the truth."""
