"""Both SDKs get the same answers from both kinds of provider, streamed or not."""

import asyncio
import base64
import hashlib
import json

import anthropic
import openai
import pytest
from asking import (
    CITY,
    IMAGE,
    TOOLS_ANTHROPIC,
    TOOLS_OPENAI,
    ask_anthropic,
    ask_anthropic_async,
    ask_openai,
    ask_openai_async,
    weather_results,
)
from gateway import VIRTUAL
from scenario import GREETING, REASONING, SIGNATURE, WEATHER

OPENAI, ANTHROPIC, LOCAL = "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "local/reasoner"
SEEN = f"image/png:{hashlib.sha1(base64.b64decode(IMAGE)).hexdigest()[:8]}"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}

streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
everywhere = pytest.mark.parametrize("model", [OPENAI, ANTHROPIC, LOCAL])
everyone = pytest.mark.parametrize("name", ["openai", "anthropic"])


@pytest.fixture
def ask(openai_client, anthropic_client):
    """Asks with the SDK of this name."""

    def ask(name, model, messages, **more):
        if name == "openai":
            return ask_openai(openai_client, model, messages, **more)
        return ask_anthropic(anthropic_client, model, messages, **more)

    return ask


def tools_of(name):
    return TOOLS_OPENAI if name == "openai" else TOOLS_ANTHROPIC


@everyone
@everywhere
@streamed
@pytest.mark.parametrize("text", ["say hello", "say it in tiny chunks"])
def test_a_text_comes_as_it_was_said(ask, proxy, name, model, text, stream):
    answer = ask(name, model, text, stream=stream)

    assert answer.text == GREETING
    assert answer.finish == ("stop" if name == "openai" else "end_turn")
    assert answer.tokens == (21, 9)
    assert answer.headers["x-bartizan-provider"] == model.partition("/")[0]
    assert answer.headers["x-bartizan-model"] == model.partition("/")[2]
    assert answer.headers["x-bartizan-attempts"] == "1"
    assert "x-bartizan-lost" not in answer.headers
    record = proxy.record(answer.headers["x-request-id"])
    assert (record["status"], record["end"], record["error"], record["lost"]) == (200, "complete", None, [])
    assert (record["model"], record["stream"], record["key"]) == (model, stream, "main")
    assert [attempt["target"] for attempt in record["attempts"]] == [model]
    assert (record["tokens"]["input"], record["tokens"]["output"]) == (21, 9)
    assert not record["estimated"]
    dollars = {OPENAI: (0.15, 0.6), ANTHROPIC: (3, 15), LOCAL: (1, 2)}[model]
    assert float(record["cost"]) == pytest.approx((21 * dollars[0] + 9 * dollars[1]) / 1e6)


@everyone
@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
@streamed
def test_nothing_to_say_is_an_answer_too(ask, name, model, stream):
    answer = ask(name, model, "say nothing", stream=stream)

    assert (answer.text, answer.calls) == ("", [])
    assert answer.finish == ("stop" if name == "openai" else "end_turn")


@everyone
@everywhere
@streamed
def test_system_texts_arrive_in_their_place(ask, name, model, stream):
    if name == "openai":
        messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "echo system"},
        ]
        answer = ask(name, model, messages, stream=stream)
    else:
        answer = ask(name, model, "echo system", stream=stream, system="Be brief.")

    assert answer.text == "Be brief."


def test_several_system_texts_keep_their_order(openai_client, anthropic_client):
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "One."}]},
        {"role": "system", "content": "Two."},
        {"role": "user", "content": "echo system"},
    ]
    blocks = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]

    from_openai = ask_openai(openai_client, ANTHROPIC, messages)
    from_anthropic = ask_anthropic(anthropic_client, OPENAI, "echo system", system=blocks)

    assert from_openai.text == "One. | Two."
    assert [word for word in from_anthropic.text.replace("|", " ").split()] == ["One.", "Two."]


@everyone
@everywhere
@streamed
def test_parallel_tools_make_the_round(ask, name, model, stream):
    tools = tools_of(name)

    first = ask(name, model, "call two tools", stream=stream, tools=tools)
    last = ask(name, model, weather_results(first, "call two tools"), stream=stream, tools=tools)

    assert first.finish == ("tool_calls" if name == "openai" else "tool_use")
    assert [(call.name, call.arguments) for call in first.calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_weather", {"city": "Rome"}),
    ]
    ids = [call.id for call in first.calls]
    assert len(set(ids)) == 2
    assert last.text == f"{ids[0]}: 21 degrees; {ids[1]}: 25 degrees"
    assert last.finish == ("stop" if name == "openai" else "end_turn")


