"""Anthropic's messages: what they refuse, and how they answer."""

import base64
import binascii
import hashlib
import json
import re

from fake_openai import Refusal
from scenario import PAGE, Asked, Script, Text, Thinking, ToolCall, Usage, is_seal, seal

NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
ID = re.compile(r"[a-zA-Z0-9_-]+")
FIELDS = set(
    "model max_tokens messages system stop_sequences stream temperature top_p top_k thinking output_config "
    "tools tool_choice metadata service_tier speed cache_control container diagnostics inference_geo".split()
)
BETA_FIELDS = {"mcp_servers", "context_management", "fallbacks", "compaction", "thread"}
IMAGE_TYPES = {
    "image/png": b"\x89PNG",
    "image/jpeg": b"\xff\xd8",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
}
BLOCKS = {
    "text": {"text", "cache_control", "citations"},
    "image": {"source", "cache_control"},
    "document": {"source", "title", "context", "citations", "cache_control"},
    "tool_use": {"id", "name", "input", "cache_control", "caller"},
    "tool_result": {"tool_use_id", "content", "is_error", "cache_control"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
}
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def must(condition, message):
    if not condition:
        raise Refusal(message)


def known(fields, allowed, where=""):
    for name in fields:
        must(name in allowed, f"{where}{name}: Extra inputs are not permitted")


def is_modern(model):
    """Whether a model thinks as it likes, and takes no sampling, no prefill and no forced tool."""
    return "-5-5" in model


class Messages:
    """`POST /v1/messages`."""

    path = "/messages"
    event_stream = "text/event-stream; charset=utf-8"

    def validate(self, body, headers):
        must(headers.get("anthropic-version") in ("2023-06-01", "2026-10-21"),
             "anthropic-version: header is required")
        must(isinstance(body, dict), "The request body is not valid JSON")
        known(body, FIELDS | (BETA_FIELDS if headers.get("anthropic-beta") else set()))
        must(isinstance(body.get("model"), str), "model: Field required")
        must("max_tokens" in body, "max_tokens: Field required")
        limit = 64_000 if "sonnet-4-5" in body["model"] else 128_000
        tokens = body["max_tokens"]
        must(type(tokens) is int and tokens >= 1, "max_tokens: Input should be a valid integer")
        must(tokens <= limit, f"max_tokens: {tokens} > {limit}, which is the maximum allowed number")
        validate_system(body.get("system"))
        must(isinstance(body.get("messages"), list), "messages: Field required")
        validate_messages(body)
        validate_tools(body)
        validate_thinking(body)
        validate_settings(body, headers)

    def read(self, body):
        messages = [(m["role"], blocks_of(m["content"])) for m in body["messages"]]
        texts = [text_of(blocks) for role, blocks in messages if role == "user" and text_of(blocks)]
        choice = body.get("tool_choice") or {}
        last = [block for block in messages[-1][1] if block["type"] == "tool_result"]
        return Asked(
            model=body["model"],
            stream=bool(body.get("stream")),
            text=texts[-1] if texts else "",
            system=[block["text"] for block in blocks_of(body.get("system") or [])],
            tools=[tool["name"] for tool in body.get("tools") or []],
            results=[(result["tool_use_id"], result_text(result)) for result in last],
            images=[image for _, blocks in messages for image in images_of(blocks)],
            has_format="format" in (body.get("output_config") or {}),
            forced_tool=choice.get("name"),
            thinks=(body.get("thinking") or {}).get("type") in ("enabled", "adaptive"),
            stop_sequences=body.get("stop_sequences") or [],
            proofs=[block["signature"] for _, blocks in messages for block in blocks if block["type"] == "thinking"],
            answered=sum(block["type"] == "tool_result" for _, blocks in messages for block in blocks),
        )

    def answer(self, script: Script, asked: Asked):
        return {
            "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
            "type": "message",
            "role": "assistant",
            "model": asked.model,
            "content": [block for block in map(block_of, script.blocks)],
            "stop_reason": stop_reason(script),
            "stop_sequence": script.stop_sequence,
            "stop_details": stop_details(script),
            "container": None,
            "usage": {
                **usage_of(script.usage),
                "output_tokens": script.usage.output,
                "output_tokens_details": {"thinking_tokens": script.usage.reasoning},
                "server_tool_use": None,
                "service_tier": "standard",
            },
        }

    def events(self, script: Script, asked: Asked):
        """The stream, event by event."""
        start = self.answer(Script(usage=script.usage), asked)
        start.update(content=[], stop_reason=None, stop_details=None)
        start["usage"]["output_tokens"] = 1
        yield event("message_start", message=start)
        yield event("ping")
        for index, block in enumerate(script.blocks):
            yield event("content_block_start", index=index, content_block=empty(block))
            for delta in deltas(block):
                yield event("content_block_delta", index=index, delta=delta)
            yield event("content_block_stop", index=index)
        delta = {
            "stop_reason": stop_reason(script),
            "stop_sequence": script.stop_sequence,
            "stop_details": stop_details(script),
        }
        usage = {**usage_of(script.usage), "output_tokens": script.usage.output,
                 "output_tokens_details": {"thinking_tokens": script.usage.reasoning}}
        yield event("message_delta", delta=delta, usage=usage)
        yield event("message_stop")

    def error(self, status, message, refusal=None):
        error = {"type": TYPES.get(status, "api_error"), "message": message, "details": None}
        return {"type": "error", "error": error, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}

    def error_event(self, message):
        return event("error", error={"type": "overloaded_error", "message": message})


def event(kind, **fields):
    # Anthropic pads its events with spaces against length analysis.
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"), ensure_ascii=False) + "   "
    return f"event: {kind}\ndata: {data}\n\n".encode()


def validate_system(system):
    must(system is None or isinstance(system, (str, list)), "system: Input should be a valid string")
    for at, block in enumerate(system if isinstance(system, list) else []):
        known(block, {"type", "text", "cache_control", "citations"}, f"system.{at}.")
        must(block["text"].strip(), "system: text content blocks must be non-empty")


def validate_messages(body):
    messages = body["messages"]
    must(messages, "messages: at least one message is required")
    must(all(isinstance(message, dict) for message in messages), "messages.0: Input should be an object")
    must(messages[0].get("role") == "user", 'messages: first message must use the "user" role')
    for at, message in enumerate(messages):
        known(message, {"role", "content"}, f"messages.{at}.")
        role = message.get("role")
        must(role in ("user", "assistant"), f"messages.{at}.role: '{role}' is not supported on this model")
        if at:
            must(messages[at - 1]["role"] != role, "messages: roles must alternate between user and assistant")
        validate_content(message, at)
    validate_tool_order(messages)
    if messages[-1]["role"] == "assistant":
        must(not is_modern(body["model"]), "This model does not support assistant message prefill.")
    marks = json.dumps([messages, body.get("system"), body.get("tools")]).count('"cache_control": {')
    must(marks <= 4, "A maximum of 4 blocks with cache_control may be provided.")


def validate_content(message, at):
    where = f"messages.{at}.content"
    content = message.get("content")
    must(isinstance(content, (str, list)), f"{where}: Input should be a valid list")
    must(content, f"{where}: content must be non-empty")
    for index, block in enumerate(blocks_of(content)):
        validate_block(block, message["role"], f"{where}.{index}")


def validate_block(block, role, where):
    must(isinstance(block, dict), f"{where}: Input should be an object")
    kind = block.get("type")
    must(kind in BLOCKS, f"{where}: Input tag '{kind}' does not match any of the expected tags")
    known(block, BLOCKS[kind] | {"type"}, f"{where}.{kind}.")
    of_role = {"tool_use": "assistant", "thinking": "assistant", "tool_result": "user", "image": "user"}
    must(of_role.get(kind, role) == role, f"{where}: `{kind}` blocks are not allowed in {role} messages")
    if kind == "text":
        must(isinstance(block.get("text"), str) and block["text"].strip(),
             "messages: text content blocks must be non-empty")
    elif kind == "image":
        validate_image(block["source"], where)
    elif kind == "tool_use":
        must(ID.fullmatch(block.get("id") or ""), f"{where}.id: String should match pattern")
        must(NAME.fullmatch(block.get("name") or ""), f"{where}.name: String should match pattern")
        must(isinstance(block.get("input"), dict), f"{where}.input: Input should be a valid dictionary")
    elif kind == "thinking":
        must(is_seal("anthropic", block.get("signature")), f"{where}: Invalid `signature` in `thinking` block")
    elif kind == "tool_result":
        for part in blocks_of(block.get("content") or []):
            must(part["type"] in ("text", "image", "document", "search_result"), f"{where}: invalid content")


def validate_image(source, where):
    if source.get("type") == "url":
        must(source["url"].startswith("https://"), f"{where}: Only HTTPS URLs are supported.")
        return
    must(source.get("type") == "base64", f"{where}.source: invalid")
    must(source.get("media_type") in IMAGE_TYPES, f"{where}.source.media_type: Input should be 'image/jpeg', …")
    try:
        data = base64.b64decode(source["data"], validate=True)
    except binascii.Error:
        raise Refusal(f"{where}.source.data: invalid base64") from None
    must(data.startswith(IMAGE_TYPES[source["media_type"]]), "Image does not match the provided media type")


def validate_tool_order(messages):
    expected = []
    for at, message in enumerate(messages):
        blocks = blocks_of(message["content"])
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        kinds = [block["type"] for block in blocks]
        must(kinds[: len(results)] == ["tool_result"] * len(results), "tool_result blocks must come first")
        must(len(set(results)) == len(results), "each tool_use must have a single result")
        for result in results:
            must(result in expected, f"messages.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {result}")
        missing = [call for call in expected if call not in results]
        must(not missing, f"messages.{at - 1}: `tool_use` ids were found without `tool_result` blocks "
             f"immediately after: {', '.join(missing)}.")
        expected = [block["id"] for block in blocks if block["type"] == "tool_use"]
    must(not expected, f"`tool_use` ids were found without `tool_result` blocks immediately after: {expected}")


def validate_tools(body):
    tools = body.get("tools") or []
    for at, tool in enumerate(tools):
        known(tool, {"name", "description", "input_schema", "strict", "cache_control", "type", "defer_loading",
                     "eager_input_streaming", "input_examples", "allowed_callers"}, f"tools.{at}.custom.")
        must(NAME.fullmatch(tool.get("name") or ""), f"tools.{at}.custom.name: String should match pattern")
        must((tool.get("input_schema") or {}).get("type") == "object", f"tools.{at}.custom.input_schema.type: Field required")
    names = [tool["name"] for tool in tools]
    must(len(set(names)) == len(names), "tools: Tool names must be unique.")
    uses_tools = any(b["type"] == "tool_use" for m in body["messages"] for b in blocks_of(m["content"]))
    must(tools or not uses_tools, "Requests which have `tool_use` blocks must define tools")
    choice = body.get("tool_choice")
    if choice is None:
        return
    must(tools, "tool_choice may only be specified while providing tools")
    must(choice.get("type") in ("auto", "any", "tool", "none"), "tool_choice.type: invalid")
    known(choice, {"type", "name", "disable_parallel_tool_use"}, "tool_choice.")
    must("disable_parallel_tool_use" not in choice or choice["type"] != "none", "tool_choice.none: Extra inputs")
    if choice["type"] in ("any", "tool"):
        must(not is_modern(body["model"]), "tool_choice: forced tool use is not supported on this model")
        thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
        must(not thinks, "Thinking may not be enabled when tool_choice forces tool use.")
    if choice["type"] == "tool":
        must(choice.get("name") in names, "tool_choice: unknown tool")


def validate_thinking(body):
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type")
    allowed = {"adaptive"} if is_modern(body["model"]) else {"enabled", "disabled"}
    must(kind in allowed, f'"thinking.type.{kind}" is not supported for this model.')
    known(thinking, {"type", "budget_tokens", "display"}, "thinking.")
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        must(type(budget) is int and budget >= 1024, "thinking.enabled.budget_tokens: Input should be >= 1024")
        must(budget < body["max_tokens"], "`max_tokens` must be greater than `thinking.budget_tokens`.")
        must(body.get("temperature") in (None, 1), "`temperature` may only be set to 1 when thinking is enabled.")
        validate_thoughts_of_calls(body["messages"])


def validate_thoughts_of_calls(messages):
    """What called a tool and waits for the result has to begin with what it thought."""
    if not any(block["type"] == "tool_result" for block in blocks_of(messages[-1]["content"])):
        return
    kind = blocks_of(messages[-2]["content"])[0]["type"]
    must(kind in ("thinking", "redacted_thinking"),
         f"messages.{len(messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{kind}`")


def validate_settings(body, headers):
    sampling = [name for name in ("temperature", "top_p", "top_k") if body.get(name) is not None]
    if headers.get("anthropic-version") == "2026-10-21" or is_modern(body["model"]):
        must(not sampling, f"{sampling[:1]}: Extra inputs are not permitted")
    must(len({"temperature", "top_p"} & set(sampling)) < 2,
         "`temperature` and `top_p` cannot both be specified for this model.")
    temperature = body.get("temperature")
    must(temperature is None or 0 <= temperature <= 1, "temperature: range: 0..1")
    for text in body.get("stop_sequences") or []:
        must(text.strip(), "stop_sequences: each stop sequence must contain non-whitespace")
    known(body.get("metadata") or {}, {"user_id"}, "metadata.")
    config = body.get("output_config") or {}
    known(config, {"effort", "format", "task_budget"}, "output_config.")
    if shape := config.get("format"):
        known(shape, {"type", "schema"}, "output_config.format.")
        must(shape.get("type") == "json_schema", "output_config.format.type: invalid")
        validate_schema(shape["schema"])


def validate_schema(schema):
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object":
        must(schema.get("additionalProperties") is False,
             "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly false")
    for keyword in ("minimum", "maximum", "minLength", "maxLength", "multipleOf"):
        must(keyword not in schema, f"output_config.format.schema: property '{keyword}' is not supported")
    for child in (schema.get("properties") or {}).values():
        validate_schema(child)
    validate_schema(schema.get("items"))


def blocks_of(content):
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def text_of(blocks):
    return "".join(block["text"] for block in blocks if block["type"] == "text")


def result_text(result):
    text = text_of(blocks_of(result.get("content") or []))
    return f"failed: {text}" if result.get("is_error") else text


def images_of(blocks):
    for block in blocks:
        if block["type"] == "image":
            source = block["source"]
            if source["type"] == "url":
                yield source["url"]
            else:
                digest = hashlib.sha1(base64.b64decode(source["data"])).hexdigest()[:8]
                yield f"{source['media_type']}:{digest}"


def block_of(block):
    match block:
        case Text():
            return {"type": "text", "text": block.whole, "citations": [citation()] if block.cites else None}
        case Thinking():
            return {"type": "thinking", "thinking": block.text, "signature": seal("anthropic", block.turn)}
        case ToolCall():
            return {"type": "tool_use", "id": f"toolu_{block.key}", "name": block.name, "input": block.arguments}


def citation():
    return {
        "type": "web_search_result_location",
        "cited_text": "It is sunny.",
        "encrypted_index": "Eo8BCioIAhgB",
        **PAGE,
    }


def empty(block):
    match block:
        case Text():
            return {"type": "text", "text": ""}
        case Thinking():
            return {"type": "thinking", "thinking": "", "signature": ""}
        case ToolCall():
            return {**block_of(block), "input": {}}


def deltas(block):
    match block:
        case Text():
            if block.cites:
                yield {"type": "citations_delta", "citation": citation()}
            for piece in block.pieces:
                yield {"type": "text_delta", "text": piece}
        case Thinking():
            for at in range(0, len(block.text), 10):
                yield {"type": "thinking_delta", "thinking": block.text[at : at + 10]}
            yield {"type": "signature_delta", "signature": seal("anthropic", block.turn)}
        case ToolCall():
            yield {"type": "input_json_delta", "partial_json": ""}
            text = json.dumps(block.arguments) if block.arguments else ""
            for at in range(0, len(text), 6):
                yield {"type": "input_json_delta", "partial_json": text[at : at + 6]}


def stop_reason(script: Script):
    names = {"calls": "tool_use", "length": "max_tokens", "refusal": "refusal", "sequence": "stop_sequence"}
    return names.get(script.stop, "end_turn")


def stop_details(script: Script):
    if script.stop != "refusal":
        return None
    return {"type": "refusal", "category": "cyber", "explanation": "This is not for me."}


def usage_of(usage: Usage):
    return {
        "input_tokens": usage.prompt - usage.cached - usage.written,
        "cache_creation_input_tokens": usage.written,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": usage.written, "ephemeral_1h_input_tokens": 0},
    }
