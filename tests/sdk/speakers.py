"""Clients of the four dialects, all asked in the same way.

A speaker knows how its dialect writes a wish and how its SDK is called; `Answer` is what all give back. Who
calls the SDK is left open, so that one speaker serves SDKs of the same dialect in several languages.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from anthropic import _models as anthropic
from anthropic.types import Message, RawMessageStreamEvent
from asking import CITY, DEGREES, IMAGE, TOOLS_ANTHROPIC, TOOLS_OPENAI, Blocks, Called, add_chunk
from asking import Answer as Read
from asking import whole_anthropic, whole_openai
from google.genai import types as google
from openai import _models as openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from scenario import Usage

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}


@dataclass
class Answer:
    """What came back, in words that belong to no dialect."""

    text: str
    thinking: str
    calls: list[Called]
    finish: str
    usage: Usage
    headers: dict
    # The conversation with this answer at its end, in the client's dialect.
    history: list


@dataclass
class Wish:
    """What a client may want besides an answer to its text."""

    stream: bool = False
    system: str | None = None
    tools: bool = False
    forced: str | None = None
    schema: bool = False
    thinks: bool = False
    more: dict = field(default_factory=dict)


class Failed(Exception):
    """A stream said that it failed, by an event for which the SDK has no exception."""


# Calls an SDK with a body: what it gave, or the events, and the headers of the answer.
Create = Callable[[dict, bool], tuple[object, dict]]


def reader(kind, sdk=openai):
    """Reads JSON as the SDK itself does, which doesn't mind values that it has not heard of."""
    return staticmethod(lambda value: sdk.construct_type(value=value, type_=kind))


class Chat:
    """OpenAI's chat completions."""

    words = {"stop": "end", "tool_calls": "calls", "length": "length", "content_filter": "refusal"}
    event = reader(ChatCompletionChunk)
    whole = reader(ChatCompletion)

    def __init__(self, create: Create):
        self.create = create

    def user(self, text, image=False):
        if not image:
            return [{"role": "user", "content": text}]
        picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}
        return [{"role": "user", "content": [picture, {"type": "text", "text": text}]}]

    def results(self, calls):
        return [
            {"role": "tool", "tool_call_id": call.id, "content": DEGREES[call.arguments["city"]]} for call in calls
        ]

    def ask(self, model, history, wish: Wish) -> Answer:
        system = [{"role": "system", "content": wish.system}] if wish.system else []
        body = {"model": model, "messages": [*system, *history], **wish.more}
        if wish.tools:
            body["tools"] = TOOLS_OPENAI
        if wish.forced:
            body["tool_choice"] = {"type": "function", "function": {"name": wish.forced}}
        if wish.schema:
            shape = {"name": "weather", "schema": SCHEMA, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        if wish.thinks:
            body["reasoning_effort"] = "low"
        if wish.stream:
            body["stream_options"] = {"include_usage": True}
        given, headers = self.create(body, wish.stream)
        read, blocks, proven = Read("openai"), [], []
        if wish.stream:
            for chunk in given:
                add_chunk(read, chunk)
                for choice in chunk.choices:
                    blocks += getattr(choice.delta, "thinking_blocks", None) or []
                    proven += [getattr(call, "extra_content", None) for call in choice.delta.tool_calls or [] if call.id]
        else:
            read = whole_openai(given, headers)
            blocks = getattr(read.message, "thinking_blocks", None) or []
            proven = [getattr(call, "extra_content", None) for call in read.message.tool_calls or []]
        details = read.usage.prompt_tokens_details, read.usage.completion_tokens_details
        usage = Usage(
            read.usage.prompt_tokens,
            read.usage.completion_tokens,
            details[0] and details[0].cached_tokens or 0,
            getattr(details[0], "cache_write_tokens", None) or 0,
            details[1] and details[1].reasoning_tokens or 0,
        )
        said = [self.echo(read, blocks, proven)]
        return Answer(
            read.text, read.thinking, read.calls, self.words[read.finish], usage, headers, [*history, *said]
        )

    def echo(self, read, blocks, proven):
        """The message as clients send it back, with the proofs that it came with."""
        message = {"role": "assistant", "content": read.text or None}
        if blocks:
            message["thinking_blocks"] = blocks
        if read.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}}
                | ({"extra_content": proof} if proof else {})
                for call, proof in zip(read.calls, proven, strict=True)
            ]
        return message


