"""Sender of envelopes to Kafka, on an idempotent producer."""

from collections.abc import Sequence
from functools import cached_property

from kafka import KafkaProducer

from connectors.kafka.client import administering, explained, opening
from loop.errors import NightshiftError, NotFoundError
from loop.intake.wire import MAX_EVENT_BYTES
from loop.ports import Envelope
from loop.settings import KafkaAccess
from loop.settings.constants import COMPRESSION

# Twice as fast as kafka-python's own 16 KB, with events of 1 KB.
BATCH_BYTES = 64 << 10
BUFFERED_ENVELOPES = 10_000
MAX_MESSAGE_BYTES = MAX_EVENT_BYTES + (64 << 10)
"""Largest message: an event with its key and Kafka's framing."""


class KafkaSender:
    """One producer into one topic, connected when the first envelope comes."""

    def __init__(self, access: KafkaAccess, topic: str) -> None:
        self._access = access
        self._topic = topic

    def append(self, envelopes: Sequence[Envelope]) -> None:
        """Send envelopes; all in-sync replicas have acknowledged them when it returns. Raises the first error.

        An idempotent producer does not recover from every error, so after one the next call makes a new producer.
        """
        try:
            with explained(self._access):
                for start in range(0, len(envelopes), BUFFERED_ENVELOPES):
                    self._send(envelopes[start : start + BUFFERED_ENVELOPES])
        except NightshiftError:
            # Without waiting, as what is still buffered belongs to the call that has just failed.
            self._close(0.0)
            raise

    def close(self) -> None:
        """Close the connections, after the envelopes that are still buffered were sent."""
        self._close(None)

    def _send(self, envelopes: Sequence[Envelope]) -> None:
        sent = [
            self._producer.send(self._topic, key=envelope.key.encode(), value=envelope.payload)
            for envelope in envelopes
        ]
        self._producer.flush()
        for future in sent:
            future.get()

    def _close(self, timeout: float | None) -> None:
        producer = self.__dict__.pop("_producer", None)
        if producer:
            producer.close(timeout=timeout)

    @cached_property
    def _producer(self) -> KafkaProducer:
        with administering(self._access) as admin:
            # The producer would look for an absent topic in silence, for a minute.
            if self._topic not in admin.list_topics():
                raise NotFoundError(f"Kafka has no topic {self._topic!r}", "nightshift topics create")
        with opening(self._access) as settings:
            return KafkaProducer(
                acks="all",
                enable_idempotence=True,
                compression_type=COMPRESSION,
                batch_size=BATCH_BYTES,
                linger_ms=20,
                max_request_size=MAX_MESSAGE_BYTES,
                delivery_timeout_ms=60_000,
                max_block_ms=60_000,
                metrics_enabled=False,
                **settings,
            )