@everyone
@everywhere
@streamed
def test_a_text_before_a_call_is_kept(ask, name, model, stream):
    tools = tools_of(name)

    first = ask(name, model, "call a tool", stream=stream, tools=tools)
    last = ask(name, model, weather_results(first, "call a tool"), stream=stream, tools=tools)

    assert first.text == "Let me look."
    assert [call.arguments for call in first.calls] == [{"city": "Paris"}]
    assert last.text.endswith(": 21 degrees")


@everyone
@everywhere
@streamed
def test_a_call_without_arguments_has_an_empty_object(ask, name, model, stream):
    answer = ask(name, model, "call a bare tool", stream=stream, tools=tools_of(name))

    assert [(call.name, call.arguments) for call in answer.calls] == [("get_time", {})]


@everyone
@everywhere
def test_choices_of_tools_arrive(ask, providers, name, model):
    choice = {
        "openai": {"type": "function", "function": {"name": "get_time"}},
        "anthropic": {"type": "tool", "name": "get_time"},
    }[name]

    ask(name, model, "say hello", tools=tools_of(name), tool_choice=choice)

    sent = providers.calls[-1].body["tool_choice"]
    to_anthropic = model == ANTHROPIC
    assert (sent["name"] if to_anthropic else sent["function"]["name"]) == "get_time"


def test_one_call_at_a_time_is_asked_for_in_both_ways(openai_client, anthropic_client, providers):
    ask_openai(openai_client, ANTHROPIC, "say hello", tools=TOOLS_OPENAI, parallel_tool_calls=False)
    to_anthropic = providers.calls[-1].body
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    ask_anthropic(anthropic_client, OPENAI, "say hello", tools=TOOLS_ANTHROPIC, tool_choice=choice)
    to_openai = providers.calls[-1].body

    assert to_anthropic["tool_choice"] == choice
    assert to_openai["parallel_tool_calls"] is False


@everywhere
def test_a_failed_tool_is_told(anthropic_client, model):
    first = ask_anthropic(anthropic_client, model, "call a tool", tools=TOOLS_ANTHROPIC)
    conversation = weather_results(first, "call a tool")
    conversation[-1]["content"][0] |= {"is_error": True, "content": "no such city"}

    last = ask_anthropic(anthropic_client, model, conversation, tools=TOOLS_ANTHROPIC)

    assert "no such city" in last.text
    assert "rror" in last.text or "failed" in last.text


@everyone
@everywhere
@streamed
def test_images_arrive_unchanged(ask, name, model, stream):
    text = {"type": "text", "text": "describe image"}
    if name == "openai":
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}
    else:
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}}

    answer = ask(name, model, [{"role": "user", "content": [image, text]}], stream=stream)

    assert answer.text == SEEN


@everyone
@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
def test_addresses_of_images_arrive(ask, name, model):
    url = "https://example.org/cat.png"
    text = {"type": "text", "text": "describe image"}
    if name == "openai":
        image = {"type": "image_url", "image_url": {"url": url}}
    else:
        image = {"type": "image", "source": {"type": "url", "url": url}}

    assert ask(name, model, [{"role": "user", "content": [text, image]}]).text == url


@everywhere
@streamed
def test_openais_structured_output_has_its_shape(openai_client, model, stream):
    shape = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True}}

    answer = ask_openai(openai_client, model, "json", stream=stream, response_format=shape)

    assert json.loads(answer.text) == WEATHER
    assert (answer.finish, answer.calls) == ("stop", [])


@everywhere
@streamed
def test_anthropics_structured_output_has_its_shape(anthropic_client, model, stream):
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}

    answer = ask_anthropic(anthropic_client, model, "json", stream=stream, output_config=config)

    assert json.loads(answer.text) == WEATHER
    assert (answer.finish, answer.calls) == ("end_turn", [])


@streamed
@pytest.mark.parametrize("model", [ANTHROPIC, LOCAL])
def test_anthropics_client_sees_the_thinking(anthropic_client, model, stream):
    thinking = {"type": "enabled", "budget_tokens": 1024}

    answer = ask_anthropic(
        anthropic_client, model, "think", stream=stream, max_tokens=2000, thinking=thinking
    )

    assert (answer.thinking, answer.text) == (REASONING, GREETING)
    assert answer.tokens == (30, 25)
    if model == ANTHROPIC:
        assert answer.signature == SIGNATURE


