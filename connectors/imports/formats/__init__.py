"""Formats of foreign logs, a decoder each."""
