"""The fake providers alone: the official SDKs understand them, and they refuse what the real ones refuse."""

import anthropic
import openai
import pytest
from asking import BROKEN, IMAGE, TOOLS_ANTHROPIC, TOOLS_OPENAI, ask_anthropic, ask_openai, weather_results
from providers import KEYS, Providers
from scenario import GREETING, REASONING


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
