"""Gemini's generateContent: what it refuses, and how it answers."""

import base64
import binascii
import hashlib
import json
import re

from fake_openai import Refusal
from scenario import Asked, Script, Text, Thinking, ToolCall, Usage, is_seal, seal

PATH = re.compile(r"/v1(?:beta)?/models/([^/:]+):(generateContent|streamGenerateContent)(\?alt=sse)?")
NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
NO_SIGNATURE = base64.b64encode(b"skip_thought_signature_validator").decode()
FIELDS = set("contents systemInstruction tools toolConfig safetySettings generationConfig cachedContent serviceTier store".split())
CONFIG = set(
    "temperature topP topK candidateCount maxOutputTokens stopSequences seed presencePenalty frequencyPenalty "
    "responseLogprobs logprobs responseMimeType responseSchema responseJsonSchema responseModalities thinkingConfig "
    "mediaResolution speechConfig imageConfig".split()
)
# A part has one of these, and some of those.
DATA = {
    "text": None,
    "inlineData": {"mimeType", "data", "displayName"},
    "fileData": {"mimeType", "fileUri", "displayName"},
    "functionCall": {"id", "name", "args"},
    "functionResponse": {"id", "name", "response", "parts", "willContinue", "scheduling"},
}
MODIFIERS = {"thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"}
DECLARATION = {"name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior"}
OPENAPI = set(
    "type format title description nullable enum default example items minItems maxItems properties required "
    "minProperties maxProperties propertyOrdering anyOf minimum maximum minLength maxLength pattern "
    "additionalProperties".split()
)
JSON_SCHEMA = set(
    "$id $defs $ref $anchor type format title description enum items prefixItems minItems maxItems minimum maximum "
    "anyOf oneOf properties additionalProperties required propertyOrdering".split()
)
TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
MODES = {"AUTO", "ANY", "NONE", "VALIDATED"}
LEVELS = {"MINIMAL", "LOW", "MEDIUM", "HIGH"}
STATUS = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
GOOGLE = "type.googleapis.com/google.rpc."


def must(condition, message):
    if not condition:
        raise Refusal(message)


