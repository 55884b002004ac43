"""Every client against every provider: the same wish brings the same answer, whole or streamed."""

import base64
import hashlib
import json

import pytest
from asking import IMAGE
from fake_gemini import NO_SIGNATURE
from gateway import eventually
from google.genai import errors as google
from scenario import GREETING, REASONING, WEATHER, Usage, seal
from sdks import BROKEN, Sdks
from speakers import Wish

MODELS = {
    "chat": "local/reasoner",
    "responses": "openai/gpt-5.1-codex",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini/gemini-2.5-flash",
    "gemini-3": "gemini/gemini-3-flash-preview",
}
OTHERS = {**MODELS, "openai": "openai/gpt-5-mini"}
PATHS = {"responses": "/v1/responses", "anthropic": "/v1/messages", "chat": "/local/v1/chat/completions"}
SEEN = f"image/png:{hashlib.sha1(base64.b64decode(IMAGE)).hexdigest()[:8]}"

everyone = pytest.mark.parametrize("client", Sdks.names)
everywhere = pytest.mark.parametrize("provider", MODELS)
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(scope="module")
def sdks(proxy):
    with Sdks(proxy.url) as running:
        yield running


@pytest.fixture
def talk(sdks, providers):
    """Begins or goes on with a conversation, by the client of this name."""

    def talk(client, provider, text, stream, history=(), image=False, **wish):
        speaker = sdks.speakers[client]
        history = [*history, *speaker.user(text, image)]
        return speaker.ask(MODELS[provider], history, Wish(stream, **wish))

    return talk


@pytest.fixture
def hand_back(sdks, providers):
    """Goes on with what the tools of the last answer gave back."""

    def hand_back(client, provider, answer, stream, **wish):
        speaker = sdks.speakers[client]
        history = [*answer.history, *speaker.results(answer.calls)]
        return speaker.ask(OTHERS[provider], history, Wish(stream, tools=True, **wish))

    return hand_back


@everyone
@everywhere
@streamed
@pytest.mark.parametrize("text", ["say hello", "say it in tiny chunks"])
def test_a_text(talk, proxy, providers, client, provider, text, stream):
    answer = talk(client, provider, text, stream)

    assert (answer.text, answer.thinking, answer.calls, answer.finish) == (GREETING, "", [], "end")
    assert answer.usage == Usage()
    assert answer.headers["x-bartizan-provider"] == MODELS[provider].partition("/")[0]
    assert "x-bartizan-lost" not in answer.headers
    [call] = providers.calls
    assert call.path == PATHS.get(provider, call.path), "the provider is asked in its own dialect"
    record = proxy.record(answer.headers["x-request-id"])
    assert (record["status"], record["end"], record["error"], record["lost"]) == (200, "complete", None, [])
    assert (record["tokens"]["input"], record["tokens"]["output"]) == (21, 9)
    assert not record["estimated"] and float(record["cost"]) > 0


@everyone
@everywhere
@streamed
def test_nothing_to_say(talk, client, provider, stream):
    answer = talk(client, provider, "say nothing", stream)

    assert (answer.text, answer.calls, answer.finish) == ("", [], "end")


@everyone
@everywhere
@streamed
def test_instructions(talk, client, provider, stream):
    assert talk(client, provider, "echo system", stream, system="Be brief.").text == "Be brief."


@everyone
@everywhere
@streamed
def test_parallel_tools(talk, hand_back, providers, client, provider, stream):
    first = talk(client, provider, "call two tools", stream, tools=True)
    last = hand_back(client, provider, first, stream)

    assert first.finish == "calls"
    assert [(call.name, call.arguments["city"]) for call in first.calls] == [
        ("get_weather", "Paris"),
        ("get_weather", "Rome"),
    ]
    assert [part.partition(": ")[2] for part in last.text.split("; ")] == ["21 degrees", "25 degrees"]
    assert last.finish == "end"
    assert NO_SIGNATURE not in json.dumps(providers.calls[-1].body), "calls come back with their own proofs"


@everyone
@everywhere
@streamed
def test_a_text_before_a_call(talk, hand_back, client, provider, stream):
    first = talk(client, provider, "call a tool", stream, tools=True)
    last = hand_back(client, provider, first, stream)

    assert (first.text, [call.arguments for call in first.calls]) == ("Let me look.", [{"city": "Paris"}])
    assert last.text.endswith(": 21 degrees")


@everyone
@everywhere
@streamed
def test_a_call_without_arguments(talk, client, provider, stream):
    answer = talk(client, provider, "call a bare tool", stream, tools=True)

    assert [(call.name, call.arguments) for call in answer.calls] == [("get_time", {})]


@everyone
@everywhere
def test_a_tool_that_has_to_be_called(talk, client, provider):
    answer = talk(client, provider, "json", False, tools=True, forced="get_time")

    assert [call.name for call in answer.calls] == ["get_time"]


@everyone
@everywhere
@streamed
def test_an_image(talk, client, provider, stream):
    assert talk(client, provider, "describe image", stream, image=True).text == SEEN


@everyone
@everywhere
@streamed
def test_structured_output(talk, client, provider, stream):
    answer = talk(client, provider, "json", stream, schema=True)

    assert json.loads(answer.text) == WEATHER
    assert (answer.finish, answer.calls) == ("end", [])


