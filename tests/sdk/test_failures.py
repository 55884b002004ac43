"""What goes wrong at a provider reaches both SDKs as the error that they know, or doesn't reach them at all."""

import time

import anthropic
import openai
import pytest
from asking import BROKEN, ask_anthropic, ask_openai
from conftest import SECRETS
from gateway import FAULTS, eventually
from scenario import GREETING

OPENAI, ANTHROPIC = "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5"

streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
everywhere = pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
everyone = pytest.mark.parametrize("name", ["openai", "anthropic"])


@pytest.fixture
def ask(openai_client, anthropic_client):
    def ask(name, model, messages, **more):
        if name == "openai":
            return ask_openai(openai_client, model, messages, **more)
        return ask_anthropic(anthropic_client, model, messages, **more)

    return ask


def sdk(name):
    return openai if name == "openai" else anthropic


def assert_clean(text):
    assert not [secret for secret in SECRETS if secret in text]


# What the provider says, and what the two SDKs raise for it.
STATUSES = {
    400: ("BadRequestError", "BadRequestError"),
    403: ("InternalServerError", "InternalServerError"),
    404: ("NotFoundError", "NotFoundError"),
    429: ("RateLimitError", "RateLimitError"),
    500: ("InternalServerError", "InternalServerError"),
    503: ("InternalServerError", "InternalServerError"),
    529: ("InternalServerError", "OverloadedError"),
}


@everyone
@everywhere
@streamed
@pytest.mark.parametrize("status", STATUSES)
def test_refusals_of_a_provider_become_the_errors_of_the_sdk(ask, proxy, name, model, stream, status):
    expected = STATUSES[status][name == "anthropic"]

    with pytest.raises(sdk(name).APIStatusError) as raised:
        ask(name, model, f"error {status}", stream=stream)

    error = raised.value
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if status == 403:
        # Whether it is the key of the gateway or the region is the provider's secret; it isn't the client's 403.
        assert error.status_code >= 400
    else:
        assert expected in kinds, f"{type(error).__name__} for {status}"
    body = error.response.json()
    if name == "openai":
        assert set(body["error"]) >= {"message", "type", "param", "code"}
    else:
        assert body["type"] == "error" and {"type", "message"} <= set(body["error"])
    record = proxy.record(error.response.headers["x-request-id"])
    assert (record["status"], record["end"]) == (error.status_code, "failed")
    assert record["tokens"]["output"] == 0
    assert float(record["cost"]) == 0


@everyone
@everywhere
def test_when_to_try_again_is_passed_on(ask, name, model):
    with pytest.raises(sdk(name).RateLimitError) as raised:
        ask(name, model, "error 429")

    assert raised.value.response.headers["retry-after"] == "7"


@everyone
@everywhere
@streamed
@pytest.mark.parametrize("text", ["echo key", "echo key 400", "echo key inside"])
def test_a_provider_that_quotes_the_key_is_not_quoted(ask, name, model, stream, text):
    if text == "echo key inside" and not stream:
        text = "echo key"

    with pytest.raises(BROKEN) as raised:
        ask(name, model, text, stream=stream)

    error = raised.value
    assert_clean(f"{error} {getattr(error, 'body', '')} {error.response.headers if hasattr(error, 'response') else ''}")
    if text == "echo key":
        assert error.status_code >= 500, "the client must not believe that its own key is bad"
        assert error.response.headers["x-should-retry"] == "false"


@everyone
@everywhere
def test_a_cut_stream_is_no_end(ask, proxy, name, model):
    for text in ("cut", "end early"):
        before = proxy.known()
        with pytest.raises(sdk(name).APIError):
            ask(name, model, text, stream=True)

        record = eventually(lambda: proxy.records()[before:], what=f"the record of `{text}`")[0]
        assert (record["status"], record["end"]) == (200, "failed")
        assert float(record["cost"]) > 0, "what came was paid for"


@everyone
@everywhere
def test_an_error_inside_of_a_stream_is_raised(ask, name, model):
    with pytest.raises(sdk(name).APIError) as raised:
        ask(name, model, "error inside", stream=True)

    assert "overloaded" in str(raised.value)


@everyone
@everywhere
def test_an_error_as_the_first_event_has_a_status(ask, name, model):
    with pytest.raises(sdk(name).APIStatusError) as raised:
        ask(name, model, "error first", stream=True)

    assert raised.value.status_code >= 500


@everyone
@everywhere
def test_a_stream_that_stalls_is_given_up(ask, providers, name, model):
    started = time.monotonic()

    with pytest.raises(sdk(name).APIError):
        ask(name, model, "stall", stream=True)

    assert 0.8 < time.monotonic() - started < 4
    eventually(lambda: providers.calls[-1].outcome == "gone", what="the provider to be left")


@everyone
@everywhere
@streamed
def test_a_provider_that_says_nothing_is_given_up(ask, providers, name, model, stream):
    started = time.monotonic()

    with pytest.raises(sdk(name).InternalServerError) as raised:
        ask(name, model, "hang", stream=stream)

    assert raised.value.status_code == 504
    assert 0.8 < time.monotonic() - started < 4
    eventually(lambda: providers.calls[-1].outcome == "gone", what="the provider to be left")


@everyone
@everywhere
@streamed
@pytest.mark.parametrize("text", ["reset", "html", "html 502", "empty answer", "wrong shape"])
def test_what_is_no_answer_is_an_error_of_the_provider(ask, proxy, name, model, stream, text):
    with pytest.raises(sdk(name).InternalServerError) as raised:
        ask(name, model, text, stream=stream)

    assert raised.value.status_code in (500, 502), "500 is what Anthropic's clients know"
    assert "<html" not in raised.value.message
    record = proxy.record(raised.value.response.headers["x-request-id"])
    assert record["error"] in ("upstream", "unreachable")