@streamed
@pytest.mark.parametrize("model", [ANTHROPIC, LOCAL])
def test_openais_client_sees_the_thinking(openai_client, proxy, model, stream):
    answer = ask_openai(openai_client, model, "think", stream=stream, reasoning_effort="low")

    assert (answer.thinking, answer.text) == (REASONING, GREETING)
    assert answer.usage.completion_tokens_details.reasoning_tokens == 16
    record = proxy.record(answer.headers["x-request-id"])
    assert record["tokens"]["reasoning"] == 16


@streamed
def test_the_modern_models_of_anthropic_think_as_they_like(openai_client, providers, stream):
    model = "anthropic/claude-opus-5-5"

    answer = ask_openai(
        openai_client, model, "think", stream=stream, reasoning_effort="high", temperature=0.5
    )

    assert answer.text == GREETING
    sent = providers.calls[-1].body
    assert (sent["thinking"]["type"], sent["output_config"]["effort"]) == ("adaptive", "high")
    # They take no sampling; the client is told that its wish was dropped.
    assert "temperature" not in sent
    assert "temperature" in answer.headers["x-bartizan-lost"]


@streamed
def test_thinking_makes_the_round_with_tools(anthropic_client, stream):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    more = {"stream": stream, "max_tokens": 2000, "thinking": thinking, "tools": TOOLS_ANTHROPIC}

    first = ask_anthropic(anthropic_client, ANTHROPIC, "think and call a tool", **more)
    conversation = weather_results(first, "think and call a tool")
    last = ask_anthropic(anthropic_client, ANTHROPIC, conversation, **more)

    assert first.signature == SIGNATURE
    assert last.text == "toolu_Paris: 21 degrees"


def test_the_thinking_of_one_provider_does_not_trouble_another(anthropic_client):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    more = {"max_tokens": 2000, "thinking": thinking, "tools": TOOLS_ANTHROPIC}
    first = ask_anthropic(anthropic_client, ANTHROPIC, "think and call a tool", **more)

    conversation = weather_results(first, "think and call a tool")
    last = ask_anthropic(anthropic_client, "openai/gpt-5-mini", conversation, **more)

    assert last.text == "toolu_Paris: 21 degrees"


def test_an_openai_client_makes_the_round_with_thinking_and_tools(openai_client):
    more = {"reasoning_effort": "low", "tools": TOOLS_OPENAI, "max_completion_tokens": 4000}

    first = ask_openai(openai_client, ANTHROPIC, "think and call a tool", **more)
    last = ask_openai(openai_client, ANTHROPIC, weather_results(first, "think and call a tool"), **more)

    assert first.thinking == REASONING
    assert last.text == "toolu_Paris: 21 degrees"


@everyone
@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
@streamed
@pytest.mark.parametrize(
    "text, finishes",
    [
        ("go on for long", {"openai": "length", "anthropic": "max_tokens"}),
        ("refuse", {"openai": "content_filter", "anthropic": "refusal"}),
    ],
)
def test_the_reason_for_the_end_is_kept(ask, name, model, stream, text, finishes):
    answer = ask(name, model, text, stream=stream)

    assert answer.finish == finishes[name]


@everyone
@streamed
def test_stop_sequences_arrive(ask, providers, name, stream):
    setting = {"stop": ["END"]} if name == "openai" else {"stop_sequences": ["END"]}

    from_anthropic = ask(name, ANTHROPIC, "stop at", stream=stream, **setting)
    ask(name, OPENAI, "say hello", stream=stream, **setting)

    assert from_anthropic.finish == ("stop" if name == "openai" else "stop_sequence")
    assert name == "openai" or from_anthropic.stop_sequence == "END"
    assert providers.calls[-1].body["stop"] in ("END", ["END"])


@streamed
def test_cached_tokens_are_counted_in_openais_way(openai_client, proxy, stream):
    read = ask_openai(openai_client, OPENAI, "use the cache", stream=stream)
    written = ask_openai(openai_client, ANTHROPIC, "write the cache", stream=stream)

    for answer in (read, written):
        assert answer.tokens == (2560, 300)
        assert answer.usage.prompt_tokens_details.cached_tokens == 2048
    assert read.usage.completion_tokens_details.reasoning_tokens == 120
    cost = float(proxy.record(written.headers["x-request-id"])["cost"])
    assert cost == pytest.approx((100 * 3 + 2048 * 0.3 + 412 * 3.75 + 300 * 15) / 1e6)


