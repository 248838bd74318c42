"""OTLP/JSON, as OpenTelemetry's collector writes it into files: spans and log records from lines of batches."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

from connectors.imports.reading.fields import Nanoseconds
from connectors.imports.reading.lines import lines
from connectors.imports.reading.shapes import Many, Shape, validate
from loop.errors import EventError
from loop.intake.wire import MAX_EVENT_BYTES

# A collector's batch holds many events, so a line may be much larger than one event.
_MAX_BATCH_BYTES = 1 << 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = (("resourceSpans", "scopeSpans", "spans"), ("resourceLogs", "scopeLogs", "logRecords"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A span, an event on a span, or a log record."""

    name: str | None
    """Name of an event or a log record; None for a span."""
    trace: str | None
    span: str | None
    """Id of trace and span together, where both are known."""
    at: datetime | None
    """Time at which a span ended, or an event happened."""
    attributes: Mapping[str, JsonValue]
    events: tuple["Recorded", ...] = ()


class _Otlp(Shape):
    model_config = ConfigDict(alias_generator=to_camel)


class _Value(_Otlp):
    string_value: str | None = None
    bool_value: bool | None = None
    # OTLP/JSON writes 64-bit integers as text, and a double that is not finite too.
    int_value: int | None = Field(None, strict=False)
    double_value: float | str | None = None
    bytes_value: str | None = None
    array_value: "_Array | None" = None
    kvlist_value: "_Pairs | None" = None


class _Array(_Otlp):
    values: Many[_Value] | None = None


class _Pair(_Otlp):
    key: str
    value: _Value | None = None


class _Pairs(_Otlp):
    values: Many[_Pair] | None = None


class _Event(_Otlp):
    name: str = ""
    time_unix_nano: Nanoseconds = 0
    attributes: Many[_Pair] | None = None


class _Span(_Otlp):
    trace_id: str = ""
    span_id: str = ""
    start_time_unix_nano: Nanoseconds = 0
    end_time_unix_nano: Nanoseconds = 0
    attributes: Many[_Pair] | None = None
    events: Many[_Event] | None = None


class _LogRecord(_Otlp):
    trace_id: str = ""
    span_id: str = ""
    event_name: str = ""
    time_unix_nano: Nanoseconds = 0
    observed_time_unix_nano: Nanoseconds = 0
    attributes: Many[_Pair] | None = None


class _ScopeSpans(_Otlp):
    spans: Many[_Span] | None = None


class _ResourceSpans(_Otlp):
    scope_spans: Many[_ScopeSpans] | None = None


class _ScopeLogs(_Otlp):
    log_records: Many[_LogRecord] | None = None


class _ResourceLogs(_Otlp):
    scope_logs: Many[_ScopeLogs] | None = None


class _Request(_Otlp):
    resource_spans: Many[_ResourceSpans] | None = None
    resource_logs: Many[_ResourceLogs] | None = None
    resource_metrics: Many[JsonValue] | None = None


_REQUEST = TypeAdapter(_Request)


def requests(file: BinaryIO) -> Iterator[bytes]:
    """Every span and every log record of `file` as a line of its own, so that a batch may be larger than an event.

    A line with only one of them, and a line of another shape, stays as it is.
    """
    for raw in lines(file, _MAX_BATCH_BYTES):
        parts = _parts(raw)
        if len(parts) > 1:
            for part in parts:
                yield json.dumps(part, ensure_ascii=False).encode()
        else:
            # One byte more than an event may have, so that it is refused as too large.
            yield raw[: MAX_EVENT_BYTES + 1]


def recorded(raw: bytes) -> Iterator[Recorded]:
    """The spans and log records of one line, without metrics. Raises EventError for a line of another shape."""
    request = validate(_REQUEST, raw)
    if not request.model_fields_set:
        raise EventError("the line has neither resourceSpans nor resourceLogs", "export OTLP as JSON lines")
    for resource_spans in request.resource_spans or ():
        for scope_spans in resource_spans.scope_spans or ():
            yield from (_of_span(span) for span in scope_spans.spans or ())
    for resource_logs in request.resource_logs or ():
        for scope_logs in resource_logs.scope_logs or ():
            yield from (_of_log(record) for record in scope_logs.log_records or ())


def _parts(raw: bytes) -> list[JsonValue]:
    parts: list[JsonValue] = []
    try:
        request = from_json(raw)
        for outer, inner, kind in _KINDS:
            for resource in _list(request, outer):
                for scope in _list(resource, inner):
                    parts += [{outer: [{inner: [{kind: [each]}]}]} for each in _list(scope, kind)]
    except (ValueError, TypeError):
        return []
    return parts


def _list(node: JsonValue, key: str) -> list[JsonValue]:
    inside = node.get(key, []) if isinstance(node, dict) else node
    if not isinstance(inside, list):
        raise TypeError(key)
    return inside


def _of_span(span: _Span) -> Recorded:
    # OTLP/JSON writes ids in hexadecimal digits whose case does not matter.
    trace_id, span_id = span.trace_id.lower(), span.span_id.lower()
    at = span.end_time_unix_nano or span.start_time_unix_nano
    events = tuple(
        _recorded(event.name, trace_id, span_id, event.time_unix_nano, event.attributes) for event in span.events or ()
    )
    return _recorded(None, trace_id, span_id, at, span.attributes, events)


def _of_log(record: _LogRecord) -> Recorded:
    trace_id, span_id = record.trace_id.lower(), record.span_id.lower()
    at = record.time_unix_nano or record.observed_time_unix_nano
    return _recorded(record.event_name, trace_id, span_id, at, record.attributes)


def _recorded(
    name: str | None,
    trace: str,
    span: str,
    nanoseconds: int,
    attributes: Sequence[_Pair] | None,
    events: tuple[Recorded, ...] = (),
) -> Recorded:
    return Recorded(
        name=name,
        trace=trace or None,
        span=f"{trace}/{span}" if trace and span else None,
        # Whole microseconds, in integers: a float of nanoseconds since 1970 would be off by hundreds of them.
        at=_EPOCH + timedelta(microseconds=nanoseconds // 1000) if nanoseconds else None,
        attributes={pair.key: _plain(pair.value) for pair in attributes or ()},
        events=events,
    )


def _plain(value: _Value | None) -> JsonValue:
    if value is None:
        return None
    if value.array_value:
        return [_plain(each) for each in value.array_value.values or ()]
    if value.kvlist_value:
        return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values or ()}
    scalars = value.string_value, value.bool_value, value.int_value, value.double_value, value.bytes_value
    return next((scalar for scalar in scalars if scalar is not None), None)