@everyone
@everywhere
@streamed
def test_thoughts(talk, client, provider, stream):
    answer = talk(client, provider, "think", stream, thinks=True)

    assert (answer.thinking, answer.text, answer.finish) == (REASONING, GREETING, "end")
    assert answer.usage == Usage(30, 25, reasoning=16)


@everyone
@everywhere
@streamed
def test_thoughts_come_back_to_who_made_them(talk, hand_back, client, provider, stream):
    """Two calls one after the other, an answer, and another question."""
    first = talk(client, provider, "think in turns", stream, tools=True, thinks=True)
    second = hand_back(client, provider, first, stream, thinks=True)
    third = hand_back(client, provider, second, stream, thinks=True)
    last = talk(client, provider, "name the proofs", stream, third.history, tools=True, thinks=True)

    assert [answer.thinking for answer in (first, second, third)] == [f"{REASONING} {turn}" for turn in range(3)]
    assert [answer.calls[0].arguments["city"] for answer in (first, second)] == ["Paris", "Rome"]
    assert third.text == GREETING
    family = {"responses": "openai", "anthropic": "anthropic", "gemini": "google", "gemini-3": "google"}.get(provider)
    assert last.text.split() == ([seal(family, turn) for turn in range(3)] if family else [])


@everyone
@everywhere
def test_thoughts_are_nothing_to_another_provider(talk, hand_back, client, provider):
    for other in OTHERS:
        first = talk(client, provider, "think and call a tool", False, tools=True, thinks=True)
        last = hand_back(client, other, first, False, thinks=True)

        assert last.text.endswith(": 21 degrees"), other


@everyone
@everywhere
@streamed
@pytest.mark.parametrize("text, finish", [("go on for long", "length"), ("refuse", "refusal")])
def test_why_it_ended(talk, client, provider, stream, text, finish):
    assert talk(client, provider, text, stream).finish == finish


@everyone
@everywhere
@streamed
def test_cached_tokens(talk, proxy, client, provider, stream):
    answer = talk(client, provider, "use the cache", stream)

    assert answer.usage == Usage(2560, 300, cached=2048, reasoning=120)
    record = proxy.record(answer.headers["x-request-id"])["tokens"]
    assert (record["input"], record["output"], record["cached"], record["reasoning"]) == (2560, 300, 2048, 120)


# What a provider says, and what the SDK of OpenAI, that of Anthropic and that of Google raise for it.
STATUSES = {
    400: ("BadRequestError", "BadRequestError", 400),
    404: ("NotFoundError", "NotFoundError", 404),
    429: ("RateLimitError", "RateLimitError", 429),
    500: ("InternalServerError", "InternalServerError", 500),
    503: ("InternalServerError", "InternalServerError", 503),
}


@everyone
@everywhere
@streamed
@pytest.mark.parametrize("status", STATUSES)
def test_a_refusal(talk, client, provider, stream, status):
    with pytest.raises(BROKEN) as raised:
        talk(client, provider, f"error {status}", stream)

    error = raised.value
    of_openai, of_anthropic, of_google = STATUSES[status]
    if client.startswith("gemini"):
        kind = "ClientError" if status < 500 else "ServerError"
        assert (type(error).__name__, error.code) == (kind, of_google)
        assert error.status
    else:
        assert (of_anthropic if client.endswith("anthropic") else of_openai) in kinds(error)
    if status == 429:
        assert retry_after(error) == (7 if not provider.startswith("gemini") else pytest.approx(6.75, abs=0.25))
    assert f"the provider says {status}" in str(error)


def kinds(error):
    return getattr(error, "kinds", [kind.__name__ for kind in type(error).__mro__])


def retry_after(error):
    """In seconds, wherever the client looks for it."""
    if isinstance(error, google.APIError):
        [delay] = [detail["retryDelay"] for detail in error.details["error"]["details"] if "retryDelay" in detail]
        return float(delay.removesuffix("s"))
    headers = error.headers if hasattr(error, "headers") else error.response.headers
    return float(headers["retry-after"])


@everyone
@everywhere
@pytest.mark.parametrize("text", ["error inside", "cut", "end early"])
def test_a_stream_that_breaks(talk, proxy, client, provider, text):
    with pytest.raises(BROKEN) as raised:
        talk(client, provider, text, True)

    assert text != "error inside" or "overloaded" in str(raised.value)
    eventually(lambda: proxy.records() and proxy.records()[-1]["end"] == "failed", what="the record")
    record = proxy.records()[-1]
    assert record["status"] == 200 and float(record["cost"]) > 0, "what came was paid for"


@everyone
@everywhere
def test_an_error_as_the_first_event_has_a_status(talk, client, provider):
    with pytest.raises(BROKEN) as raised:
        talk(client, provider, "error first", True)

    error = raised.value
    status = error.code if client.startswith("gemini") else getattr(error, "status_code", None) or error.status
    assert status >= 500


@everyone
@everywhere
@streamed
@pytest.mark.parametrize("text", ["echo key", "html", "empty answer", "wrong shape"])
def test_what_is_no_answer(talk, client, provider, stream, text):
    with pytest.raises(BROKEN) as raised:
        talk(client, provider, text, stream)

    error = raised.value
    status = error.code if client.startswith("gemini") else getattr(error, "status_code", None) or error.status
    assert status >= 500
    assert "upstream" not in str(error).replace("upstream_", "") and "<html" not in str(error)
