"""The fake providers alone: the official SDKs understand them, and they refuse what the real ones refuse."""

import anthropic
import httpx2
import openai
import pytest
from asking import BROKEN, IMAGE, TOOLS_ANTHROPIC, TOOLS_OPENAI, ask_anthropic, ask_openai, weather_results
from google import genai
from providers import KEYS, Providers
from scenario import GREETING, REASONING, seal
from sdks import raw
from speakers import GenerateContent, Responses, Wish


@pytest.fixture(scope="module")
def fakes():
    with Providers() as running:
        running.is_direct = True
        yield running


@pytest.fixture
def openai_client(fakes):
    return openai.OpenAI(base_url=f"{fakes.url}/v1", api_key=KEYS["openai"], max_retries=0, timeout=10)


@pytest.fixture
def anthropic_client(fakes):
    return anthropic.Anthropic(base_url=fakes.url, api_key=KEYS["anthropic"], max_retries=0, timeout=10)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", ["say hello", "say it in tiny chunks"])
def test_openais_sdk_understands_the_fake(openai_client, text, stream):
    answer = ask_openai(openai_client, "gpt-4o-mini", text, stream=stream)

    assert answer.text == GREETING
    assert answer.finish == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (21, 9)


@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_sdk_understands_the_fake(anthropic_client, stream):
    thinking = {"type": "enabled", "budget_tokens": 1024}

    answer = ask_anthropic(
        anthropic_client, "claude-sonnet-4-5", "think", stream=stream, thinking=thinking, max_tokens=2000
    )

    assert (answer.thinking, answer.text, answer.finish) == (REASONING, GREETING, "end_turn")
    assert answer.usage.output_tokens == 25


@pytest.mark.parametrize("stream", [False, True])
def test_both_fakes_play_a_round_with_tools(openai_client, anthropic_client, stream):
    for ask, client, model, tools in [
        (ask_openai, openai_client, "gpt-4o-mini", TOOLS_OPENAI),
        (ask_anthropic, anthropic_client, "claude-sonnet-4-5", TOOLS_ANTHROPIC),
    ]:
        first = ask(client, model, "call two tools", stream=stream, tools=tools)
        history = weather_results(first, "call two tools")
        last = ask(client, model, history, stream=stream, tools=tools)

        assert [call.arguments for call in first.calls] == [{"city": "Paris"}, {"city": "Rome"}]
        prefix = first.calls[0].id.removesuffix("Paris")
        assert last.text == f"{prefix}Paris: 21 degrees; {prefix}Rome: 25 degrees"


OPENAI_REFUSES = {
    "an unknown field": {"max_token": 5},
    "options of a stream without one": {"stream_options": {"include_usage": True}},
    "a choice without tools": {"tool_choice": "auto"},
    "a result without a call": {"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]},
    "a call without a result": {
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "user", "content": "hi"},
        ]
    },
    "a foreign part": {
        "messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}],
    },
}


@pytest.mark.parametrize("wrong", OPENAI_REFUSES.values(), ids=OPENAI_REFUSES)
def test_openais_fake_refuses(openai_client, wrong):
    asked = {"messages": [{"role": "user", "content": "hi"}], **wrong}

    with pytest.raises(openai.BadRequestError):
        openai_client.chat.completions.create(
            model="gpt-4o-mini", messages=asked.pop("messages"), extra_body=asked
        )


USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
HI = {"role": "user", "content": "hi"}
ANTHROPIC_REFUSES = {
    "an unknown field": {"stop": ["x"]},
    "an empty text": {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
    "roles that don't alternate": {"messages": [HI, HI]},
    "a late result": {
        "messages": [HI, {"role": "assistant", "content": [USE]}, HI],
    },
    "a result behind a text": {
        "messages": [
            HI,
            {"role": "assistant", "content": [USE]},
            {"role": "user", "content": [{"type": "text", "text": "x"}, RESULT]},
        ]
    },
    "a foreign signature": {
        "messages": [
            HI,
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "y"}]},
            HI,
        ]
    },
    "a budget over the limit": {"thinking": {"type": "enabled", "budget_tokens": 4096}},
    "hot sampling": {"temperature": 1.5},
    "an open schema": {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
    "more than it can": {"max_tokens": 1_000_000},
    "an image of another type": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": IMAGE}}
                ],
            }
        ]
    },
}


@pytest.mark.parametrize("wrong", ANTHROPIC_REFUSES.values(), ids=ANTHROPIC_REFUSES)
def test_anthropics_fake_refuses(anthropic_client, wrong):
    asked = {"messages": [HI], "max_tokens": 100, **wrong}

    with pytest.raises(anthropic.BadRequestError):
        anthropic_client.messages.create(
            model="claude-sonnet-4-5",
            messages=asked.pop("messages"),
            max_tokens=asked.pop("max_tokens"),
            extra_body=asked,
        )


def test_the_fakes_know_their_keys(fakes):
    with pytest.raises(openai.AuthenticationError):
        wrong = openai.OpenAI(base_url=f"{fakes.url}/v1", api_key=KEYS["anthropic"], max_retries=0, timeout=10)
        ask_openai(wrong, "gpt-4o-mini", "say hello")


def test_the_fakes_notice_what_is_not_for_them(fakes, openai_client):
    fakes.reset()
    fakes.is_direct, fakes.secrets = False, ["vk-of-a-client"]
    try:
        ask_openai(openai_client, "gpt-4o-mini", "vk-of-a-client", extra_headers={"cookie": "a=b"})
    finally:
        fakes.is_direct, fakes.secrets = True, []

    assert "the body has a secret of the gateway" in fakes.violations
    assert "the header cookie of the client arrived" in fakes.violations


