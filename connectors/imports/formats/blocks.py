"""TensorZero's content blocks, in which its rows hold the input and the output of an inference, as messages."""

from pydantic import JsonValue

from connectors.imports.reading.fields import as_text
from connectors.imports.reading.shapes import Many, Shape
from connectors.imports.reading.turns import Result, Turns, of_parts, only_answer
from loop.errors import EventError
from loop.types import Message, ToolCall


class Block(Shape):
    """One part, of any type, of a message."""

    type: str
    text: str | None = None
    value: JsonValue = None
    id: str | None = None
    name: str | None = None
    raw_name: str | None = None
    arguments: JsonValue = None
    raw_arguments: str | None = None
    result: str | None = None


class BlockMessage(Shape):
    """A message in blocks."""

    role: str
    content: str | Many[Block]


class Input(Shape):
    """The input of an inference."""

    system: str | dict[str, JsonValue] | None = None
    """System prompt: a text, or the arguments of a template."""
    messages: Many[BlockMessage]


class JsonOutput(Shape):
    """The answer of a function that answers with JSON."""

    raw: str | None


Output = Many[Block] | JsonOutput


def messages(system: str | dict[str, JsonValue] | None, said: list[BlockMessage]) -> Turns:
    """The messages that a model was shown. Raises EventError for a template, for other than text and for no input."""
    if isinstance(system, dict):
        raise _template()
    turns: list[Message] = []
    if system:
        turns.append(Message("system", system))
    for each in said:
        turns += _turns(each.role, each.content)
    if not turns:
        raise EventError("an inference has no input", "leave inferences without messages out of the file")
    return tuple(turns)


def answer(output: Output) -> Message:
    """The answer of a model. Raises EventError for an answer that is not text."""
    if isinstance(output, JsonOutput):
        return Message("assistant", output.raw or "")
    return only_answer(_turns("assistant", output))


def shown(value: Output | str) -> str:
    """The text of a demonstration. Raises EventError for one that calls tools."""
    if isinstance(value, str):
        return value
    said = answer(value)
    if said.tool_calls:
        raise EventError("a demonstration calls tools, and feedback holds text alone", "leave it out of the file")
    return said.content


def _turns(role: str, content: str | list[Block]) -> Turns:
    return of_parts(role, [content] if isinstance(content, str) else map(_content, content))


def _content(block: Block) -> str | ToolCall | Result | None:
    match block:
        case Block(type="text", text=str(text)) | Block(type="text" | "raw_text", value=str(text)):
            return text
        case Block(type="tool_call"):
            return _call(block)
        case Block(type="tool_result", result=str(text)):
            return Result(block.id, text)
        # A text block without a text holds the arguments of a template.
        case Block(type="template") | Block(type="text"):
            raise _template()
        case Block(type="thought"):
            return None
        case _:
            raise EventError(f"a block of type {block.type!r} cannot be read as text", "leave the row out of the file")


def _call(block: Block) -> ToolCall:
    """A call with the name and the arguments that the model wrote, valid or not."""
    # The raw ones: TensorZero's own are null where they do not fit the tool, and the mistake is what was answered.
    arguments = block.arguments if block.raw_arguments is None else block.raw_arguments
    return ToolCall(
        call_id=block.id or "",
        name=block.raw_name or block.name or "",
        arguments="{}" if arguments is None else as_text(arguments),
    )


def _template() -> EventError:
    return EventError(
        "the prompt is a template, whose text is not in this row", "import the rows of ModelInference as well"
    )
