"""A Jepsen-style campaign: real Kafka and PostgreSQL, everything is killed at random, then every event is counted.

`python -m tests.campaign` prints one JSON line; `tests/integration/test_campaign.py` runs a short one.
"""
