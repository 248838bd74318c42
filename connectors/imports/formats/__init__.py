"""Formats of foreign logs, with a decoder for each."""