class Messages:
    """Anthropic's messages."""

    words = {
        "end_turn": "end", "tool_use": "calls", "max_tokens": "length", "refusal": "refusal", "stop_sequence": "stop"
    }
    event = reader(RawMessageStreamEvent, anthropic)
    whole = reader(Message, anthropic)

    def __init__(self, create: Create):
        self.create = create

    def user(self, text, image=False):
        source = {"type": "base64", "media_type": "image/png", "data": IMAGE}
        pictures = [{"type": "image", "source": source}] if image else []
        return [{"role": "user", "content": [*pictures, {"type": "text", "text": text}]}]

    def results(self, calls):
        blocks = [
            {"type": "tool_result", "tool_use_id": call.id, "content": DEGREES[call.arguments["city"]]}
            for call in calls
        ]
        return [{"role": "user", "content": blocks}]

    def ask(self, model, history, wish: Wish) -> Answer:
        body = {"model": model, "messages": history, "max_tokens": 4000, **wish.more}
        if wish.system:
            body["system"] = wish.system
        if wish.tools:
            body["tools"] = TOOLS_ANTHROPIC
        if wish.forced:
            body["tool_choice"] = {"type": "tool", "name": wish.forced}
        if wish.schema:
            body["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        if wish.thinks:
            body["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        given, headers = self.create(body, wish.stream)
        if wish.stream:
            read, blocks, content = Read("anthropic"), Blocks(), []
            for event in given:
                blocks.add(read, event)
                gather(content, event)
            assert blocks.is_over, "a stream ends with message_stop"
        else:
            read = whole_anthropic(given, headers)
            content = [block.model_dump(exclude_none=True) for block in given.content]
        for block in content:
            if block["type"] == "tool_use" and isinstance(block["input"], str):
                block["input"] = json.loads(block["input"] or "{}")
        cached, written = read.usage.cache_read_input_tokens or 0, read.usage.cache_creation_input_tokens or 0
        details = getattr(read.usage, "output_tokens_details", None)
        usage = Usage(
            read.usage.input_tokens + cached + written,
            read.usage.output_tokens,
            cached,
            written,
            details and details.thinking_tokens or 0,
        )
        said = [{"role": "assistant", "content": content}]
        return Answer(
            read.text, read.thinking, read.calls, self.words[read.finish], usage, headers, [*history, *said]
        )


def gather(content, event):
    """Puts the blocks of a stream together."""
    if event.type == "content_block_start":
        content.append(event.content_block.model_dump(exclude_none=True))
        if content[-1]["type"] == "tool_use":
            content[-1]["input"] = ""
    elif event.type == "content_block_delta":
        places = {
            "text_delta": "text",
            "thinking_delta": "thinking",
            "signature_delta": "signature",
            "input_json_delta": "input",
        }
        delta = event.delta.model_dump()
        kind = delta.pop("type")
        [piece] = [value for value in delta.values() if isinstance(value, str)]
        content[-1][places[kind]] = content[-1].get(places[kind], "") + piece


class Responses:
    """OpenAI's responses, without a store."""

    event = reader(ResponseStreamEvent)
    whole = reader(Response)

    def __init__(self, create: Create):
        self.create = create

    def user(self, text, image=False):
        if not image:
            return [{"role": "user", "content": text}]
        picture = {"type": "input_image", "image_url": f"data:image/png;base64,{IMAGE}", "detail": "auto"}
        return [{"role": "user", "content": [picture, {"type": "input_text", "text": text}]}]

    def results(self, calls):
        return [
            {"type": "function_call_output", "call_id": call.id, "output": DEGREES[call.arguments["city"]]}
            for call in calls
        ]

    def ask(self, model, history, wish: Wish) -> Answer:
        body = {"model": model, "input": history, "store": False, **wish.more}
        if wish.system:
            body["instructions"] = wish.system
        if wish.tools:
            flat = [{"type": "function", **tool["function"], "strict": False} for tool in TOOLS_OPENAI]
            body["tools"] = [{"parameters": {"type": "object", "properties": {}}, **tool} for tool in flat]
        if wish.forced:
            body["tool_choice"] = {"type": "function", "name": wish.forced}
        if wish.schema:
            shape = {"type": "json_schema", "name": "weather", "schema": SCHEMA, "strict": True}
            body["text"] = {"format": shape}
        if wish.thinks:
            body["reasoning"] = {"effort": "low", "summary": "auto"}
            body["include"] = ["reasoning.encrypted_content"]
        given, headers = self.create(body, wish.stream)
        response = self.last(given) if wish.stream else given
        return self.read(response, headers, history)

    def last(self, events) -> Response:
        """The response at the end of a stream, which is what the events before it said."""
        items, texts, arguments, number = [], {}, {}, 0
        for event in events:
            assert event.sequence_number == number, "events are counted without gaps"
            number += 1
            match event.type:
                case "response.output_text.delta":
                    texts[event.item_id] = texts.get(event.item_id, "") + event.delta
                case "response.function_call_arguments.delta":
                    arguments[event.item_id] = arguments.get(event.item_id, "") + event.delta
                case "response.reasoning_summary_text.delta":
                    texts[event.item_id] = texts.get(event.item_id, "") + event.delta
                case "response.output_item.added":
                    assert event.output_index == len(items), "items come one after another"
                case "response.output_item.done":
                    items.append(event.item)
                    self.check(event.item, texts, arguments)
                case "response.failed":
                    raise Failed(f"{event.response.error.code}: {event.response.error.message}")
                case "error":
                    raise Failed(f"{event.code}: {event.message}")
                case "response.completed" | "response.incomplete":
                    dumped = [item.model_dump() for item in event.response.output]
                    assert dumped == [item.model_dump() for item in items], "the end says what was said before"
                    return event.response
        raise AssertionError("the stream has no end")

    def check(self, item, texts, arguments):
        match item.type:
            case "message":
                assert "".join(part.text for part in item.content if part.type == "output_text") == texts.get(item.id, "")
            case "function_call":
                assert item.arguments == arguments.get(item.id, "")
            case "reasoning":
                assert "".join(part.text for part in item.summary) == texts.get(item.id, "")

    def read(self, response, headers, history) -> Answer:
        answer = Answer("", "", [], "end", None, headers, [*history])
        for item in response.output:
            answer.history.append(item.model_dump(exclude_none=True))
            match item.type:
                case "message":
                    answer.text += "".join(part.text for part in item.content if part.type == "output_text")
                case "function_call":
                    answer.calls.append(Called(item.call_id, item.name, item.arguments))
                    answer.finish = "calls"
                case "reasoning":
                    answer.thinking += "".join(part.text for part in item.summary)
        if response.status == "incomplete":
            reasons = {"max_output_tokens": "length", "content_filter": "refusal"}
            answer.finish = reasons[response.incomplete_details.reason]
        else:
            assert response.status == "completed"
        usage = response.usage
        answer.usage = Usage(
            usage.input_tokens,
            usage.output_tokens,
            usage.input_tokens_details.cached_tokens,
            getattr(usage.input_tokens_details, "cache_write_tokens", None) or 0,
            usage.output_tokens_details.reasoning_tokens,
        )
        assert usage.total_tokens == usage.input_tokens + usage.output_tokens
        return answer


class GenerateContent:
    """Gemini's generateContent."""

    words = {"STOP": "end", "MAX_TOKENS": "length", "SAFETY": "refusal"}

    def __init__(self, create: Create):
        self.create = create

    def user(self, text, image=False):
        data = base64.b64decode(IMAGE)
        pictures = [google.Part.from_bytes(data=data, mime_type="image/png")] if image else []
        return [google.Content(role="user", parts=[*pictures, google.Part.from_text(text=text)])]

    def results(self, calls):
        parts = [
            google.Part.from_function_response(name=call.name, response={"output": DEGREES[call.arguments["city"]]})
            for call in calls
        ]
        for part, call in zip(parts, calls):
            part.function_response.id = call.id
        return [google.Content(role="user", parts=parts)]

    def ask(self, model, history, wish: Wish) -> Answer:
        config = {"system_instruction": wish.system, **wish.more}
        if wish.tools:
            declarations = [
                {"name": "get_weather", "description": "Weather", "parameters_json_schema": CITY},
                {"name": "get_time", "description": "The time"},
            ]
            config["tools"] = [{"function_declarations": declarations}]
            config["automatic_function_calling"] = {"disable": True}
        if wish.forced:
            config["tool_config"] = {
                "function_calling_config": {"mode": "ANY", "allowed_function_names": [wish.forced]}
            }
        if wish.schema:
            shape = {key: value for key, value in SCHEMA.items() if key != "additionalProperties"}
            config |= {"response_mime_type": "application/json", "response_schema": shape}
        if wish.thinks:
            config["thinking_config"] = {"include_thoughts": True, "thinking_budget": 1024}
        body = {"model": model, "contents": history, "config": config}
        given, _ = self.create(body, wish.stream)
        return self.read(given if wish.stream else [given], history)

    def read(self, chunks, history) -> Answer:
        parts, reason, counts, headers = [], None, None, {}
        for chunk in chunks:
            headers = chunk.sdk_http_response.headers or headers
            counts = chunk.usage_metadata or counts
            for candidate in chunk.candidates or []:
                assert reason is None or not (candidate.content and candidate.content.parts), "nothing follows the end"
                parts += candidate.content and candidate.content.parts or []
                reason = candidate.finish_reason or reason
        calls = [part.function_call for part in parts if part.function_call]
        cached, thoughts = counts.cached_content_token_count or 0, counts.thoughts_token_count or 0
        output = (counts.candidates_token_count or 0) + thoughts
        assert counts.total_token_count == counts.prompt_token_count + output
        said = [google.Content(role="model", parts=joined(parts))] if parts else []
        return Answer(
            text="".join(part.text for part in parts if part.text and not part.thought),
            thinking="".join(part.text for part in parts if part.text and part.thought),
            calls=[Called(call.id, call.name, json.dumps(call.args or {})) for call in calls],
            finish="calls" if calls and reason == "STOP" else self.words[reason],
            usage=Usage(counts.prompt_token_count, output, cached, 0, thoughts),
            headers=headers,
            history=[*history, *said],
        )


def joined(parts):
    """The parts of a stream, with the texts together that nothing is proven of."""
    whole = []
    for part in parts:
        last = whole[-1] if whole else None
        is_plain = last and last.text and part.text and not last.thought_signature and not part.thought_signature
        if is_plain and last.thought == part.thought:
            whole[-1] = last.model_copy(update={"text": last.text + part.text})
        else:
            whole.append(part)
    return whole
