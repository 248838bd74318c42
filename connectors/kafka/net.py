"""The network client below every Kafka client, with what kafka-python 3.0 leaves undone."""

from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.transport import KafkaTCPTransport


class NetClient(KafkaNetClient):  # type: ignore[misc]  # kafka-python is untyped
    """A network client that reads last words, closes all its sockets and does not make topics by asking for them."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        # Producer and consumer do not hand this setting on: a topic that is only asked about would be made by the
        # broker, with the broker's settings.
        self._manager.cluster.config["allow_auto_create_topics"] = False
        _keep_last_words(self._manager)

    def close(self, node_id: int | None = None) -> None:
        """Close the connection to one broker; without `node_id` all of them, and the thread that serves them."""
        if node_id is not None:
            super().close(node_id)
            return
        self._net.stop()
        self._manager.close()
        self._net.drain()
        # The one of a connection that is being made, kafka-python gives up without closing it.
        registered = self._net._selector.get_map() or {}  # noqa: SLF001 - None once it is closed
        left_open = [key.fileobj for key in registered.values()]
        self._net.close()
        for each in left_open:
            each.close()


def _keep_last_words(manager: KafkaConnectionManager) -> None:
    """Make a connection read the bytes that arrived together with its end before it reports the end.

    kafka-python throws them away. On a busy machine they are the answer of a broker that refuses credentials and hangs
    up, and without them all that is known is "socket disconnected".
    """
    build = manager._build_transport  # noqa: SLF001

    async def built(*node: object, **named: object) -> KafkaTCPTransport:
        transport = await build(*node, **named)
        receive = transport._sock_recv  # noqa: SLF001

        def received() -> tuple[bytes, Exception | None]:
            data, end = receive()
            # Nothing is lost by keeping the end back: the next read meets it again.
            return data, None if data else end

        transport._sock_recv = received  # noqa: SLF001
        return transport

    manager._build_transport = built  # noqa: SLF001
