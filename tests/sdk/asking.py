"""Asking with the official SDKs, with and without a stream, and one form for what they give back."""

import json
from dataclasses import dataclass, field

import anthropic
import httpx2
import openai

# What the SDKs raise when a stream breaks off: an error of theirs, or that of the connection.
BROKEN = (openai.APIError, anthropic.APIError, httpx2.TransportError)

IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS_OPENAI = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "get_time", "description": "The time"}},
]
TOOLS_ANTHROPIC = [
    {"name": "get_weather", "description": "Weather", "input_schema": CITY},
    {"name": "get_time", "description": "The time", "input_schema": {"type": "object", "properties": {}}},
]
DEGREES = {"Paris": "21 degrees", "Rome": "25 degrees"}


@dataclass
class Called:
    id: str
    name: str
    text: str

    @property
    def arguments(self):
        return json.loads(self.text)


@dataclass
class Answer:
    """What came back, streamed or not."""

    client: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    calls: list[Called] = field(default_factory=list)
    finish: str | None = None
    stop_sequence: str | None = None
    refusal: str | None = None
    usage: object = None
    id: str = ""
    model: str = ""
    headers: object = None
    message: object = None

    @property
    def tokens(self):
        """Input and output, in whichever way the client counts."""
        if self.client == "openai":
            return self.usage.prompt_tokens, self.usage.completion_tokens
        usage = self.usage
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        return usage.input_tokens + cached, usage.output_tokens


def history(messages):
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else messages


def ask_openai(client, model, messages, stream=False, **more) -> Answer:
    create = client.chat.completions.with_raw_response.create
    if not stream:
        raw = create(model=model, messages=history(messages), **more)
        return whole_openai(raw.parse(), raw.headers)
    more.setdefault("stream_options", {"include_usage": True})
    raw = create(model=model, messages=history(messages), stream=True, **more)
    answer = Answer("openai", headers=raw.headers)
    for chunk in raw.parse():
        add_chunk(answer, chunk)
    return answer


async def ask_openai_async(client, model, messages, stream=False, **more) -> Answer:
    create = client.chat.completions.with_raw_response.create
    if not stream:
        raw = await create(model=model, messages=history(messages), **more)
        return whole_openai(raw.parse(), raw.headers)
    more.setdefault("stream_options", {"include_usage": True})
    raw = await create(model=model, messages=history(messages), stream=True, **more)
    answer = Answer("openai", headers=raw.headers)
    async for chunk in raw.parse():
        add_chunk(answer, chunk)
    return answer


