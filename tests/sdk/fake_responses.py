"""OpenAI's responses: what they refuse, and how they answer."""

import json
import re

import fake_openai
from fake_openai import EFFORTS, NAME, images_of_url, is_reasoning, known, must
from scenario import Asked, Script, Text, Thinking, ToolCall, Usage, is_seal, seal

FIELDS = set(
    "model input instructions max_output_tokens temperature top_p top_logprobs tools tool_choice "
    "parallel_tool_calls max_tool_calls text reasoning include stream stream_options store background "
    "previous_response_id conversation truncation context_management metadata user safety_identifier "
    "prompt_cache_key prompt_cache_options prompt_cache_retention service_tier prompt moderation".split()
)
ITEMS = {
    "message": {"role", "content", "id", "status", "phase"},
    "function_call": {"id", "call_id", "name", "namespace", "arguments", "status"},
    "function_call_output": {"id", "call_id", "output", "status"},
    "custom_tool_call": {"id", "call_id", "name", "input", "status"},
    "custom_tool_call_output": {"id", "call_id", "output"},
    "reasoning": {"id", "summary", "content", "encrypted_content", "status"},
}
PARTS = {
    "input_text": {"text"},
    "input_image": {"image_url", "file_id", "detail"},
    "input_file": {"filename", "file_data", "file_id", "file_url", "detail"},
    "output_text": {"text", "annotations", "logprobs"},
    "refusal": {"refusal"},
}
INCLUDE = {
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
    "message.input_image.image_url",
    "file_search_call.results",
    "web_search_call.results",
}


class Responses:
    """`POST /v1/responses`."""

    path = "/responses"
    event_stream = "text/event-stream; charset=utf-8"

    def validate(self, body, headers):
        must(isinstance(body, dict), "We could not parse the JSON body of your request.")
        known(body, FIELDS)
        must(isinstance(body.get("model"), str), "Missing required parameter: 'model'.", "model")
        previous = body.get("previous_response_id")
        must(previous is None, f"Previous response with id '{previous}' not found.", "previous_response_id",
             "previous_response_not_found")
        given = body.get("input")
        must(isinstance(given, (str, list)) and given, "Missing required parameter: 'input'.", "input")
        items = items_of(body)
        for at, item in enumerate(items):
            validate_item(item, f"input[{at}]")
        validate_calls(items)
        validate_thoughts(items, body)
        validate_tools(body)
        validate_settings(body)

    def read(self, body):
        items = items_of(body)
        spoken = [item for item in items if item["type"] == "message"]
        choice = body.get("tool_choice")
        shape = ((body.get("text") or {}).get("format") or {}).get("type")
        reasoning = body.get("reasoning") or {}
        asked = Asked(
            model=body["model"],
            stream=bool(body.get("stream")),
            text=next((text_of(m["content"]) for m in reversed(spoken) if m["role"] == "user"), ""),
            system=[*filter(None, [body.get("instructions")])]
            + [text_of(m["content"]) for m in spoken if m["role"] in ("system", "developer")],
            tools=[tool["name"] for tool in body.get("tools") or []],
            results=trailing_results(items),
            images=[image for message in spoken for image in images_of(message["content"])],
            has_format=shape in ("json_schema", "json_object"),
            forced_tool=choice.get("name") if isinstance(choice, dict) else None,
            thinks=is_reasoning(body["model"]) and reasoning.get("effort") != "none",
            stop_sequences=[],
            proofs=[i["encrypted_content"] for i in items if i["type"] == "reasoning"],
            answered=sum(item["type"] == "function_call_output" for item in items),
        )
        asked.body = body
        return asked

    def answer(self, script: Script, asked: Asked):
        return response(asked, script, output(script, asked))

    def events(self, script: Script, asked: Asked):
        """The stream, event by event."""
        for number, (kind, fields) in enumerate(self.numbered(script, asked)):
            event = {"type": kind, "sequence_number": number, **fields}
            yield f"event: {kind}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode()

    def numbered(self, script, asked):
        begun = {**response(asked, script, []), "status": "in_progress", "usage": None, "incomplete_details": None}
        yield "response.created", {"response": begun}
        yield "response.in_progress", {"response": begun}
        for index, block in enumerate(script.blocks):
            # A text without an end is never whole.
            item = item_of(Text("") if isinstance(block, Text) else block, asked, script, index)
            yield from item_events(block, item, index)
        whole = self.answer(script, asked)
        yield f"response.{whole['status']}", {"response": whole}

    error = fake_openai.Chat.error

    def error_event(self, message):
        error = {"type": "error", "sequence_number": 99, "code": "server_error", "message": message, "param": None}
        return f"event: error\ndata: {json.dumps(error)}\n\n".encode()


