"""Messages that a model is shown when somebody asks it in the terminal, and how its answer is drawn."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from loop.errors import UsageError
from loop.types import Message, Sampling

if TYPE_CHECKING:
    from loop.ports import EventStore

STDIN = "-"
Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Flags:
    """Options that say how an answer is drawn; None where nobody said."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    greedy: bool = False


def opening(system: str | None, file: Path | None) -> list[Message]:
    """The messages before the first question: a system prompt, those of a file, both, or none.

    Raises UsageError for a file of another shape, and for two system prompts.
    """
    messages = _read(file) if file else []
    if system is None:
        return messages
    if any(message.role == "system" for message in messages):
        raise UsageError(f"{file} has a system message already", "leave --system away, or take it out of the file")
    messages.insert(0, Message("system", system))
    return messages


def question(text: str | None) -> str | None:
    """The question, read from standard input for `-`. Raises UsageError for an empty one."""
    asked = sys.stdin.read().strip() if text == STDIN else text
    if asked is None:
        return None
    # Bytes of standard input that are not UTF-8 may arrive as lone surrogates (PEP 383), which nothing can encode.
    if not asked.strip() or any("\ud800" <= character <= "\udfff" for character in asked):
        raise UsageError("the question is empty or not UTF-8", "write some text")
    return asked


def _read(file: Path) -> list[Message]:
    import msgspec

    from loop.intake.events import message
    from loop.intake.wire import ChatMessage, placed

    remedy = 'write [{"role": "user", "content": "..."}, ...], or an object with such a list as "messages"'
    try:
        found = json.loads(file.read_bytes())
        # An object with messages is the body of a chat request.
        listed = found["messages"] if isinstance(found, dict) else found
        messages = [message(each) for each in msgspec.convert(listed, list[ChatMessage])]
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", "name a file with messages") from error
    except KeyError as error:
        raise UsageError(f"{file} has no messages", remedy) from error
    except msgspec.ValidationError as error:
        raise UsageError(f"{file} holds no messages: {placed(error)}", remedy) from error
    except ValueError as error:
        raise UsageError(f"{file} is not JSON: {error}", remedy) from error
    if not messages:
        raise UsageError(f"{file} has no messages", remedy)
    return messages


def sampling(flags: Flags, store: "EventStore | None") -> tuple[Sampling, str]:
    """How answers are drawn, and who says so: the flags, else most of the newest interactions.

    `store` is None where flags alone decide.
    """
    from loop.nights.versions import usual_sampling

    # A temperature of 0 is greedy as well, so only a positive one contradicts.
    if flags.greedy and flags.temperature:
        raise UsageError("--greedy and --temperature contradict each other", "use one of the two")
    seen = usual_sampling(store) if store else None
    begin = seen or Sampling()
    chosen = Sampling(
        temperature=0.0 if flags.greedy else _first(flags.temperature, begin.temperature),
        top_p=_first(flags.top_p, begin.top_p),
        max_tokens=_first(flags.max_tokens, begin.max_tokens),
        seed=flags.seed,
    )
    origin = "as most of the newest interactions" if seen else "no stored interaction says how it was drawn"
    return chosen, origin if store else "as you say"


def decides(flags: Flags) -> bool:
    """Whether the flags say enough, so that no interaction has to be looked at."""
    return flags.greedy or flags.temperature is not None


def describe(chosen: Sampling) -> str:
    """One line about a sampling."""
    drawn = f"temperature {chosen.temperature:g}, top-p {chosen.top_p:g}" if chosen.temperature else "greedy"
    seed = f", seed {chosen.seed}" if chosen.seed is not None and chosen.temperature else ""
    return f"{drawn}, at most {chosen.max_tokens} tokens{seed}"


def _first(said: Kind | None, otherwise: Kind) -> Kind:
    return otherwise if said is None else said