@everyone
@everywhere
def test_an_empty_stream_is_an_error(ask, name, model):
    with pytest.raises(sdk(name).InternalServerError):
        ask(name, model, "empty stream", stream=True)


@everyone
@everywhere
def test_a_whole_answer_that_breaks_off_is_an_error(ask, name, model):
    with pytest.raises(sdk(name).InternalServerError):
        ask(name, model, "cut")


@everyone
@streamed
@pytest.mark.parametrize("route", ["past-503", "past-429", "past-dead", "past-locked"])
def test_nobody_sees_that_the_first_provider_failed(ask, proxy, name, stream, route):
    answer = ask(name, route, "say hello", stream=stream)

    assert answer.text == GREETING
    assert answer.headers["x-bartizan-provider"] == "anthropic"
    record = proxy.record(answer.headers["x-request-id"])
    assert (record["status"], record["end"], record["error"]) == (200, "complete", None)
    *failed, last = [attempt["outcome"] for attempt in record["attempts"]]
    assert answer.headers["x-bartizan-attempts"] == str(len(failed) + 1)
    # Who says when it wants to be asked again is not asked before, as long as there is another.
    assert len(failed) == 1 or (len(failed) == 0 and route == "past-429")
    assert not {"answered", "running", "aborted"}.intersection(failed)
    assert last == "answered"
    assert float(record["cost"]) == pytest.approx((21 * 3 + 9 * 15) / 1e6), "a refusal costs nothing"


@everyone
@streamed
@pytest.mark.parametrize("fault", FAULTS)
def test_nobody_sees_a_fault_before_the_first_word(ask, name, stream, fault):
    if fault in ("error-first", "empty-stream") and not stream:
        stream = True

    answer = ask(name, f"past-{fault}", "say hello", stream=stream)

    assert answer.text == GREETING
    assert answer.headers["x-bartizan-attempts"] == "2"


@everyone
def test_a_bad_request_is_not_tried_elsewhere(ask, providers, name):
    with pytest.raises(sdk(name).BadRequestError):
        ask(name, "past-400", "say hello")

    assert providers.models() == ["openai/fail-400"]


@everyone
@streamed
def test_the_last_failure_is_told_when_all_fail(ask, providers, name, stream):
    with pytest.raises(sdk(name).InternalServerError) as raised:
        ask(name, "all-fail", "say hello", stream=stream)

    assert raised.value.status_code == (503 if name == "openai" else 529)
    assert providers.models() == ["openai/fail-503", "anthropic/fail-529"]


@everyone
@streamed
def test_the_same_provider_is_asked_again(ask, providers, name, stream):
    answer = ask(name, "flaky", "say hello", stream=stream)

    assert answer.text == GREETING
    assert answer.headers["x-bartizan-attempts"] == "3"
    assert providers.models() == ["openai/flaky-2"] * 3


@everyone
def test_after_the_first_word_nothing_is_tried_again(ask, providers, name):
    with pytest.raises(sdk(name).APIError):
        ask(name, "chat", "cut", stream=True)

    assert len(providers.calls) == 1


@everyone
@everywhere
def test_a_client_that_leaves_stops_the_provider_and_pays(
    openai_client, anthropic_client, proxy, providers, name, model
):
    messages = [{"role": "user", "content": "endless"}]
    if name == "openai":
        stream = openai_client.chat.completions.create(model=model, messages=messages, stream=True)
    else:
        stream = anthropic_client.messages.create(
            model=model, messages=messages, stream=True, max_tokens=1000
        )
    for _, _event in zip(range(20), stream):
        pass
    request_id = stream.response.headers["x-request-id"]

    left = time.monotonic()
    stream.close()

    [call] = providers.calls
    eventually(lambda: call.outcome == "gone", seconds=2, what="the provider to be left")
    assert call.ended - left < 2
    record = proxy.record(request_id)
    assert (record["end"], record["estimated"]) == ("aborted", True)
    assert record["tokens"]["output"] > 0
    assert float(record["cost"]) > 0


@everyone
@everywhere
@streamed
def test_a_client_that_leaves_before_the_answer_stops_the_provider_and_pays(
    of_openai, of_anthropic, proxy, providers, name, model, stream
):
    client = (of_openai if name == "openai" else of_anthropic)("main").with_options(timeout=0.3)
    ask = ask_openai if name == "openai" else ask_anthropic
    known = proxy.known()

    with pytest.raises(sdk(name).APITimeoutError):
        ask(client, model, "hang", stream=stream)

    [call] = providers.calls
    eventually(lambda: call.outcome == "gone", seconds=2, what="the provider to be left")
    left = lambda: [record for record in proxy.records()[known:] if record["end"] == "aborted"]
    [record] = eventually(left, what="the record")
    assert (record["status"], record["model"], record["estimated"]) == (None, model, True)
    assert float(record["cost"]) > 0


def test_an_answer_can_be_read_on_for_the_exact_count(openai_client, proxy, providers):
    stream = openai_client.chat.completions.create(
        model="drained", messages=[{"role": "user", "content": "slow"}], stream=True
    )
    for _, _event in zip(range(3), stream):
        pass
    request_id = stream.response.headers["x-request-id"]
    stream.close()

    record = proxy.record(request_id)

    eventually(lambda: providers.calls[0].outcome == "complete", what="the provider to have written all")
    assert not record["estimated"]
    assert (record["tokens"]["input"], record["tokens"]["output"]) == (21, 9)


def test_unknown_models_and_providers_are_not_found(ask):
    for name in ("openai", "anthropic"):
        for model in ("no-such-model", "nobody/gpt-4o"):
            with pytest.raises(sdk(name).NotFoundError) as raised:
                ask(name, model, "say hello")

            assert model in raised.value.message
