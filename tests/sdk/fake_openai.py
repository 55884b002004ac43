"""OpenAI's chat completions and embeddings: what they refuse, and how they answer."""

import base64
import hashlib
import json
import re
import struct

from scenario import PAGE, Asked, Script, Text, Thinking, ToolCall, Usage

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
FIELDS = set(
    "model messages max_completion_tokens max_tokens temperature top_p n stop presence_penalty "
    "frequency_penalty logit_bias logprobs top_logprobs seed stream stream_options tools tool_choice "
    "parallel_tool_calls response_format reasoning_effort verbosity modalities audio prediction "
    "service_tier store metadata user safety_identifier prompt_cache_key prompt_cache_options "
    "prompt_cache_retention web_search_options moderation functions function_call".split()
)
ROLES = {"developer", "system", "user", "assistant", "tool"}
MESSAGE_FIELDS = {
    "developer": {"role", "content", "name"},
    "system": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "refusal", "tool_calls", "audio", "function_call", "annotations"},
    "tool": {"role", "content", "tool_call_id"},
}
EFFORTS = {"none", "minimal", "low", "medium", "high", "xhigh", "max"}
STATUS = {
    400: ("invalid_request_error", "invalid_value"),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("request_forbidden", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("service_unavailable_error", "server_is_overloaded"),
}


class Refusal(Exception):
    """What the provider says to a request that it doesn't take."""

    def __init__(self, message, param=None, code=None):
        super().__init__(message)
        self.param = param
        self.code = code


def must(condition, message, param=None, code=None):
    if not condition:
        raise Refusal(message, param, code)


def known(fields, allowed, where=""):
    for name in fields:
        must(name in allowed, f"Unknown parameter: '{where}{name}'.", where + name, "unknown_parameter")


def is_reasoning(model):
    return re.match(r"(o\d|gpt-[56])", model) is not None


class Chat:
    """`POST /v1/chat/completions`."""

    path = "/chat/completions"
    event_stream = "text/event-stream; charset=utf-8"

    def __init__(self, is_compatible=False):
        # Servers that only resemble OpenAI's write their streams differently.
        self.is_compatible = is_compatible

    def validate(self, body, headers):
        must(isinstance(body, dict), "We could not parse the JSON body of your request.")
        known(body, FIELDS)
        must(isinstance(body.get("model"), str), "you must provide a model parameter", "model")
        messages = body.get("messages")
        must(isinstance(messages, list), "Missing required parameter: 'messages'.", "messages")
        must(messages, "Invalid 'messages': empty array.", "messages", "empty_array")
        for at, message in enumerate(messages):
            self.validate_message(message, f"messages[{at}]")
        validate_tool_order(messages)
        validate_tools(body)
        validate_settings(body)

    def validate_message(self, message, where):
        must(isinstance(message, dict), f"Invalid type for '{where}'.", where, "invalid_type")
        role = message.get("role")
        must(role in ROLES, f"Invalid value: '{role}'.", f"{where}.role", "invalid_value")
        # Most servers that resemble OpenAI's read past what they don't know.
        allowed = MESSAGE_FIELDS[role] | ({"reasoning_content", "thinking_blocks"} if self.is_compatible else set())
        known(message, allowed, f"{where}.")
        content = message.get("content")
        if role == "assistant":
            must(content is not None or message.get("tool_calls"), "Invalid value for 'content'", where)
        else:
            must(isinstance(content, (str, list)), "Invalid value for 'content'", f"{where}.content")
        if isinstance(content, list):
            must(content, f"Invalid '{where}.content': empty array.", where, "empty_array")
            for part in content:
                must(isinstance(part, dict), f"Invalid type for '{where}.content'.", where)
                validate_part(part, role, f"{where}.content")
        for call in message.get("tool_calls") or []:
            more = {"extra_content"} if self.is_compatible else set()
            known(call, {"id", "type", "function"} | more, f"{where}.tool_calls.")
            must(call["type"] == "function", "Invalid type", where)
            must(NAME.fullmatch(call["function"]["name"]), "Invalid function name", where)
            must(isinstance(call["function"]["arguments"], str), "arguments must be a string", where)
        if role == "tool":
            must(isinstance(message.get("tool_call_id"), str), "Missing 'tool_call_id'.", where)

    def read(self, body):
        messages = body["messages"]
        choice = body.get("tool_choice")
        last = messages[-1]
        return Asked(
            model=body["model"],
            stream=bool(body.get("stream")),
            text=next((text_of(m["content"]) for m in reversed(messages) if m["role"] == "user"), ""),
            system=[text_of(m["content"]) for m in messages if m["role"] in ("system", "developer")],
            tools=[tool["function"]["name"] for tool in body.get("tools") or []],
            results=trailing_results(messages) if last["role"] == "tool" else [],
            images=[image for message in messages for image in images_of(message.get("content"))],
            has_format=(body.get("response_format") or {}).get("type") in ("json_schema", "json_object"),
            forced_tool=choice["function"]["name"] if isinstance(choice, dict) else None,
            thinks=body.get("reasoning_effort") not in (None, "none"),
            stop_sequences=[body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or [],
            include_usage=(body.get("stream_options") or {}).get("include_usage", False),
            answered=sum(message["role"] == "tool" for message in messages),
        )

    def answer(self, script: Script, asked: Asked):
        text = "".join(block.whole for block in script.blocks if isinstance(block, Text))
        calls = [call_of(block) for block in script.blocks if isinstance(block, ToolCall)]
        message = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
        if calls:
            message["tool_calls"] = calls
        if annotations := annotations_of(script):
            message["annotations"] = annotations
        if reasoning := self.reasoning(script):
            message["reasoning_content"] = reasoning
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish(script)}
        return {
            "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
            "object": "chat.completion",
            "created": 1741570283,
            "model": f"{asked.model}-2026-08-07",
            "choices": [choice],
            "usage": usage_of(script.usage),
            "service_tier": "default",
            "system_fingerprint": "fp_fc9f1d7035",
        }

    def reasoning(self, script):
        if not self.is_compatible:
            return None
        return "".join(block.text for block in script.blocks if isinstance(block, Thinking))

    def events(self, script: Script, asked: Asked):
        """The stream, event by event."""
        for delta in self.deltas(script):
            yield self.chunk(asked, [choice_of(delta)])
        last = choice_of({}, finish(script))
        if self.is_compatible:
            # Usage with the last choice, and no end marker.
            yield self.chunk(asked, [last], usage_of(script.usage))
            return
        yield self.chunk(asked, [last])
        if asked.include_usage:
            yield self.chunk(asked, [], usage_of(script.usage))
        yield b"data: [DONE]\n\n"

    def deltas(self, script):
        yield {"role": "assistant", "content": "", "refusal": None}
        if reasoning := self.reasoning(script):
            yield {"reasoning_content": reasoning}
        index = 0
        for block in script.blocks:
            if isinstance(block, Text):
                for piece in block.pieces:
                    yield {"content": piece}
            elif isinstance(block, ToolCall):
                yield from call_deltas(index, call_of(block))
                index += 1
        if annotations := annotations_of(script):
            yield {"annotations": annotations}

    def chunk(self, asked, choices, usage=None):
        chunk = {
            "id": "chatcmpl-DFnK",
            "object": "chat.completion.chunk",
            "created": 1772656915,
            "model": f"{asked.model}-2026-08-07",
            "service_tier": "default",
            "system_fingerprint": None,
            "choices": choices,
        }
        if usage or asked.include_usage:
            chunk["usage"] = usage
        if self.is_compatible:
            return b"data:" + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"
        chunk["obfuscation"] = "Hxo8P"
        return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"

    def error(self, status, message, refusal=None):
        kind, code = STATUS.get(status, ("server_error", None))
        param = refusal.param if refusal else None
        code = refusal.code if refusal else code
        return {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def error_event(self, message):
        error = {"error": {"message": message, "type": "server_error", "param": None, "code": None}}
        return b"data: " + json.dumps(error).encode() + b"\n\n"


def validate_part(part, role, where):
    kind = part.get("type")
    allowed = {"text", "image_url", "input_audio", "file"} if role == "user" else {"text", "refusal"}
    must(kind in allowed, f"Invalid value: '{kind}'.", where, "invalid_value")
    if kind == "text":
        must(isinstance(part.get("text"), str), "text must be a string", where)
    if kind == "image_url":
        url = part.get("image_url")
        must(isinstance(url, dict) and isinstance(url.get("url"), str), "Invalid image_url", where)
        known(url, {"url", "detail"}, f"{where}.image_url.")
        must(re.match(r"(https?://|data:image/\w+;base64,)", url["url"]), "Invalid image URL", where)


def validate_tool_order(messages):
    open_calls = []
    for message in messages:
        if message["role"] == "tool":
            must(
                message["tool_call_id"] in open_calls,
                "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                "messages",
            )
            open_calls.remove(message["tool_call_id"])
            continue
        must(
            not open_calls,
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {open_calls}",
            "messages",
        )
        open_calls = [call["id"] for call in message.get("tool_calls") or []]
    must(not open_calls, f"tool_call_ids did not have response messages: {open_calls}", "messages")


def validate_tools(body):
    tools = body.get("tools")
    must(tools is None or tools, "Invalid 'tools': [] is too short", "tools")
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.get(name) is not None:
            must(tools, f"'{name}' is only allowed when 'tools' are specified.", name)
    for tool in tools or []:
        known(tool, {"type", "function"}, "tools.")
        must(tool["type"] == "function", "Invalid tool type", "tools")
        known(tool["function"], {"name", "description", "parameters", "strict"}, "tools.function.")
        must(NAME.fullmatch(tool["function"]["name"]), "Invalid 'tools.function.name'", "tools")
        schema = tool["function"].get("parameters")
        must(schema is None or schema.get("type") == "object", "schema must be an object", "tools")
    effort = body.get("reasoning_effort")
    if tools and re.match(r"gpt-(5\.[4-9]|6)", body["model"]):
        must(effort == "none", "Function tools with reasoning_effort are not supported", "reasoning_effort")


def validate_settings(body):
    for name, (low, high) in {"temperature": (0, 2), "top_p": (0, 1)}.items():
        value = body.get(name)
        must(value is None or low <= value <= high, f"Invalid '{name}'", name)
        is_usual = value is None or value == 1 or not is_reasoning(body["model"])
        must(is_usual, f"Unsupported value: '{name}'", name, "unsupported_value")
    for name in ("max_tokens", "max_completion_tokens", "n"):
        value = body.get(name)
        must(value is None or type(value) is int and value >= 1, f"Invalid type for '{name}'", name)
    if is_reasoning(body["model"]):
        for name in ("max_tokens", "stop"):
            must(body.get(name) is None, f"Unsupported parameter: '{name}'", name, "unsupported_parameter")
    stop = body.get("stop")
    must(not isinstance(stop, list) or 1 <= len(stop) <= 4, "Invalid 'stop'", "stop")
    effort = body.get("reasoning_effort")
    must(effort is None or effort in EFFORTS, "Invalid 'reasoning_effort'", "reasoning_effort")
    must(effort in (None, "none") or is_reasoning(body["model"]) or "reasoner" in body["model"],
         "Unrecognized request argument supplied: reasoning_effort", "reasoning_effort")
    if body.get("stream_options") is not None:
        must(body.get("stream"), "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
             "stream_options")
        known(body["stream_options"], {"include_usage", "include_obfuscation"}, "stream_options.")
    must(body.get("metadata") is None or isinstance(body["metadata"], dict), "Invalid 'metadata'", "metadata")
    if (shape := body.get("response_format")) and shape.get("type") == "json_schema":
        must(NAME.fullmatch(shape["json_schema"].get("name") or ""), "Missing 'name'", "response_format")
        if shape["json_schema"].get("strict"):
            schema = shape["json_schema"].get("schema") or {}
            must(schema.get("additionalProperties") is False, "Invalid schema", "response_format")


def annotations_of(script):
    """What texts cite, by their places in the whole."""
    before, annotations = 0, []
    for block in script.blocks:
        if isinstance(block, Text):
            # An endless text cites nothing.
            length = len(block.whole) if isinstance(block.pieces, list) else 0
            if block.cites:
                place = {"start_index": before, "end_index": before + length, **PAGE}
                annotations.append({"type": "url_citation", "url_citation": place})
            before += length
    return annotations


def text_of(content):
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content or [] if part["type"] == "text")


def images_of(content):
    if not isinstance(content, list):
        return
    for part in content:
        if part["type"] == "image_url":
            yield from images_of_url(part["image_url"]["url"])


def images_of_url(url):
    head, _, data = url.partition(";base64,")
    if data:
        digest = hashlib.sha1(base64.b64decode(data, validate=True)).hexdigest()[:8]
        yield f"{head.removeprefix('data:')}:{digest}"
    else:
        yield url


def trailing_results(messages):
    start = max(at for at, message in enumerate(messages) if message["role"] != "tool")
    return [(m["tool_call_id"], text_of(m["content"])) for m in messages[start + 1 :]]


def call_of(block: ToolCall):
    arguments = json.dumps(block.arguments)
    return {"id": f"call_{block.key}", "type": "function", "function": {"name": block.name, "arguments": arguments}}


def call_deltas(index, call):
    arguments = call["function"]["arguments"]
    first = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
    yield {"tool_calls": [first]}
    for at in range(0, len(arguments), 6):
        piece = {"index": index, "function": {"arguments": arguments[at : at + 6]}}
        yield {"tool_calls": [piece]}


def choice_of(delta, finish_reason=None):
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def finish(script: Script):
    names = {"calls": "tool_calls", "length": "length", "refusal": "content_filter"}
    return names.get(script.stop, "stop")


def usage_of(usage: Usage):
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.written,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class Embeddings(Chat):
    """`POST /v1/embeddings`."""

    path = "/embeddings"

    def validate(self, body, headers):
        known(body, {"model", "input", "encoding_format", "dimensions", "user"})
        must(isinstance(body.get("model"), str), "you must provide a model parameter", "model")
        must(body.get("input"), "'$.input' is invalid.", "input")
        must(body.get("encoding_format") in (None, "float", "base64"), "Invalid format", "encoding_format")

    def read(self, body):
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        self_asked = Asked(body["model"], False, str(texts[0]), [], [], [], [], False, None, False, [])
        self_asked.body = body
        return self_asked

    def answer(self, script, asked):
        texts = asked.body["input"] if isinstance(asked.body["input"], list) else [asked.body["input"]]
        vectors = [vector(str(text), asked.body.get("dimensions") or 8) for text in texts]
        if asked.body.get("encoding_format") == "base64":
            vectors = [base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode() for v in vectors]
        data = [{"object": "embedding", "index": at, "embedding": v} for at, v in enumerate(vectors)]
        usage = {"prompt_tokens": 8, "total_tokens": 8}
        return {"object": "list", "data": data, "model": asked.model, "usage": usage}


def vector(text, dimensions):
    """Numbers that a float of four bytes holds exactly."""
    digest = hashlib.sha256(text.encode()).digest()
    return [(digest[at % 32] - 128) / 256 for at in range(dimensions)]
