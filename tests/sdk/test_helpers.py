"""What the SDKs do by themselves above a single call: they parse, put streams together and call functions."""

import json

import openai
import pydantic
import pytest
from asking import TOOLS_ANTHROPIC, TOOLS_OPENAI
from gateway import VIRTUAL
from google.genai import errors as google
from node import Node
from scenario import GREETING, WEATHER
from sdks import Sdks
from speakers import Wish
from test_pairs import MODELS, everywhere, streamed


class Weather(pydantic.BaseModel):
    city: str
    degrees: int


@pytest.fixture(scope="module")
def sdks(proxy):
    with Sdks(proxy.url) as running:
        yield running


@pytest.fixture(scope="module")
def node(proxy):
    with Node(proxy.url, VIRTUAL["main"]) as running:
        yield running


FLAT = [{"type": "function", **tool["function"], "strict": False} for tool in TOOLS_OPENAI[:1]]


@everywhere
def test_responses_are_parsed(sdks, providers, provider):
    parsed = sdks.openai.responses.parse(model=MODELS[provider], input="json", text_format=Weather)

    assert parsed.output_parsed == Weather(**WEATHER)


@everywhere
def test_streams_of_responses_are_put_together(sdks, providers, provider):
    with sdks.openai.responses.stream(model=MODELS[provider], input="call a tool", tools=FLAT) as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        response = stream.get_final_response()

    assert said == response.output_text == "Let me look."
    assert [item.name for item in response.output if item.type == "function_call"] == ["get_weather"]


@everywhere
def test_gemini_parses_into_a_class(sdks, providers, provider):
    answer = sdks.gemini.models.generate_content(
        model=MODELS[provider],
        contents="json",
        config={"response_mime_type": "application/json", "response_schema": Weather},
    )

    assert answer.parsed == Weather(**WEATHER)


@everywhere
def test_gemini_calls_functions_by_itself(sdks, providers, provider):
    called = []

    def get_weather(city: str) -> str:
        """The weather of a city."""
        called.append(city)
        return f"{len(city)} degrees"

    answer = sdks.gemini.models.generate_content(
        model=MODELS[provider], contents="call two tools", config={"tools": [get_weather]}
    )

    assert called == ["Paris", "Rome"]
    assert "5 degrees" in answer.text and "4 degrees" in answer.text


@everywhere
@streamed
def test_gemini_keeps_a_conversation(sdks, providers, provider, stream):
    chat = sdks.gemini.chats.create(model=MODELS[provider], config={"system_instruction": "Be brief."})

    def say(text):
        if stream:
            return "".join(chunk.text or "" for chunk in chat.send_message_stream(text))
        return chat.send_message(text).text

    assert [say("say hello"), say("echo system"), say("again")] == [GREETING, "Be brief.", "You said: again"]
    assert [content.role for content in chat.get_history()][:2] == ["user", "model"]


@everywhere
def test_streams_are_put_together_in_node_too(node, providers, provider):
    model = MODELS[provider]
    hi = [{"role": "user", "content": "call two tools"}]

    def whole(client, **body):
        return node.ask(client=client, body={"model": model, **body}, helper=True)["whole"]

    chat = whole("chat", messages=hi, tools=TOOLS_OPENAI)["choices"][0]
    response = whole("responses", input="call two tools", tools=FLAT)
    message = whole("anthropic", messages=hi, max_tokens=1000, tools=TOOLS_ANTHROPIC)

    assert chat["finish_reason"] == "tool_calls"
    arguments = [json.loads(call["function"]["arguments"]) for call in chat["message"]["tool_calls"]]
    assert arguments == [{"city": "Paris"}, {"city": "Rome"}]
    calls = [item["name"] for item in response["output"] if item["type"] == "function_call"]
    assert calls == ["get_weather", "get_weather"]
    inputs = [block["input"] for block in message["content"] if block["type"] == "tool_use"]
    assert inputs == [{"city": "Paris"}, {"city": "Rome"}]
    assert message["stop_reason"] == "tool_use"


@everywhere
@pytest.mark.parametrize("client", Sdks.names)
def test_tools_and_a_schema_go_together(sdks, providers, client, provider):
    """But for the second generation of Gemini: its own clients are told by it, and others by the gateway."""
    speaker = sdks.speakers[client]
    ask = lambda: speaker.ask(MODELS[provider], speaker.user("call a tool"), Wish(tools=True, schema=True))

    if provider == "gemini" and client.startswith("gemini"):
        with pytest.raises(google.ClientError):
            ask()
        return
    answer = ask()

    assert [call.arguments for call in answer.calls] == [{"city": "Paris"}]
    lost = answer.headers.get("x-bartizan-lost")
    # Every client reads its own name for it.
    names = {"response_format", "text.format", "output_config.format"}
    assert lost in (names if provider == "gemini" else {None})


@everywhere
def test_what_is_stored_is_found_at_openai_only(sdks, providers, provider):
    with pytest.raises(openai.BadRequestError) as refused:
        sdks.openai.responses.create(model=MODELS[provider], input="hi", previous_response_id="resp_1")

    assert refused.value.param == "previous_response_id"
    assert len(providers.calls) == (provider == "responses")