def whole_openai(completion, headers) -> Answer:
    [choice] = completion.choices
    message = choice.message
    return Answer(
        "openai",
        text=message.content or "",
        thinking=getattr(message, "reasoning_content", None) or "",
        calls=[Called(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or []],
        finish=choice.finish_reason,
        refusal=message.refusal,
        usage=completion.usage,
        id=completion.id,
        model=completion.model,
        headers=headers,
        message=message,
    )


def add_chunk(answer: Answer, chunk):
    assert answer.id in ("", chunk.id), "all chunks have one id"
    answer.id, answer.model = chunk.id, chunk.model
    if chunk.usage:
        answer.usage = chunk.usage
    for choice in chunk.choices:
        assert answer.finish is None, "nothing follows the end of a choice"
        answer.finish = choice.finish_reason
        answer.text += choice.delta.content or ""
        answer.thinking += getattr(choice.delta, "reasoning_content", None) or ""
        for call in choice.delta.tool_calls or []:
            if call.index == len(answer.calls):
                answer.calls.append(Called(call.id, call.function.name, ""))
            assert call.index == len(answer.calls) - 1, "calls come one after another"
            answer.calls[call.index].text += call.function.arguments or ""


def ask_anthropic(client, model, messages, stream=False, max_tokens=1000, **more) -> Answer:
    create = client.messages.with_raw_response.create
    asked = {"model": model, "messages": history(messages), "max_tokens": max_tokens, **more}
    if not stream:
        raw = create(**asked)
        return whole_anthropic(raw.parse(), raw.headers)
    raw = create(**asked, stream=True)
    answer = Answer("anthropic", headers=raw.headers)
    state = Blocks()
    for event in raw.parse():
        state.add(answer, event)
    assert state.is_over, "a stream ends with message_stop"
    return answer


async def ask_anthropic_async(client, model, messages, stream=False, max_tokens=1000, **more) -> Answer:
    create = client.messages.with_raw_response.create
    asked = {"model": model, "messages": history(messages), "max_tokens": max_tokens, **more}
    if not stream:
        raw = await create(**asked)
        return whole_anthropic(await raw.parse(), raw.headers)
    raw = await create(**asked, stream=True)
    answer = Answer("anthropic", headers=raw.headers)
    state = Blocks()
    async for event in await raw.parse():
        state.add(answer, event)
    assert state.is_over, "a stream ends with message_stop"
    return answer


def whole_anthropic(message, headers) -> Answer:
    answer = Answer("anthropic", headers=headers, message=message, usage=message.usage)
    answer.id, answer.model = message.id, message.model
    answer.finish, answer.stop_sequence = message.stop_reason, message.stop_sequence
    for block in message.content:
        if block.type == "text":
            answer.text += block.text
        elif block.type == "thinking":
            answer.thinking += block.thinking
            answer.signature = block.signature
        elif block.type == "tool_use":
            answer.calls.append(Called(block.id, block.name, json.dumps(block.input)))
    return answer


class Blocks:
    """Checks the order of a stream's events while it puts them together."""

    def __init__(self):
        self.open = None
        self.count = 0
        self.has_begun = False
        self.is_over = False

    def add(self, answer: Answer, event):
        assert not self.is_over, "nothing follows message_stop"
        assert self.has_begun or event.type == "message_start", "a stream begins with message_start"
        match event.type:
            case "message_start":
                assert not self.has_begun
                self.has_begun = True
                answer.id, answer.model = event.message.id, event.message.model
                answer.usage = event.message.usage
            case "content_block_start":
                assert self.open is None, "blocks come one after another"
                assert event.index == self.count, "blocks are numbered without gaps"
                self.open = event.content_block
                if self.open.type == "tool_use":
                    answer.calls.append(Called(self.open.id, self.open.name, ""))
            case "content_block_delta":
                assert event.index == self.count
                self.delta(answer, event.delta)
            case "content_block_stop":
                self.stop(answer)
            case "message_delta":
                assert self.open is None, "blocks are closed before the end"
                answer.finish, answer.stop_sequence = event.delta.stop_reason, event.delta.stop_sequence
                update(answer.usage, event.usage)
            case "message_stop":
                self.is_over = True

    def delta(self, answer, delta):
        match delta.type, self.open.type:
            case "text_delta", "text":
                answer.text += delta.text
            case "thinking_delta", "thinking":
                answer.thinking += delta.thinking
            case "signature_delta", "thinking":
                answer.signature += delta.signature
            case "input_json_delta", "tool_use":
                answer.calls[-1].text += delta.partial_json
            case unexpected:
                raise AssertionError(f"a delta in a foreign block: {unexpected}")

    def stop(self, answer):
        assert self.open is not None
        if self.open.type == "tool_use":
            answer.calls[-1].text = answer.calls[-1].text or "{}"
        self.open = None
        self.count += 1


def update(usage, delta):
    """What the last event says goes before what the first one said."""
    for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
        value = getattr(delta, name, None)
        if value is not None:
            setattr(usage, name, value)
    details = getattr(delta, "output_tokens_details", None)
    if details is not None:
        usage.output_tokens_details = details


def weather_results(answer: Answer, asked: str) -> list:
    """The conversation so far, with what the tools gave back."""
    if answer.client == "openai":
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}}
            for call in answer.calls
        ]
        assistant = {"role": "assistant", "content": answer.text or None, "tool_calls": calls}
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": DEGREES[call.arguments["city"]]}
            for call in answer.calls
        ]
        return [*history(asked), assistant, *results]
    blocks = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in answer.calls
    ]
    text = [{"type": "text", "text": answer.text}] if answer.text else []
    thinking = []
    if answer.signature:
        thinking = [{"type": "thinking", "thinking": answer.thinking, "signature": answer.signature}]
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": DEGREES[call.arguments["city"]]}
        for call in answer.calls
    ]
    assistant = {"role": "assistant", "content": [*thinking, *text, *blocks]}
    return [*history(asked), assistant, {"role": "user", "content": results}]
