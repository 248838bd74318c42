"""Intake: bytes in, interactions and feedback out, each exactly once."""