def items_of(body):
    """The items of the input, each with its type."""
    if isinstance(body["input"], str):
        return [{"type": "message", "role": "user", "content": body["input"]}]
    items = body["input"]
    must(all(isinstance(item, dict) for item in items), "Invalid type for 'input[0]'.", "input")
    return [{**item, "type": item.get("type") or ("message" if "role" in item else None)} for item in items]


def validate_item(item, where):
    kind = item["type"]
    must(kind in ITEMS, f"Invalid value: '{kind}'.", where, "invalid_value")
    known(item, ITEMS[kind] | {"type"}, f"{where}.")
    if kind == "message":
        validate_message(item, where)
    elif kind in ("function_call", "custom_tool_call"):
        must(NAME.fullmatch(item.get("name") or ""), f"Invalid '{where}.name'", f"{where}.name")
        text = item.get("arguments" if kind == "function_call" else "input")
        must(isinstance(text, str), f"Missing required parameter: '{where}.arguments'.", where)
        must(kind != "function_call" or isinstance(json.loads(text), dict), "arguments must be an object", where)
        must((item.get("id") or "fc_").startswith(("fc_", "ctc_")),
             f"Invalid '{where}.id': '{item.get('id')}'. Expected an ID that begins with 'fc'.", f"{where}.id")
    if "call_id" in ITEMS[kind]:
        identity = item.get("call_id")
        must(isinstance(identity, str) and 1 <= len(identity) <= 64, f"Invalid '{where}.call_id'", where)
    if kind.endswith("_output"):
        must(isinstance(item.get("output"), (str, list)), f"Missing required parameter: '{where}.output'.", where)
        for part in item["output"] if isinstance(item["output"], list) else []:
            must(part.get("type", "").startswith("input_"), f"Invalid value: '{part.get('type')}'.", where)
            known(part, PARTS[part["type"]] | {"type"}, f"{where}.output.")


def validate_message(item, where):
    role, content = item.get("role"), item.get("content")
    must(role in ("user", "assistant", "system", "developer"), f"Invalid value: '{role}'.", f"{where}.role")
    must(isinstance(content, (str, list)), f"Missing required parameter: '{where}.content'.", where)
    must(content or isinstance(content, str), f"Invalid '{where}.content': empty array.", where)
    must((item.get("id") or "msg_").startswith("msg_"), f"Invalid '{where}.id'.", f"{where}.id")
    wanted = ("output_text", "refusal") if role == "assistant" else ("input_text", "input_image", "input_file")
    for part in content if isinstance(content, list) else []:
        kind = part.get("type")
        must(kind in wanted, f"Invalid value: '{kind}'. Supported values are: {wanted}.", where, "invalid_value")
        known(part, PARTS[kind] | {"type"}, f"{where}.content.")
        if kind == "input_image":
            url = part.get("image_url") or ""
            must(re.match(r"(https?://|data:image/\w+;base64,)", url), "Invalid image URL", where, "invalid_value")


def validate_calls(items):
    open_calls = []
    for item in items:
        if item["type"] in ("function_call", "custom_tool_call"):
            open_calls.append(item["call_id"])
        elif item["type"].endswith("_output"):
            must(item["call_id"] in open_calls,
                 f"No tool call found for function call output with call_id {item['call_id']}.", "input")
            open_calls.remove(item["call_id"])
    must(not open_calls, f"No tool output found for function call {open_calls[:1]}.", "input")


def validate_thoughts(items, body):
    """Thoughts go together with what they led to, and are proven where nothing is stored."""
    for at, item in enumerate(items):
        before = items[at - 1] if at else {}
        if item["type"] != "reasoning":
            # The ids of what was thought about say so.
            needed = re.search(r"_after_(rs_\d+)$", item.get("id") or "")
            must(not needed or needed[1] in [other.get("id") for other in items[:at]],
                 f"Item '{item.get('id')}' of type '{item['type']}' was provided without its required 'reasoning' "
                 f"item: '{needed and needed[1]}'.", "input")
            continue
        must(isinstance(item.get("summary"), list), f"Missing required parameter: 'input[{at}].summary'.", "input")
        must(re.fullmatch(r"rs_\d+", item.get("id") or ""), f"Invalid 'input[{at}].id'", f"input[{at}].id")
        must(before.get("type") != "reasoning", f"Item '{before.get('id')}' of type 'reasoning' was provided without "
             "its required following item.", "input")
        after = items[at + 1] if at + 1 < len(items) else {}
        follows = after.get("type") in ("function_call", "custom_tool_call") or after.get("role") == "assistant"
        must(follows, f"Item '{item['id']}' of type 'reasoning' was provided without its required following item.",
             "input")
        proof = item.get("encrypted_content")
        must(proof or body.get("store") is not False,
             f"Item with id '{item['id']}' not found. Items are not persisted when `store` is set to false.", "input")
        turn = item["id"].removeprefix("rs_")
        must(is_seal("openai", proof) and proof == seal("openai", int(turn)),
             f"The encrypted content for item {item['id']} could not be verified.", "input", "invalid_encrypted_content")