@streamed
def test_cached_tokens_are_counted_in_anthropics_way(anthropic_client, proxy, stream):
    read = ask_anthropic(anthropic_client, OPENAI, "use the cache", stream=stream)
    written = ask_anthropic(anthropic_client, ANTHROPIC, "write the cache", stream=stream)

    assert (read.usage.input_tokens, read.usage.cache_read_input_tokens) == (512, 2048)
    assert (written.usage.input_tokens, written.usage.cache_read_input_tokens) == (100, 2048)
    assert written.usage.cache_creation_input_tokens == 412
    cost = float(proxy.record(read.headers["x-request-id"])["cost"])
    assert cost == pytest.approx((512 * 0.15 + 2048 * 0.075 + 300 * 0.6) / 1e6)


def test_usage_is_not_shown_to_a_stream_that_did_not_ask(openai_client, proxy):
    for model in (OPENAI, ANTHROPIC):
        raw = openai_client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": "say hello"}], stream=True
        )
        chunks = list(raw.parse())

        assert all(chunk.choices and chunk.usage is None for chunk in chunks)
        assert proxy.record(raw.headers["x-request-id"])["tokens"]["output"] == 9


def test_settings_are_translated(openai_client, anthropic_client, providers):
    ask_openai(openai_client, ANTHROPIC, "say hello", temperature=0.5, max_tokens=77, user="u1")
    to_anthropic = providers.calls[-1].body
    ask_anthropic(anthropic_client, OPENAI, "say hello", max_tokens=77, extra_body={"temperature": 0.5})
    to_openai = providers.calls[-1].body

    assert (to_anthropic["temperature"], to_anthropic["max_tokens"]) == (0.5, 77)
    assert to_openai["temperature"] == 0.5
    assert to_openai.get("max_completion_tokens", to_openai.get("max_tokens")) == 77


def test_a_missing_limit_of_output_becomes_what_is_reserved(openai_client, providers):
    ask_openai(openai_client, ANTHROPIC, "say hello")

    assert providers.calls[-1].body["max_tokens"] == 16384


