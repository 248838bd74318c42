"""Nights: each stage as one call, and the order in which a night calls them."""