def validate_tools(body):
    tools = body.get("tools") or []
    for at, tool in enumerate(tools):
        must(tool.get("type") in ("function", "custom"), f"Invalid value: '{tool.get('type')}'.", f"tools[{at}].type")
        allowed = {"parameters", "strict"} if tool["type"] == "function" else {"format"}
        known(tool, {"type", "name", "description"} | allowed, f"tools[{at}].")
        must(NAME.fullmatch(tool.get("name") or ""), f"Invalid 'tools[{at}].name'", f"tools[{at}].name")
        if tool["type"] == "function":
            schema = tool.get("parameters")
            must(schema is None or schema.get("type") == "object", "schema must be an object", f"tools[{at}].parameters")
            if tool.get("strict") is True:
                validate_schema(schema, f"Invalid schema for function '{tool['name']}'")
    choice = body.get("tool_choice")
    must(choice in (None, "auto", "none") or tools, "Tool choice must be specified with tools.", "tool_choice")
    if isinstance(choice, dict):
        known(choice, {"type", "name", "mode", "tools"}, "tool_choice.")
        must(choice["type"] == "allowed_tools" or choice.get("name") in [tool["name"] for tool in tools],
             f"Tool choice '{choice}' not found in 'tools' parameter.", "tool_choice")
    else:
        must(choice in (None, "auto", "none", "required"), f"Invalid value: '{choice}'.", "tool_choice")


def validate_schema(schema, where):
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object":
        must(schema.get("additionalProperties") is False,
             f"{where}: 'additionalProperties' is required to be supplied and to be false.", "schema",
             "invalid_json_schema")
        must(set(schema.get("required") or []) == set(schema.get("properties") or {}),
             f"{where}: 'required' is required to be supplied and to be an array including every key", "schema",
             "invalid_json_schema")
    for child in (schema.get("properties") or {}).values():
        validate_schema(child, where)
    validate_schema(schema.get("items"), where)


def validate_settings(body):
    for name, (low, high) in {"temperature": (0, 2), "top_p": (0, 1)}.items():
        value = body.get(name)
        must(value is None or low <= value <= high, f"Invalid '{name}'", name)
        must(value is None or not is_reasoning(body["model"]),
             f"Unsupported parameter: '{name}' is not supported with this model.", name, "unsupported_parameter")
    most = body.get("max_output_tokens")
    must(most is None or type(most) is int and most >= 16,
         f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {most}.",
         "max_output_tokens", "integer_below_min_value")
    reasoning = body.get("reasoning")
    if reasoning is not None:
        known(reasoning, {"effort", "summary", "context", "mode", "generate_summary"}, "reasoning.")
        must(is_reasoning(body["model"]), "Unsupported parameter: 'reasoning'", "reasoning", "unsupported_parameter")
        must(reasoning.get("effort") in {None, *EFFORTS}, "Invalid 'reasoning.effort'", "reasoning.effort")
        must(reasoning.get("summary") in (None, "auto", "concise", "detailed"), "Invalid summary", "reasoning.summary")
    for name in body.get("include") or []:
        must(name in INCLUDE, f"Invalid value: '{name}'.", "include", "invalid_value")
        must(is_reasoning(body["model"]) or name != "reasoning.encrypted_content",
             "Encrypted content is not supported with this model.", "include")
    text = body.get("text") or {}
    known(text, {"format", "verbosity"}, "text.")
    if shape := text.get("format"):
        must(shape.get("type") in ("text", "json_object", "json_schema"), "Invalid value", "text.format.type")
        if shape["type"] == "json_schema":
            known(shape, {"type", "name", "description", "schema", "strict"}, "text.format.")
            must(NAME.fullmatch(shape.get("name") or ""), "Missing required parameter: 'text.format.name'.", "text")
            if shape.get("strict") is not False:
                validate_schema(shape.get("schema"), f"Invalid schema for response_format '{shape['name']}'")
    if body.get("stream_options") is not None:
        must(body.get("stream"), "'stream_options' is only allowed when 'stream' is enabled.", "stream_options")
        known(body["stream_options"], {"include_obfuscation"}, "stream_options.")
    must(body.get("metadata") is None or isinstance(body["metadata"], dict), "Invalid 'metadata'", "metadata")