def known(fields, allowed, where=""):
    must(isinstance(fields, dict), f"Invalid value at '{where}'")
    for name in fields:
        at = f" at '{where}'" if where else ""
        must(name in allowed, f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.')


def is_third_generation(model):
    return model.startswith("gemini-3")


class GenerateContent:
    """`POST /v1beta/models/{model}:generateContent`, and the stream of it."""

    event_stream = "text/event-stream"

    def __init__(self, model, stream):
        self.model, self.stream = model, stream

    def validate(self, body, headers):
        must(isinstance(body, dict), "Invalid JSON payload received.")
        renamed = camel_case(body)
        body.clear()
        body.update(renamed)
        known(body, FIELDS)
        contents = body.get("contents")
        must(isinstance(contents, list) and contents, "* GenerateContentRequest.contents: contents is not specified")
        for at, content in enumerate(contents):
            validate_content(content, f"contents[{at}]")
        if (system := body.get("systemInstruction")) is not None:
            validate_content(system, "system_instruction")
            must(all("text" in part for part in system["parts"]), "system_instruction: only text is supported")
        validate_turns(contents)
        if is_third_generation(self.model):
            validate_signatures(contents)
        self.validate_tools(body)
        self.validate_config(body.get("generationConfig") or {})

    def validate_tools(self, body):
        tools = body.get("tools") or []
        names = []
        for at, tool in enumerate(tools):
            known(tool, {"functionDeclarations", "googleSearch", "codeExecution", "urlContext"}, f"tools[{at}]")
            for index, one in enumerate(tool.get("functionDeclarations") or []):
                where = f"tools[{at}].function_declarations[{index}]"
                known(one, DECLARATION, where)
                must(NAME.fullmatch(one.get("name") or ""), f"Invalid function name at {where}.name")
                must(not {"parameters", "parametersJsonSchema"} <= set(one), f"{where}: only one of the parameters")
                validate_openapi(one.get("parameters"), f"{where}.parameters")
                validate_json_schema(one.get("parametersJsonSchema"), f"{where}.parameters_json_schema")
                names.append(one["name"])
        must(len(set(names)) == len(names), "Duplicate function declaration found")
        config = (body.get("toolConfig") or {}).get("functionCallingConfig")
        known(body.get("toolConfig") or {}, {"functionCallingConfig", "retrievalConfig"}, "tool_config")
        if config is not None:
            known(config, {"mode", "allowedFunctionNames"}, "tool_config.function_calling_config")
            must(names, "Function calling config is set without function_declarations.")
            must(config.get("mode", "AUTO") in MODES, f"Invalid value at 'mode': {config.get('mode')}")
            allowed = config.get("allowedFunctionNames") or []
            must(not allowed or config["mode"] in ("ANY", "VALIDATED"), "allowed_function_names needs the mode ANY")
            must(set(allowed) <= set(names), "allowed_function_names should be a subset of the declarations")
        mime = (body.get("generationConfig") or {}).get("responseMimeType")
        must(not names or mime != "application/json" or is_third_generation(self.model),
             "Function calling with a response mime type: 'application/json' is unsupported")

    def validate_config(self, config):
        known(config, CONFIG, "generation_config")
        for name, most in {"temperature": 2, "topP": 1}.items():
            must(0 <= config.get(name, 1) <= most, f"* GenerateContentRequest.generation_config.{name}: out of range")
        must(type(config.get("maxOutputTokens", 1)) is int and 1 <= config.get("maxOutputTokens", 1) <= 65_536,
             "max_output_tokens must be in the range 1 to 65537")
        must(len(config.get("stopSequences") or []) <= 5, "stop_sequences: at most 5")
        must(config.get("candidateCount", 1) == 1, "Multiple candidates is not enabled for this model")
        has_schema = {"responseSchema", "responseJsonSchema"} & set(config)
        must(len(has_schema) < 2, "only one of response_schema and response_json_schema")
        must(not has_schema or config.get("responseMimeType") in ("application/json", "text/x.enum"),
             "response_schema is set but response_mime_type is not application/json")
        validate_openapi(config.get("responseSchema"), "generation_config.response_schema")
        validate_json_schema(config.get("responseJsonSchema"), "generation_config.response_json_schema")
        thinking = config.get("thinkingConfig") or {}
        known(thinking, {"includeThoughts", "thinkingBudget", "thinkingLevel"}, "generation_config.thinking_config")
        must(not {"thinkingBudget", "thinkingLevel"} <= set(thinking),
             "You can only set only one of thinking budget and thinking level.")
        if "thinkingLevel" in thinking:
            must(is_third_generation(self.model), "Thinking level is not supported for this model.")
            must(thinking["thinkingLevel"] in LEVELS, "Invalid value at 'thinking_level'")
        budget = thinking.get("thinkingBudget", -1)
        must(type(budget) is int and -1 <= budget <= 32_768, "The thinking budget is invalid.")

    def read(self, body):
        contents = body["contents"]
        spoken = [text_of(c) for c in contents if c.get("role", "user") == "user" and text_of(c)]
        config = body.get("generationConfig") or {}
        allowed = ((body.get("toolConfig") or {}).get("functionCallingConfig") or {}).get("allowedFunctionNames") or []
        parts = [part for content in contents for part in content["parts"]]
        return Asked(
            model=self.model,
            stream=self.stream,
            text=spoken[-1] if spoken else "",
            system=[part["text"] for part in (body.get("systemInstruction") or {"parts": []})["parts"]],
            tools=[f["name"] for tool in body.get("tools") or [] for f in tool.get("functionDeclarations") or []],
            results=[(r["name"], result_text(r)) for r in of(contents[-1], "functionResponse")],
            images=[image_of(part["inlineData"]) for part in parts if "inlineData" in part]
            + [part["fileData"]["fileUri"] for part in parts if "fileData" in part],
            has_format=config.get("responseMimeType") == "application/json",
            forced_tool=allowed[0] if len(allowed) == 1 else None,
            thinks=bool((config.get("thinkingConfig") or {}).get("includeThoughts")),
            stop_sequences=config.get("stopSequences") or [],
            proofs=[part["thoughtSignature"] for part in parts if "thoughtSignature" in part],
            answered=sum("functionResponse" in part for part in parts),
        )

    def answer(self, script: Script, asked: Asked):
        parts = [part for at in range(len(script.blocks)) for part in self.parts_of(script.blocks, at)]
        return self.chunk(parts, usage_of(script.usage), finish(script))

    def events(self, script: Script, asked: Asked):
        """The stream, event by event."""
        begun = {"promptTokenCount": script.usage.prompt, "totalTokenCount": script.usage.prompt}
        for at, block in enumerate(script.blocks):
            for part in self.streamed(script.blocks, at):
                yield sse(self.chunk([part], begun))
        yield sse(self.chunk([], usage_of(script.usage), finish(script)))

    def streamed(self, blocks, at):
        if not isinstance(blocks[at], Text):
            yield from self.parts_of(blocks, at)
            return
        for piece in blocks[at].pieces:
            yield {"text": piece}
        if signature := self.signature(blocks, at):
            # The proof of a text comes when the text is over.
            yield {"text": "", "thoughtSignature": signature}

    def parts_of(self, blocks, at):
        signature = self.signature(blocks, at)
        proof = {"thoughtSignature": signature} if signature else {}
        match blocks[at]:
            case Text() as text:
                yield {"text": text.whole, **proof}
            case Thinking() as thinking:
                yield {"text": thinking.text, "thought": True}
            case ToolCall() as call:
                identity = {"id": f"fc_{call.key}"} if is_third_generation(self.model) else {}
                args = {"args": call.arguments} if call.arguments else {}
                yield {"functionCall": {**identity, "name": call.name, **args}, **proof}

    def signature(self, blocks, at):
        """What follows thoughts is signed; at the third generation the first call is too."""
        before = blocks[at - 1] if at else None
        if isinstance(blocks[at], Thinking):
            return None
        if isinstance(before, Thinking):
            return seal("google", before.turn)
        is_first_call = isinstance(blocks[at], ToolCall) and not isinstance(before, ToolCall)
        return seal("google", 7) if is_third_generation(self.model) and is_first_call else None

    def chunk(self, parts, usage, reason=None):
        content = {"parts": parts, "role": "model"} if parts else {"role": "model"}
        candidate = {"content": content, "index": 0}
        if reason:
            candidate["finishReason"] = reason
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": self.model,
            "responseId": "Il0taoSYJ5Cez7IPmZ2AmA8",
        }

    def error(self, status, message, refusal=None):
        details = []
        if status == 401:
            status, message = 400, f"API key not valid. Please pass a valid API key. {message}"
            details = [{"@type": f"{GOOGLE}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
        if status == 429:
            message += " Please retry in 6.5s."
            details = [{"@type": f"{GOOGLE}Help", "links": []}, {"@type": f"{GOOGLE}RetryInfo", "retryDelay": "6.5s"}]
        error = {"code": status, "message": message, "status": STATUS.get(status, "UNKNOWN"), "details": details}
        return {"error": {name: value for name, value in error.items() if value}}

    def error_event(self, message):
        # As it comes: over several lines, and without a field's name.
        return json.dumps(self.error(503, message), indent=2).encode().replace(b"\n", b"\r\n")


def sse(chunk):
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\r\n\r\n"


def camel_case(value):
    """The names of fields as Google documents them, which takes those with underscores too."""
    if isinstance(value, list):
        return [camel_case(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {}
    for name, inner in value.items():
        own = re.sub(r"_(\w)", lambda match: match[1].upper(), name)
        # What is in them is the caller's.
        is_free = own in ("args", "response", "parametersJsonSchema", "responseJsonSchema")
        if own == "properties":
            renamed[own] = {key: camel_case(child) for key, child in inner.items()}
        else:
            renamed[own] = inner if is_free else camel_case(inner)
    return renamed


def validate_content(content, where):
    known(content, {"role", "parts"}, where)
    must(content.get("role", "user") in ("user", "model", "system"), "Please use a valid role: user, model.")
    must(isinstance(content.get("parts"), list) and content["parts"], f"{where}.parts must not be empty.")
    for at, part in enumerate(content["parts"]):
        known(part, DATA.keys() | MODIFIERS, f"{where}.parts[{at}]")
        data = [name for name in DATA if name in part]
        must(len(data) == 1, f"{where}.parts[{at}].data: required oneof field 'data' must have one initialized field")
        if DATA[data[0]]:
            known(part[data[0]], DATA[data[0]], f"{where}.parts[{at}].{data[0]}")
        if data == ["text"]:
            must(part["text"] or part.get("thoughtSignature"), f"{where}.parts[{at}]: empty text parameter")
        if data == ["inlineData"]:
            decoded(part["inlineData"].get("data"), f"{where}.parts[{at}].inline_data.data")
            must("/" in part["inlineData"].get("mimeType", ""), "Unable to process input image: no mime type")
        if (proof := part.get("thoughtSignature")) is not None:
            proof = part["thoughtSignature"] = standard(proof)
            decoded(proof, f"{where}.parts[{at}].thought_signature")
            must(is_seal("google", proof) or proof == NO_SIGNATURE, "Corrupted thought signature.")


def standard(text):
    """Base64 in its usual alphabet; that for addresses is taken too."""
    return text.replace("-", "+").replace("_", "/")


def decoded(text, where):
    try:
        return base64.b64decode(standard(text or ""), validate=True)
    except binascii.Error:
        raise Refusal(f"Invalid value at '{where}' (TYPE_BYTES), Base64 decoding failed") from None


def validate_turns(contents):
    must(contents[0].get("role", "user") == "user", "Please ensure that the first content is of the user.")
    for at, content in enumerate(contents):
        calls, before = of(content, "functionCall"), contents[at - 1] if at else {"role": "user", "parts": []}
        must(not calls or content.get("role") == "model", "functionCall parts are of the role model")
        must(not calls or before.get("role", "user") == "user", "Please ensure that function call turn comes "
             "immediately after a user turn or after a function response turn.")
        after = of(contents[at + 1], "functionResponse") if at + 1 < len(contents) else []
        must(len(calls) == len(after), "Please ensure that the number of function response parts is equal to the "
             "number of function call parts of the function call turn.")
        for call, response in zip(calls, after):
            must(call.get("name") == response.get("name"), f"the response of {response.get('name')} has no call")
            must(isinstance(response.get("response"), dict), "Invalid value at 'function_response.response'")
            ids = {call.get("id"), response.get("id")} - {None}
            must(len(ids) < 2, f"the ids of a call and its response differ: {ids}")
    must(not of(contents[0], "functionResponse"), "Please ensure that function response turn comes immediately "
         "after a function call turn.")


def validate_signatures(contents):
    """Every step of the current turn proves its first call."""
    is_said = lambda content: content.get("role", "user") == "user" and not of(content, "functionResponse")
    turn = max((at for at, content in enumerate(contents) if is_said(content)), default=0)
    for at, content in enumerate(contents[turn:], turn):
        first = next((part for part in content["parts"] if "functionCall" in part), None)
        must(first is None or first.get("thoughtSignature"),
             f"Function call is missing a thought_signature in functionCall parts. Function call "
             f"`{first and first['functionCall'].get('name')}`, position {at}.")


def validate_openapi(schema, where):
    if schema is None:
        return
    known(schema, OPENAPI, where)
    kind = schema.get("type")
    must(kind is None or isinstance(kind, str) and kind.upper() in TYPES, f"Invalid value at '{where}.type'")
    must(str(kind).upper() != "ARRAY" or "items" in schema, f"* {where}.items: missing field.")
    must(all(isinstance(value, str) for value in schema.get("enum") or []), f"Invalid value at '{where}.enum'")
    validate_children(schema, where, validate_openapi)


def validate_json_schema(schema, where):
    if not isinstance(schema, dict):
        return
    for name in schema:
        must(name in JSON_SCHEMA, f"{where}: the keyword '{name}' is not supported")
    must("$ref" not in schema or all(name.startswith("$") for name in schema), f"{where}: $ref with siblings")
    validate_children(schema, where, validate_json_schema)


def validate_children(schema, where, validate):
    properties = schema.get("properties") or {}
    must(set(schema.get("required") or []) <= set(properties), f"{where}.required: property is not defined")
    for name, child in properties.items():
        validate(child, f"{where}.properties[{name}]")
    for child in schema.get("anyOf") or []:
        validate(child, f"{where}.any_of")
    validate(schema.get("items"), f"{where}.items")


def of(content, kind):
    return [part[kind] for part in content["parts"] if kind in part]


def text_of(content):
    return "".join(part["text"] for part in content["parts"] if "text" in part and not part.get("thought"))


def result_text(response):
    said = response["response"]
    if "error" in said:
        return f"failed: {said['error']}"
    return said["output"] if isinstance(said.get("output"), str) else json.dumps(said)


def image_of(inline):
    digest = hashlib.sha1(decoded(inline["data"], "data")).hexdigest()[:8]
    return f"{inline['mimeType']}:{digest}"


def finish(script: Script):
    return {"length": "MAX_TOKENS", "refusal": "SAFETY"}.get(script.stop, "STOP")


def usage_of(usage: Usage):
    """Zeros are left out."""
    counts = {
        "promptTokenCount": usage.prompt,
        "cachedContentTokenCount": usage.cached,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": usage.prompt + usage.output,
    }
    details = [{"modality": "TEXT", "tokenCount": usage.prompt}]
    return {**{name: count for name, count in counts.items() if count}, "promptTokensDetails": details}
