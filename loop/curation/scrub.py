"""Sixth step of curation: personal and secret strings become placeholders, before anything is stored for training.

Names of people are not removed, which would need a language model. Numbers are recognised by their checksum or by the
ways in which phone numbers are written, so that order numbers, dates and prices survive.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from ipaddress import ip_address

from loop.curation.draft import Draft
from loop.types import Message, ToolCall

# Repetitions that could backtrack are bounded or possessive, so that hostile texts take linear time.
EMAIL = re.compile(r"[A-Za-z0-9._%+'-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
CARD = re.compile(r"(?<![\w#.-])(?:[2-6]\d{3}([ -]?)\d{4}\1\d{4}\1\d{1,7}|3[47]\d\d([ -]?)\d{6}\2\d{5})(?![\w-])")
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4}(?![\w:])")
PHONE = re.compile(
    r"""(?<![\w#.,$€£+-])(?<!\d[ ])(?:
        \+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ ./-]?\d{2,5}){1,4}     # +49 171 2345678, +1 (555) 123-4567
      | \(\d{3}\)[ ]?\d{3}[ .-]\d{4}                                            # (555) 123-4567
      | (?:1[ .-])?\d{3}([ .-])\d{3}\1\d{4}                                     # 555-123-4567
      | 0\d(?:[ .]\d\d){4}                                                      # 06 12 34 56 78
      | 0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,5}                                        # 0171 2345678, 030/1234567
    )(?![\w-]|[.,]\d)""",
    re.VERBOSE,
)
KEY = re.compile(
    r"""-----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
      | (?<![\w-])eyJ[\w-]{8,}+\.eyJ[\w-]{8,}+\.[\w-]+                            # a JSON web token
      | \b(?:sk|pk|rk)[-_](?=[A-Za-z_-]{0,64}\d)[A-Za-z0-9_-]{16,}
      | \b(?:gh[pousr]_|github_pat_|glpat-|hf_|xox[abprs]-|npm_|pypi-)[A-Za-z0-9_-]{16,}
      | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b
      | \bAIza[\w-]{35}
      | (?<=\bBearer[ ])[A-Za-z0-9._~+/-]{16,}=*
    """,
    re.VERBOSE | re.DOTALL,
)
ASSIGNED = re.compile(
    r"(?i)\b((?:api[_-]?key|access[_-]?token|auth[_-]?token|client[_-]?secret|secret|password|passwd|pwd)"
    r"[\"']?\s*[:=]\s*[\"']?)([^\s\"',;<>]{6,})"
)
# Texts, and whole numbers that are as long as a card's.
JSON_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|(?<![\w.+-])\d{12,19}(?![\w.])')


def scrub(text: str) -> str:
    """`text` with the placeholders <KEY>, <EMAIL>, <IBAN>, <CARD>, <IP> and <PHONE>."""
    # The surest patterns come first: a phone number is whatever digits the others have left.
    text = ASSIGNED.sub(r"\1<KEY>", KEY.sub("<KEY>", text))
    text = EMAIL.sub("<EMAIL>", text)
    text = IBAN.sub(_iban, text)
    text = _where(CARD, _is_card, "<CARD>", text)
    text = _where(IPV4, _is_address, "<IP>", text)
    text = _where(IPV6, _is_address, "<IP>", text)
    return _where(PHONE, _is_phone, "<PHONE>", text)


def scrub_drafts(drafts: Iterable[Draft]) -> list[Draft]:
    """Drafts with every text in them scrubbed, the targets of verifiers in the same way as the answers."""
    once = cache(_message)  # turns of one conversation share most of their messages
    return [_scrubbed(draft, once) for draft in drafts]


def _scrubbed(draft: Draft, clean: Callable[[Message], Message]) -> Draft:
    return replace(
        draft,
        prompt=tuple(clean(message) for message in draft.prompt),
        branches=tuple(replace(branch, response=clean(branch.response)) for branch in draft.branches),
        # Scrubbed as well: a target with the raw text would fail every clean answer.
        verifiers=tuple(replace(verifier, target=scrub(verifier.target)) for verifier in draft.verifiers),
    )


def _message(message: Message) -> Message:
    calls = tuple(
        ToolCall(call_id=call.call_id, name=call.name, arguments=_arguments(call.arguments))
        for call in message.tool_calls
    )
    return replace(message, content=scrub(message.content), tool_calls=calls)


def _arguments(text: str) -> str:
    """Arguments of a tool call, scrubbed: JSON stays JSON, and unchanged wherever nothing is found."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return scrub(text)
    # Value by value: parsed and written again, the text would lose the spaces and numbers as the model wrote them.
    return JSON_SCALAR.sub(_scalar, text)


def _scalar(match: re.Match[str]) -> str:
    value = str(json.loads(match[0]))
    clean = scrub(value)
    return match[0] if clean == value else json.dumps(clean, ensure_ascii=False)


def _where(pattern: re.Pattern[str], holds: Callable[[str], bool], placeholder: str, text: str) -> str:
    return pattern.sub(lambda match: placeholder if holds(match[0]) else match[0], text)


def _iban(match: re.Match[str]) -> str:
    """A match with its IBAN replaced: the longest run of whole groups with a right checksum; words may follow it."""
    found = match[0]
    ends = [len(found)]
    ends += [n for n in range(len(found) - 1, 0, -1) if found[n] == " "]
    end = next((end for end in ends if _is_iban(found[:end])), None)
    return found if end is None else "<IBAN>" + found[end:]


def _is_iban(text: str) -> bool:
    """Checksum of ISO 13616: the number made of the rearranged text leaves 1 when divided by 97."""
    compact = text.replace(" ", "")
    number = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return 15 <= len(compact) <= 34 and int(number) % 97 == 1


def _is_card(text: str) -> bool:
    """Checksum by Luhn: with every second digit from the right doubled, the sum of digits is divisible by 10."""
    digits = [int(character) for character in reversed(text) if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[0::2]) + sum(doubled)) % 10 == 0


def _is_address(text: str) -> bool:
    """Whether a text is an IP address, as a version number such as 1.2.3.4 is, too; times such as 12:30:45 are none."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return len(text) > len("::1") and any(character.isdigit() for character in text)


def _is_phone(text: str) -> bool:
    """Whether a text has as many digits as a phone number: 15 are the most that E.164 allows."""
    return 8 <= sum(character.isdigit() for character in text) <= 15
