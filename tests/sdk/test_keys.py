"""Keys, what they may use, how often, and for how much."""

import anthropic
import openai
import pytest
from asking import ask_anthropic, ask_openai
from gateway import VIRTUAL
from raw import post

OPENAI, ANTHROPIC = "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5"

everyone = pytest.mark.parametrize("name", ["openai", "anthropic"])


@pytest.fixture
def ask_as(of_openai, of_anthropic):
    """Asks with the SDK of this name and the key of that one."""

    def ask_as(name, key, model, text="say hello", **more):
        if name == "openai":
            return ask_openai(of_openai(key), model, text, **more)
        return ask_anthropic(of_anthropic(key), model, text, **more)

    return ask_as


def sdk(name):
    return openai if name == "openai" else anthropic


@everyone
@pytest.mark.parametrize("key", ["vk-nobody-has-this-key", "disabled", "expired"])
def test_bad_keys_are_refused(ask_as, providers, name, key):
    with pytest.raises(sdk(name).AuthenticationError) as refused:
        ask_as(name, key, "chat")

    assert VIRTUAL.get(key, key) not in str(refused.value.body)
    assert providers.calls == []


def test_a_key_is_accepted_in_every_header(proxy, providers):
    body = {"model": OPENAI, "messages": [{"role": "user", "content": "say hello"}]}
    key = VIRTUAL["main"]
    accepted = [
        {"authorization": f"Bearer {key}"},
        {"x-api-key": key},
        {"api-key": key},
        {"x-goog-api-key": key},
        {"x-bf-vk": key},
    ]

    for headers in accepted:
        assert post(proxy, "/v1/chat/completions", body, key=None, headers=headers).status == 200
    assert post(proxy, "/v1/chat/completions", body, key=None).status == 401


def test_a_key_may_be_known_by_its_digest_only(ask_as):
    assert ask_as("openai", "hashed", "chat").text


@everyone
def test_a_key_may_use_what_it_is_allowed(ask_as, providers, name):
    with pytest.raises(sdk(name).PermissionDeniedError) as refused:
        ask_as(name, "narrow", OPENAI)
    assert OPENAI in refused.value.message
    assert providers.calls == []

    assert ask_as(name, "narrow", "chat").text
    assert ask_as(name, "narrow", ANTHROPIC).text


@everyone
def test_too_many_requests_are_refused_until_later(ask_as, proxy, name):
    key = f"limited-{name}"
    for _ in range(2):
        ask_as(name, key, "chat")

    with pytest.raises(sdk(name).RateLimitError) as refused:
        ask_as(name, key, "chat")

    headers = refused.value.response.headers
    assert 0 < int(headers["retry-after"]) <= 3600
    assert 0 < int(headers["retry-after-ms"]) <= 3_600_000
    record = proxy.record(headers["x-request-id"])
    assert (record["error"], record["key"], record["attempts"]) == ("rate_limited", key, [])


@everyone
def test_who_has_no_money_is_refused_at_once_and_for_good(ask_as, providers, name):
    with pytest.raises(sdk(name).APIStatusError) as refused:
        ask_as(name, "poor", "chat")

    assert refused.value.status_code == (429 if name == "openai" else 402)
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert "budget" in refused.value.message
    assert providers.calls == []


def test_an_sdk_with_retries_asks_only_once_without_money(proxy, providers):
    client = openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=VIRTUAL["poor"], max_retries=3)
    before = proxy.known()

    with client, pytest.raises(openai.RateLimitError) as refused:
        ask_openai(client, "chat", "say hello")

    proxy.record(refused.value.response.headers["x-request-id"])
    assert len(proxy.records()) == before + 1


@everyone
@pytest.mark.parametrize("stream", [False, True])
def test_a_budget_is_spent_by_what_was_really_used(ask_as, name, stream, tmp_path):
    # One answer costs 8.55 millionths at OpenAI and 198 at Anthropic.
    model = OPENAI if name == "openai" else ANTHROPIC
    key = f"spender-{name}"
    if not stream:
        assert ask_as(name, key, model, max_tokens=1).text

    with pytest.raises(sdk(name).APIStatusError) as refused:
        ask_as(name, key, model, max_tokens=9, stream=stream)

    assert refused.value.response.headers["x-should-retry"] == "false"


@everyone
def test_without_a_price_a_budget_can_t_be_kept(ask_as, providers, name):
    with pytest.raises(sdk(name).APIStatusError) as refused:
        ask_as(name, "holder", "local/nobody-knows-what-this-costs")

    assert 400 <= refused.value.status_code < 500
    assert "price" in refused.value.message
    assert providers.calls == []


@everyone
def test_without_a_budget_a_price_is_not_needed(ask_as, proxy, name):
    answer = ask_as(name, "main", "local/nobody-knows-what-this-costs")

    record = proxy.record(answer.headers["x-request-id"])
    assert record["unpriced"], "never a silent zero"


def test_a_team_spends_from_one_budget(ask_as):
    assert ask_as("openai", "teammate-a", OPENAI, max_tokens=1).text

    with pytest.raises(openai.RateLimitError) as refused:
        ask_as("openai", "teammate-b", OPENAI, max_tokens=9)

    assert "team" in refused.value.message