def test_the_own_dialect_passes_unchanged(openai_client, anthropic_client, providers):
    openai_client.chat.completions.create(
        model=OPENAI,
        messages=[{"role": "user", "content": "say hello", "name": "ann"}],
        seed=7,
        logit_bias={"50256": -100},
        metadata={"a": "b"},
        prompt_cache_key="k",
        max_completion_tokens=12,
    )
    to_openai = providers.calls[-1].body
    anthropic_client.messages.create(
        model=ANTHROPIC,
        max_tokens=12,
        extra_body={"top_k": 3},
        extra_headers={"anthropic-version": "2023-06-01"},
        metadata={"user_id": "u"},
        system=[{"type": "text", "text": "Be.", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "say hello"}]}],
    )
    to_anthropic = providers.calls[-1].body

    assert to_openai == {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "say hello", "name": "ann"}],
        "seed": 7,
        "logit_bias": {"50256": -100},
        "metadata": {"a": "b"},
        "prompt_cache_key": "k",
        "max_completion_tokens": 12,
    }
    assert to_anthropic["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert (to_anthropic["top_k"], to_anthropic["metadata"]) == (3, {"user_id": "u"})


def test_what_is_lost_is_named(openai_client, anthropic_client, proxy):
    lost = ask_openai(openai_client, ANTHROPIC, "say hello", seed=7, logit_bias={"1": 5})
    lost_too = ask_anthropic(anthropic_client, OPENAI, "say hello", extra_body={"top_k": 5})

    assert {"seed", "logit_bias"} <= set(lost.headers["x-bartizan-lost"].replace(" ", "").split(","))
    assert {"seed", "logit_bias"} <= set(proxy.record(lost.headers["x-request-id"])["lost"])
    assert "top_k" in lost_too.headers["x-bartizan-lost"]


def test_whoever_is_strict_is_refused_and_told_the_field(openai_client, providers):
    for model, headers in [("strict", {}), (ANTHROPIC, {"x-bartizan-strict": "true"})]:
        with pytest.raises(openai.BadRequestError) as refused:
            ask_openai(openai_client, model, "say hello", seed=7, extra_headers=headers)

        assert "seed" in refused.value.message
    assert providers.calls == []


@pytest.mark.parametrize("more", [{}, {"encoding_format": "float"}, {"dimensions": 3}])
def test_embeddings_come_in_the_form_that_was_asked_for(openai_client, proxy, providers, more):
    from fake_openai import vector

    raw = openai_client.embeddings.with_raw_response.create(
        model="openai/text-embedding-3-small", input=["a", "b"], **more
    )

    answer = raw.parse()
    wanted = [vector(text, more.get("dimensions", 8)) for text in "ab"]
    assert [item.embedding for item in answer.data] == wanted
    record = proxy.record(raw.headers["x-request-id"])
    assert (record["tokens"]["input"], record["tokens"]["output"]) == (8, 0)
    assert float(record["cost"]) == pytest.approx(8 * 0.02 / 1e6)


def test_embeddings_are_not_to_be_had_from_anthropic(openai_client):
    with pytest.raises(openai.APIStatusError) as refused:
        openai_client.embeddings.create(model=ANTHROPIC, input="a")

    assert refused.value.status_code in (400, 404)


def test_both_sdks_list_the_models(of_openai, of_anthropic):
    everything = [model.id for model in of_openai("main").models.list()]
    allowed = [model.id for model in of_anthropic("narrow").models.list()]

    assert {"chat", "flaky", "strict"} <= set(everything)
    assert "chat" in allowed
    assert "flaky" not in allowed


@pytest.mark.parametrize("name", ["chat", "openai/gpt-4o-mini"])
def test_both_sdks_find_one_model(openai_client, anthropic_client, name):
    assert openai_client.models.retrieve(name).id == name
    assert anthropic_client.models.retrieve(name).id == name


def test_models_that_are_not_there_are_not_found(openai_client, anthropic_client):
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("no-such-model")
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.models.retrieve("no-such-model")


@streamed
def test_calls_of_a_beta_arrive_with_its_name(anthropic_client, providers, stream):
    """They go to another path: `/v1/messages?beta=true`."""
    message = anthropic_client.beta.messages.create(
        model=ANTHROPIC,
        max_tokens=100,
        messages=[{"role": "user", "content": "say hello"}],
        betas=["context-management-2025-06-27"],
        context_management={"edits": []},
        stream=stream,
    )
    text = "".join(
        event.delta.text for event in message if event.type == "content_block_delta"
    ) if stream else message.content[0].text

    assert text == GREETING
    [call] = providers.calls
    assert call.headers["anthropic-beta"] == "context-management-2025-06-27"
    assert call.body["context_management"] == {"edits": []}


def test_several_answers_at_once_are_named_as_lost_where_there_is_only_one(openai_client):
    answer = ask_openai(openai_client, ANTHROPIC, "say hello", n=2)

    assert answer.headers["x-bartizan-lost"] == "n"


def test_the_helpers_of_the_sdks_work(openai_client, anthropic_client):
    import pydantic

    class Weather(pydantic.BaseModel):
        city: str
        degrees: int

    for model in (OPENAI, ANTHROPIC):
        parsed = openai_client.chat.completions.parse(
            model=model, messages=[{"role": "user", "content": "json"}], response_format=Weather
        )
        with openai_client.chat.completions.stream(
            model=model, messages=[{"role": "user", "content": "call two tools"}], tools=STRICT_TOOLS
        ) as stream:
            completion = stream.get_final_completion()
        with anthropic_client.messages.stream(
            model=model, max_tokens=100, messages=[{"role": "user", "content": "call two tools"}],
            tools=TOOLS_ANTHROPIC,
        ) as stream:
            message = stream.get_final_message()

        assert parsed.choices[0].message.parsed == Weather(**WEATHER)
        calls = completion.choices[0].message.tool_calls
        assert [call.function.parsed_arguments for call in calls] == [{"city": "Paris"}, {"city": "Rome"}]
        assert [block.input["city"] for block in message.content] == ["Paris", "Rome"]
        assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 9)


STRICT_TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": CITY, "strict": True}},
]


def test_many_ask_at_the_same_time(proxy, providers):
    async def ask_all():
        mine = openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=VIRTUAL["main"], max_retries=0)
        yours = anthropic.AsyncAnthropic(base_url=proxy.url, api_key=VIRTUAL["main"], max_retries=0)
        async with mine, yours:
            asked = []
            for turn in range(10):
                for model in (OPENAI, ANTHROPIC):
                    stream = turn % 2 == 1
                    asked.append(ask_openai_async(mine, model, f"number {turn}", stream=stream))
                    asked.append(ask_anthropic_async(yours, model, f"number {turn}", stream=stream))
            return await asyncio.gather(*asked)

    answers = asyncio.run(ask_all())

    assert [answer.text for answer in answers] == [
        f"You said: number {turn}" for turn in range(10) for _ in range(4)
    ]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 40
