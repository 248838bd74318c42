"""Conversations as token ids, by one rule for serving, training and evaluation.

The text of a chat template is cut after every generation prompt and each piece is tokenised alone. So the prompt of a
turn plus its answer is a token prefix of every later prompt of the conversation, wherever the template itself keeps
earlier turns as they were (Qwen3's, which drops old thoughts, does not).
"""

import json
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from loop.errors import UsageError
from loop.types import Message, ToolCall

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ':\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
)
"""Chat template for tokenizers without one: `role:`, the text and a blank line per message."""

_STUB = (Message("user", "?"),)
"""Shortest conversation, which shows the text that a template puts around an answer."""


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> list[int]:
    """Token ids of a conversation up to and including the generation prompt.

    Control tokens written out inside a message are removed, so no user can forge a turn. Raises UsageError when the
    chat template refuses the conversation.
    """
    text = _render(tokenizer, messages, generation_prompt=True)
    ids: list[int] = []
    start = 0
    ends = _answer_starts(tokenizer, messages, text)
    ends.append(len(text))
    for end in ends:
        # The template's text holds all special tokens already; the tokenizer would add a second BOS.
        ids += tokenizer.encode(text[start:end], add_special_tokens=False)
        start = end
    return ids


def response_ids(tokenizer: "PreTrainedTokenizerBase", message: Message) -> list[int]:
    """Token ids of an assistant's answer and exactly one end-of-turn token."""
    if message.role != "assistant":
        raise UsageError(f"a response has the role {message.role!r}", "only assistant messages are answers")
    text = message.content
    if message.tool_calls:
        text = _answer_text(tokenizer, message)
    ids: list[int] = list(tokenizer.encode(_without_control_tokens(tokenizer, text), add_special_tokens=False))
    ids.append(end_of_turn(tokenizer))
    return ids


def end_of_turn(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Token that ends an answer: the first control token that the chat template puts after one, else EOS."""
    prompt = _render(tokenizer, _STUB, generation_prompt=True)
    text = _render(tokenizer, (_STUB[0], Message("assistant", "!")))
    if text.startswith(prompt + "!"):
        tail: list[int] = tokenizer.encode(text[len(prompt) + 1 :], add_special_tokens=False)
        if tail and tail[0] in _control_tokens(tokenizer):
            return tail[0]
    return int(tokenizer.eos_token_id)


def fit(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], limit: int) -> tuple[Message, ...]:
    """The system messages and the longest tail of a conversation whose prompt has at most `limit` tokens.

    Whole turns are dropped, oldest first; a turn begins with a user message. The last turn stays even where it alone is
    longer: the caller decides what to do then.
    """
    head = next((i for i, message in enumerate(messages) if message.role != "system"), len(messages))
    turns = [i for i in range(head, len(messages)) if messages[i].role == "user"]
    kept = tuple(messages)
    for start in turns[1:]:
        if len(prompt_ids(tokenizer, kept)) <= limit:
            break
        kept = tuple(messages[:head]) + tuple(messages[start:])
    return kept


def _render(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], *, generation_prompt: bool = False
) -> str:
    """Text of a conversation by the chat template. Raises UsageError when the template refuses it."""
    from jinja2 import TemplateError

    template = tokenizer.chat_template or PLAIN_TEMPLATE
    shown = [_shown(tokenizer, message, native="tool_calls" in template) for message in messages]
    try:
        text: str = tokenizer.apply_chat_template(
            shown, chat_template=template, add_generation_prompt=generation_prompt, tokenize=False
        )
    except TemplateError as error:
        roles = ", ".join(message.role for message in messages)
        remedy = "log the messages in the order the model was really shown them"
        raise UsageError(f"the chat template refuses a conversation of {roles}: {error}", remedy) from error
    return text


def _answer_starts(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], text: str) -> list[int]:
    """Offsets in `text` at which the answers of the conversation begin, each after its generation prompt."""
    starts = []
    for i, message in enumerate(messages):
        if message.role == "assistant":
            prefix = _render(tokenizer, messages[:i], generation_prompt=True)
            # Not where the template renders earlier turns differently once more follow.
            if text.startswith(prefix):
                starts.append(len(prefix))
    return starts


def _shown(tokenizer: "PreTrainedTokenizerBase", message: Message, *, native: bool) -> dict[str, Any]:
    """A message for a template. One that knows no tools gets calls and results as Hermes-style text (Qwen2.5's)."""
    content = _without_control_tokens(tokenizer, message.content)
    if not native:
        if message.role == "tool":
            return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
        calls = [_call_text(call) for call in message.tool_calls]
        return {"role": message.role, "content": "\n".join(filter(None, chain([content], calls)))}
    shown: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        shown["tool_calls"] = [_native_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        shown["tool_call_id"] = message.tool_call_id
    return shown


def _call_text(call: ToolCall) -> str:
    return f'<tool_call>\n{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}\n</tool_call>'


def _native_call(call: ToolCall) -> dict[str, Any]:
    # Templates expect an object; text that is no JSON, as a model may have written it, is shown as it is.
    try:
        arguments = json.loads(call.arguments)
    except json.JSONDecodeError:
        arguments = call.arguments
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _answer_text(tokenizer: "PreTrainedTokenizerBase", message: Message) -> str:
    """The rendered answer between the generation prompt and the end of the turn."""
    prompt = _render(tokenizer, _STUB, generation_prompt=True)
    text = _render(tokenizer, (_STUB[0], message))
    if not text.startswith(prompt):
        return str(_shown(tokenizer, message, native=False)["content"])
    ending = tokenizer.decode([end_of_turn(tokenizer)])
    return text[len(prompt) :].rpartition(ending)[0] or text[len(prompt) :].rstrip()


def _control_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[int, str]:
    return {i: token.content for i, token in tokenizer.added_tokens_decoder.items() if token.special}


def _without_control_tokens(tokenizer: "PreTrainedTokenizerBase", text: str) -> str:
    """`text` without the control tokens written out in it, which would end or begin turns."""
    control = _control_tokens(tokenizer).values()
    # Until nothing changes: taking one token out can put another together.
    while any(token in text for token in control):
        for token in control:
            text = text.replace(token, "")
    return text
