"""Azure's client of OpenAI's SDK, which names models in the path and its key in a header of its own."""

import openai
import pytest
from gateway import VIRTUAL
from scenario import GREETING

HI = [{"role": "user", "content": "say hello"}]
OPENAI, ANTHROPIC = "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5"


@pytest.fixture
def azure(proxy, providers):
    """Makes clients that know nothing but the address and a key."""
    made = []

    def client(**more):
        given = {"azure_endpoint": proxy.url, "api_key": VIRTUAL["main"], "api_version": "2024-10-21"} | more
        made.append(openai.AzureOpenAI(**given, max_retries=0, timeout=15))
        return made[-1]

    yield client
    for one in made:
        one.close()


@pytest.mark.parametrize("model", ["chat", OPENAI, ANTHROPIC])
def test_a_deployment_is_a_model(azure, model):
    whole = azure().chat.completions.create(model=model, messages=HI)
    chunks = list(azure().chat.completions.create(model=model, messages=HI, stream=True))

    assert whole.choices[0].message.content == GREETING
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == GREETING


@pytest.mark.parametrize("said", ["chat", OPENAI, "whatever"])
def test_the_deployment_of_the_client_goes_before_the_model_of_the_request(azure, proxy, said):
    client = azure(azure_deployment=ANTHROPIC)

    raw = client.chat.completions.with_raw_response.create(model=said, messages=HI)

    assert raw.parse().choices[0].message.content == GREETING
    assert raw.headers["x-bartizan-provider"] == "anthropic"
    assert proxy.record(raw.headers["x-request-id"])["model"] == ANTHROPIC


def test_keys_count_for_the_deployment(azure):
    narrow = azure(api_key=VIRTUAL["narrow"], azure_deployment="flaky")

    with pytest.raises(openai.PermissionDeniedError):
        narrow.chat.completions.create(model="chat", messages=HI)
    with pytest.raises(openai.AuthenticationError):
        azure(api_key="vk-unknown").chat.completions.create(model="chat", messages=HI)
    with pytest.raises(openai.NotFoundError):
        azure().chat.completions.create(model="nowhere", messages=HI)


def test_everything_else_is_where_azure_has_it(azure):
    embedded = azure().embeddings.create(model="openai/text-embedding-3-small", input=["a", "b"])
    answered = azure().responses.create(model=ANTHROPIC, input="say hello")
    models = [model.id for model in azure().models.list()]

    assert len(embedded.data) == 2
    assert answered.output_text == GREETING
    assert "chat" in models