def test_a_cut_stream_breaks(openai_client, anthropic_client):
    with pytest.raises(BROKEN):
        ask_openai(openai_client, "gpt-4o-mini", "cut", stream=True)
    with pytest.raises(BROKEN):
        ask_anthropic(anthropic_client, "claude-sonnet-4-5", "cut", stream=True)


@pytest.fixture
def gemini(fakes):
    options = {"base_url": fakes.url, "api_version": "v1beta", "timeout": 10_000}
    with genai.Client(api_key=KEYS["gemini"], http_options=options) as client:
        yield client


CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "x"}
THOUGHT = {"type": "reasoning", "id": "rs_0", "summary": [], "encrypted_content": seal("openai")}
LOOSE = {"type": "object", "properties": {"a": {"type": "string"}}}
RESPONSES_REFUSE = {
    "a field of chat completions": {"max_tokens": 50},
    "stop texts": {"stop": ["x"]},
    "a small limit": {"max_output_tokens": 3},
    "a message of the model in the user's form": {
        "input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}],
    },
    "an unknown field of an item": {"input": [{**CALL, "signature": "x"}, OUTPUT]},
    "a call without an output": {"input": [CALL]},
    "an output without a call": {"input": [OUTPUT]},
    "thoughts without what follows": {"input": [THOUGHT]},
    "thoughts without a proof": {
        "input": [{**THOUGHT, "encrypted_content": None}, {"role": "assistant", "content": "x"}],
        "store": False,
    },
    "thoughts of others": {
        "input": [{**THOUGHT, "encrypted_content": "EqoB"}, {"role": "assistant", "content": "x"}],
    },
    "a call without the thoughts before it": {"input": [{**CALL, "id": "fc_1_after_rs_0"}, OUTPUT]},
    "sampling of a model that thinks": {"temperature": 0.5},
    "a nested function": {"tools": [{"type": "function", "function": {"name": "f"}}]},
    "an open schema": {"text": {"format": {"type": "json_schema", "name": "s", "schema": LOOSE}}},
    "what nobody has stored": {"previous_response_id": "resp_0"},
}


@pytest.mark.parametrize("wrong", RESPONSES_REFUSE.values(), ids=RESPONSES_REFUSE)
def test_the_fake_of_responses_refuses(openai_client, wrong):
    asked = {"input": "hi", **wrong}

    with pytest.raises(openai.BadRequestError):
        openai_client.responses.create(model="gpt-5.1-codex", input=asked.pop("input"), extra_body=asked)


def turn(role, *parts):
    return {"role": role, "parts": list(parts)}


WHAT = turn("user", {"text": "hi"})
CALLING = {"functionCall": {"name": "f", "args": {}}}
RETURNED = {"functionResponse": {"name": "f", "response": {"output": "x"}}}
GEMINI_REFUSES = {
    "an unknown field": {"messages": []},
    "an empty text": {"contents": [turn("user", {"text": ""})]},
    "a content without parts": {"contents": [turn("user")]},
    "a part with two things": {"contents": [turn("user", {"text": "x", **RETURNED})]},
    "fewer results than calls": {"contents": [WHAT, turn("model", CALLING, CALLING), turn("user", RETURNED)]},
    "a result of another function": {
        "contents": [
            WHAT,
            turn("model", CALLING),
            turn("user", {"functionResponse": {"name": "g", "response": {}}}),
        ]
    },
    "a result without a call": {"contents": [WHAT, turn("model", {"text": "x"}), turn("user", RETURNED)]},
    "a proof of others": {"contents": [WHAT, turn("model", {"text": "x", "thoughtSignature": "RXFvQg=="}), WHAT]},
    "a keyword of JSON Schema": {
        "tools": [
            {"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "$schema": "x"}}]},
        ]
    },
    "a schema without JSON": {"generationConfig": {"responseSchema": {"type": "OBJECT"}}},
    "two ways to think": {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}}},
    "a level where there are budgets": {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}},
    "a choice without functions": {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
}


def generate(fakes, model, body):
    headers = {"x-goog-api-key": KEYS["gemini"]}
    url = f"{fakes.url}/v1beta/models/{model}:generateContent"
    return httpx2.post(url, json={"contents": [WHAT], **body}, headers=headers)


@pytest.mark.parametrize("wrong", GEMINI_REFUSES.values(), ids=GEMINI_REFUSES)
def test_geminis_fake_refuses(fakes, wrong):
    answer = generate(fakes, "gemini-2.5-flash", wrong)

    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_geminis_third_generation_wants_its_proofs(fakes):
    calls = {"contents": [WHAT, turn("model", CALLING), turn("user", RETURNED)]}

    assert generate(fakes, "gemini-2.5-flash", calls).status_code == 200
    assert "thought_signature" in generate(fakes, "gemini-3-flash-preview", calls).text
    calls["contents"][1]["parts"] = [{**CALLING, "thoughtSignature": seal("google", 7)}]
    assert generate(fakes, "gemini-3-flash-preview", calls).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_the_sdks_understand_the_fakes_of_responses_and_gemini(openai_client, gemini, stream):
    responses = Responses(raw(openai_client.responses))
    models = gemini.models
    call = models.generate_content_stream if stream else models.generate_content
    contents = GenerateContent(lambda body, _: (call(**body), {}))

    for speaker, model in [(responses, "gpt-5.1-codex"), (contents, "gemini-3-flash-preview")]:
        first = speaker.ask(model, speaker.user("think in turns"), Wish(stream, tools=True, thinks=True))
        history = [*first.history, *speaker.results(first.calls)]
        last = speaker.ask(model, history, Wish(stream, tools=True, thinks=True))

        assert (first.thinking, first.finish) == (f"{REASONING} 0", "calls")
        assert (last.calls[0].arguments, last.usage.reasoning) == ({"city": "Rome"}, 16)