def text_of(content):
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] in ("input_text", "output_text"))


def images_of(content):
    for part in content if isinstance(content, list) else []:
        if part["type"] == "input_image":
            yield from images_of_url(part["image_url"])


def trailing_results(items):
    results = []
    for item in reversed(items):
        if not item["type"].endswith("_output"):
            break
        results.insert(0, (item["call_id"], text_of(item["output"])))
    return results


def output(script: Script, asked: Asked):
    return [item_of(block, asked, script, at) for at, block in enumerate(script.blocks)]


def item_of(block, asked, script, at):
    """An item of the answer; the ids of what follows thoughts name them."""
    thoughts = [other for other in script.blocks[:at] if isinstance(other, Thinking)]
    suffix = f"_after_rs_{thoughts[-1].turn}" if thoughts else ""
    match block:
        case Text():
            status = "incomplete" if script.stop in ("length", "refusal") else "completed"
            part = {"type": "output_text", "text": block.whole, "annotations": [], "logprobs": []}
            return {"id": f"msg_{at}{suffix}", "type": "message", "status": status, "role": "assistant",
                    "content": [part]}
        case Thinking():
            wants_summary = (asked.body.get("reasoning") or {}).get("summary")
            summary = [{"type": "summary_text", "text": block.text}] if wants_summary else []
            item = {"id": f"rs_{block.turn}", "type": "reasoning", "summary": summary}
            if "reasoning.encrypted_content" in (asked.body.get("include") or []):
                item["encrypted_content"] = seal("openai", block.turn)
            return item
        case ToolCall():
            return {"id": f"fc_{block.key}{suffix}", "type": "function_call", "status": "completed",
                    "call_id": f"call_{block.key}", "name": block.name, "arguments": json.dumps(block.arguments)}


def item_events(block, item, index):
    place = {"item_id": item["id"], "output_index": index}
    added = {**item, "status": "in_progress"}
    match block:
        case Text():
            yield "response.output_item.added", {"output_index": index, "item": {**added, "content": []}}
            place["content_index"] = 0
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            yield "response.content_part.added", {**place, "part": part}
            said = ""
            for piece in block.pieces:
                said += piece
                delta = {"delta": piece, "logprobs": [], "obfuscation": "aW9x"}
                yield "response.output_text.delta", {**place, **delta}
            yield "response.output_text.done", {**place, "text": said, "logprobs": []}
            item["content"] = [{**part, "text": said}]
            yield "response.content_part.done", {**place, "part": item["content"][0]}
        case Thinking():
            yield "response.output_item.added", {"output_index": index, "item": {**item, "summary": []}}
            for part in item["summary"]:
                yield from summary_events({**place, "summary_index": 0}, part["text"])
        case ToolCall():
            yield "response.output_item.added", {"output_index": index, "item": {**added, "arguments": ""}}
            for at in range(0, len(item["arguments"]), 6):
                yield "response.function_call_arguments.delta", {**place, "delta": item["arguments"][at : at + 6]}
            yield "response.function_call_arguments.done", {**place, "arguments": item["arguments"]}
    yield "response.output_item.done", {"output_index": index, "item": item}


def summary_events(place, text):
    part = {"type": "summary_text", "text": ""}
    yield "response.reasoning_summary_part.added", {**place, "part": part}
    for at in range(0, len(text), 10):
        yield "response.reasoning_summary_text.delta", {**place, "delta": text[at : at + 10]}
    yield "response.reasoning_summary_text.done", {**place, "text": text}
    yield "response.reasoning_summary_part.done", {**place, "part": {**part, "text": text}}


def response(asked, script, items):
    reasons = {"length": "max_output_tokens", "refusal": "content_filter"}
    reason = reasons.get(script.stop)
    body = asked.body
    return {
        "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
        "object": "response",
        "created_at": 1741476542,
        "status": "incomplete" if reason else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": f"{asked.model}-2026-08-07",
        "output": items,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "medium", "summary": None},
        "service_tier": "default",
        "store": body.get("store", True),
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": body.get("tools") or [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage_of(script.usage),
        "user": None,
        "metadata": {},
    }


def usage_of(usage: Usage):
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.written},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.output,
    }
