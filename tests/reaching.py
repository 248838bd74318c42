"""What feedback finds at curation, for tests of the ids that imports give."""

from collections.abc import Iterable

from loop.curation.join import asked, meant
from loop.types import Event, Feedback, Interaction


def reached(events: Iterable[Event]) -> dict[str, str | None]:
    """The answer that each feedback, by its id, is about; None where it finds none."""
    everything = list(events)
    known = asked(event for event in everything if isinstance(event, Interaction))
    told = [event for event in everything if isinstance(event, Feedback)]
    found = {one.feedback_id: meant(known, one, one.interaction_id) for one in told}
    return {name: about.response.content if about else None for name, about in found.items()}
