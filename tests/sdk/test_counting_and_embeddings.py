"""Counts of tokens, embeddings, models and legacy completions, asked with the official SDKs."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic
import openai
import pytest
from gateway import Proxy

genai = pytest.importorskip("google.genai")

KEY = "vk-counting-4b1d0c9e8f7a"
CONFIG = """
log: {{ format: json, records: {{ file: {records} }} }}
providers:
  openai: {{ kind: openai, api_key: sk-upstream-0123456789, base_url: "{url}/v1" }}
  anthropic: {{ kind: anthropic, api_key: sk-upstream-0123456789, base_url: "{url}" }}
  gemini: {{ kind: gemini, api_key: sk-upstream-0123456789, base_url: "{url}/v1beta" }}
  local: {{ kind: openai-compatible, api_key: sk-upstream-0123456789, base_url: "{url}/v1" }}
models:
  gpt: {{ targets: [ {{ use: openai/m }} ] }}
  claude: {{ targets: [ {{ use: anthropic/m }} ] }}
  flash: {{ targets: [ {{ use: gemini/m }} ] }}
  local: {{ targets: [ {{ use: local/m }} ] }}
  hidden: {{ targets: [ {{ use: local/m }} ] }}
prices:
  "*/*": {{ input: 1, output: 1 }}
keys:
  - {{ name: main, key: {key}, allow: [ gpt, claude, flash, local ] }}
"""
COUNTED = 7
VECTOR = [0.5, -2.0]
MODELS = {"gpt", "claude", "flash", "local"}
PROVIDERS = ["gpt", "claude", "flash"]


def answer(path, body):
    texts = len(body.get("requests") or body["input"]) if {"requests", "input"} & body.keys() else 1
    match path.replace(":", "/").rsplit("/", 1)[-1]:
        case "count_tokens" | "input_tokens":
            return {"object": "response.input_tokens", "input_tokens": COUNTED}
        case "countTokens":
            return {"totalTokens": COUNTED}
        case "embeddings":
            one = {"object": "embedding", "embedding": VECTOR}
            data = [{**one, "index": index} for index in range(texts)]
            return {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}}
        case "batchEmbedContents":
            return {"embeddings": [{"values": VECTOR}] * texts}
        case "completions" if "chat" not in path:
            choice = {"text": "a time", "index": 0, "logprobs": None, "finish_reason": "stop"}
            usage = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
            return {
                "id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], "usage": usage
            }
        case "messages":
            return {
                "id": "c", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
                "content": [{"type": "text", "text": "a time"}], "usage": {"input_tokens": 4, "output_tokens": 2},
            }
    raise AssertionError(path)


class Upstream(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = json.dumps(answer(self.path.split("?")[0], body)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    directory = tmp_path_factory.mktemp("counting")
    upstream = f"http://127.0.0.1:{server.server_port}"
    with Proxy(directory, CONFIG.format(url=upstream, records=directory / "records.jsonl", key=KEY)) as proxy:
        yield proxy.url
    server.shutdown()


@pytest.fixture(scope="module")
def of_openai(url):
    return openai.OpenAI(base_url=f"{url}/openai/v1", api_key=KEY, max_retries=0, timeout=15)


@pytest.fixture(scope="module")
def of_anthropic(url):
    return anthropic.Anthropic(base_url=f"{url}/anthropic", api_key=KEY, max_retries=0, timeout=15)


@pytest.fixture(scope="module")
def of_google(url):
    return genai.Client(api_key=KEY, http_options={"base_url": f"{url}/genai", "timeout": 15_000})


@pytest.mark.parametrize("model", PROVIDERS)
def test_tokens_are_counted_for_every_client(model, of_openai, of_anthropic, of_google):
    said = [{"role": "user", "content": "Hello"}]

    assert of_openai.responses.input_tokens.count(model=model, input="Hello").input_tokens == COUNTED
    assert of_anthropic.messages.count_tokens(model=model, messages=said).input_tokens == COUNTED
    assert of_google.models.count_tokens(model=model, contents="Hello").total_tokens == COUNTED


def test_an_estimate_says_that_it_is_one(of_anthropic):
    said = [{"role": "user", "content": "Hello, world"}]

    raw = of_anthropic.messages.with_raw_response.count_tokens(model="local", messages=said)

    assert raw.headers["x-bartizan-estimated"] == "true"
    assert 0 < raw.parse().input_tokens < 20


@pytest.mark.parametrize("model", ["gpt", "flash", "local"])
def test_vectors_come_in_the_form_that_the_sdk_wants(model, of_openai, of_google):
    # OpenAI's SDK asks for base64 unless it is told otherwise.
    default = of_openai.embeddings.create(model=model, input=["a", "b"])
    floats = of_openai.embeddings.create(model=model, input="a", encoding_format="float")
    google = of_google.models.embed_content(model=model, contents=["a", "b"])

    assert [vector.embedding for vector in default.data] == [VECTOR, VECTOR]
    assert [vector.embedding for vector in floats.data] == [VECTOR]
    assert default.usage.prompt_tokens > 0
    assert [vector.values for vector in google.embeddings] == [VECTOR, VECTOR]


def test_tokens_as_input_are_refused_where_they_mean_nothing(of_openai):
    with pytest.raises(openai.BadRequestError) as refused:
        of_openai.embeddings.create(model="flash", input=[1, 2, 3])

    assert refused.value.param == "input"


def test_every_sdk_lists_what_its_key_may_use(of_openai, of_anthropic, of_google):
    # Page by page.
    assert {model.id for model in of_openai.models.list()} == MODELS
    assert {model.id for model in of_anthropic.models.list(limit=2)} == MODELS
    listed = of_google.models.list(config={"page_size": 3})
    assert {model.name for model in listed} == {f"models/{name}" for name in MODELS}

    assert of_openai.models.retrieve("gpt").id == "gpt"
    assert of_anthropic.models.retrieve("gpt").display_name == "gpt"
    assert of_google.models.get(model="gpt").name == "models/gpt"
    with pytest.raises(openai.NotFoundError):
        of_openai.models.retrieve("hidden")
    with pytest.raises(anthropic.NotFoundError):
        of_anthropic.models.retrieve("hidden")


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_models_are_listed_for_googles_sdk_at_the_plain_address(url, version):
    options = {"base_url": url, "api_version": version, "timeout": 15_000}
    of_google = genai.Client(api_key=KEY, http_options=options)

    assert {model.name for model in of_google.models.list()} == {f"models/{name}" for name in MODELS}


@pytest.mark.parametrize("model", ["local", "claude"])
def test_a_text_goes_on(model, of_openai):
    completion = of_openai.completions.create(model=model, prompt="Once upon", max_tokens=9)

    assert completion.choices[0].text == "a time"
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (4, 2)
