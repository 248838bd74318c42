"""Kafka as the event log."""
