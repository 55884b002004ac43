"""Answers whose form depends on what was asked: calls in the older form, and what a response repeats."""

import openai
import pytest
from asking import TOOLS_OPENAI
from gateway import VIRTUAL
from node import Node
from openai.types.responses import Response
from test_pairs import MODELS, streamed

FUNCTIONS = [tool["function"] for tool in TOOLS_OPENAI]
# Those that are asked in another API than that of the client.
OF_OTHERS = ["responses", "anthropic", "gemini", "gemini-3"]
elsewhere = pytest.mark.parametrize("provider", OF_OTHERS)
SAID = {
    "instructions": "Be brief.",
    "metadata": {"team": "blue"},
    "max_output_tokens": 500,
    "parallel_tool_calls": False,
    "safety_identifier": "u1",
    "text": {"format": {"type": "text"}, "verbosity": "low"},
    "tool_choice": {"type": "function", "name": "get_weather"},
    "tools": [{"type": "function", **TOOLS_OPENAI[0]["function"], "strict": False}],
    "truncation": "disabled",
}


@pytest.fixture(scope="module")
def node(proxy):
    with Node(proxy.url, VIRTUAL["main"]) as running:
        yield running


def asked(text):
    return [{"role": "user", "content": text}]


def by_python(client, model, messages, stream):
    """The call that came, the reason for the end, and whether there was anything in the newer form."""
    create = client.chat.completions.with_raw_response.create
    raw = create(model=model, messages=messages, functions=FUNCTIONS, function_call="auto", stream=stream)
    return called(raw.parse(), stream), raw.headers


def called(given, stream):
    if not stream:
        [choice] = given.choices
        assert choice.message.tool_calls is None
        call = choice.message.function_call
        return call and (call.name, call.arguments), choice.finish_reason, choice.message.content
    name, arguments, reason, text = "", "", None, ""
    for choice in [choice for chunk in given for choice in chunk.choices]:
        assert choice.delta.tool_calls is None
        text += choice.delta.content or ""
        reason = choice.finish_reason or reason
        if choice.delta.function_call:
            name += choice.delta.function_call.name or ""
            arguments += choice.delta.function_call.arguments or ""
    return (name, arguments) if name else None, reason, text


@elsewhere
@streamed
def test_functions_are_called_in_the_older_form(openai_client, providers, provider, stream):
    (call, reason, text), headers = by_python(openai_client, MODELS[provider], asked("call a tool"), stream)

    assert (call[0], call[1].replace(" ", "")) == ("get_weather", '{"city":"Paris"}')
    assert (reason, text) == ("function_call", "Let me look.")
    assert "answer.tool_calls" not in headers.get("x-bartizan-lost", "")


@elsewhere
@streamed
def test_a_function_gives_back_what_it_found(openai_client, providers, provider, stream):
    history = [
        *asked("call a tool"),
        {"role": "assistant", "content": None, "function_call": {"name": "get_weather", "arguments": '{"city":"Paris"}'}},
        {"role": "function", "name": "get_weather", "content": "21 degrees"},
    ]

    (call, reason, text), _ = by_python(openai_client, MODELS[provider], history, stream)

    assert (call, reason) == (None, "stop")
    assert text.endswith("21 degrees")


@elsewhere
@streamed
def test_there_is_room_for_one_call(openai_client, proxy, providers, provider, stream):
    (call, reason, _), headers = by_python(openai_client, MODELS[provider], asked("call two tools"), stream)

    assert (call[0], call[1].replace(" ", "")) == ("get_weather", '{"city":"Paris"}')
    assert reason == "function_call"
    assert "answer.tool_calls" in proxy.record(headers["x-request-id"])["lost"]
    assert stream or "answer.tool_calls" in headers["x-bartizan-lost"]


@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
def test_functions_are_called_in_node_too(node, providers, provider):
    body = {"model": MODELS[provider], "messages": asked("call a tool"), "functions": FUNCTIONS}

    whole = node.ask(client="chat", body=body, stream=False)["whole"]["choices"][0]
    put_together = node.ask(client="chat", body=body, helper=True)["whole"]["choices"][0]

    for choice in (whole, put_together):
        assert choice["finish_reason"] == "function_call"
        assert choice["message"]["function_call"]["name"] == "get_weather"


def repeats(response):
    """What a response says of its request; it has all that the SDK promises its users."""
    said = response if isinstance(response, dict) else response.to_dict()
    Response.model_validate(said)
    return {name: said[name] for name in SAID} == SAID and said["store"] is False


# OpenAI repeats by itself.
@pytest.mark.parametrize("provider", [name for name in MODELS if name != "responses"])
def test_a_response_repeats_what_was_asked(openai_client, providers, provider):
    ask = lambda **more: openai_client.responses.create(model=MODELS[provider], input="call a tool", **SAID, **more)

    whole = ask()
    events = list(ask(stream=True))

    assert repeats(whole)
    lifecycle = [event for event in events if hasattr(event, "response")]
    assert [event.type for event in lifecycle] == ["response.created", "response.in_progress", "response.completed"]
    assert all(repeats(event.response) for event in lifecycle)


@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
def test_a_response_repeats_it_in_node_too(node, providers, provider):
    body = {"model": MODELS[provider], "input": "call a tool", **SAID}

    whole = node.ask(client="responses", body=body, stream=False)["whole"]
    put_together = node.ask(client="responses", body=body, helper=True)["whole"]

    assert repeats({name: value for name, value in whole.items() if name != "output_text"})
    assert {name: put_together[name] for name in SAID} == SAID


def test_a_response_of_little_has_the_usual(openai_client, providers):
    response = openai_client.responses.create(model=MODELS["anthropic"], input="say hello")

    Response.model_validate(response.to_dict())
    assert (response.instructions, response.tools, response.tool_choice) == (None, [], "auto")
    assert (response.metadata, response.parallel_tool_calls, response.temperature) == ({}, True, None)


@streamed
def test_an_error_is_an_error_in_the_older_form_too(openai_client, providers, stream):
    with pytest.raises(openai.RateLimitError):
        by_python(openai_client, MODELS["anthropic"], asked("error 429"), stream)
