"""OpenAI's SDK at the endpoints that are passed through: images, sound, film, moderation, ranking."""

import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest
from gateway import Proxy, environment

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
KEY, OTHER, POOR = "vk-endpoints-4b1d0c9e8f7a", "vk-elsewhere-4b1d0c9e8f7a", "vk-penniless-4b1d0c9e8f7a"
UPSTREAM = "sk-upstream-0123456789"
SOUND = bytes(range(256)) * 8
VIDEO = {"id": "video_abc", "object": "video", "created_at": 1, "status": "queued", "progress": 0, "error": None}
IMAGE_TOKENS = {
    "input_tokens": 10, "output_tokens": 1056, "total_tokens": 1066,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 0},
}
CONFIG = """
log: {{ format: json, records: {{ file: {records} }} }}
providers:
  openai: {{ kind: openai, api_key: {upstream}, base_url: {url}/v1 }}
  ranker: {{ kind: cohere, api_key: {upstream}, base_url: {url}/v1 }}
models:
  picture: {{ targets: [ {{ use: openai/gpt-image-1 }} ] }}
  voice: {{ targets: [ {{ use: openai/tts-1 }} ] }}
  ear: {{ targets: [ {{ use: openai/whisper-1 }} ] }}
  film: {{ targets: [ {{ use: openai/sora-2 }} ] }}
  ranking: {{ targets: [ {{ use: ranker/rerank-v3.5 }} ] }}
keys:
  - {{ name: main, key: {key}, budget: {{ usd: 100, per: month }} }}
  - {{ name: other, key: {other}, budget: {{ usd: 100, per: month }} }}
  - {{ name: poor, key: {poor}, budget: {{ usd: 0.000001, per: month }} }}
"""


class Provider(BaseHTTPRequestHandler):
    """Answers as OpenAI does, and keeps what it was asked."""

    protocol_version = "HTTP/1.1"

    def answer(self, body, content_type="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        assert self.headers["authorization"] == f"Bearer {UPSTREAM}"
        self.server.asked.append((self.command, self.path, self.headers.get("content-type"), body))
        path = self.path.removeprefix("/v1")
        if path == "/moderations":
            self.answer({"id": "modr-1", "model": "omni-moderation-latest", "results": []})
        elif path.startswith("/images/") and b'"stream"' in body:
            event = {"type": "image_generation.completed", "b64_json": "aGk=", "usage": IMAGE_TOKENS}
            self.answer(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode(), "text/event-stream")
        elif path.startswith("/images/"):
            self.answer({"created": 1, "data": [{"b64_json": "aGk="}], "usage": IMAGE_TOKENS})
        elif path == "/audio/speech":
            self.answer(SOUND, "audio/mpeg")
        elif path.startswith("/audio/"):
            if b"srt" in body:
                self.answer(b"1\n00:00:00,000 --> 00:00:01,000\nHi\n", "text/plain; charset=utf-8")
            else:
                self.answer({"text": "Hi", "usage": {"type": "duration", "seconds": 9}})
        elif path == "/rerank":
            self.answer({"results": [{"index": 0, "relevance_score": 1}], "meta": {"billed_units": {"search_units": 1}}})
        elif path == "/videos/video_abc/content":
            self.answer(SOUND, "video/mp4")
        elif self.command == "DELETE":
            self.answer({"id": "video_abc", "object": "video.deleted", "deleted": True})
        else:
            self.answer({**VIDEO, "model": "sora-2", "seconds": "8", "size": "720x1280"})

    do_GET = do_POST = do_DELETE = handle_any

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def provider():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    server.daemon_threads = True
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def gateway(provider, tmp_path_factory):
    directory = tmp_path_factory.mktemp("endpoints")
    config = CONFIG.format(
        url=f"http://127.0.0.1:{provider.server_port}", records=directory / "records.jsonl",
        upstream=UPSTREAM, key=KEY, other=OTHER, poor=POOR,
    )
    with Proxy(directory, config, environment()) as running:
        yield running


def client(gateway, key=KEY):
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, timeout=15)


def last_record(gateway, answered):
    return gateway.record(answered.headers["x-request-id"])


def test_moderation_is_free_and_recorded(gateway):
    answered = client(gateway).moderations.with_raw_response.create(input="Hi")

    assert answered.parse().id == "modr-1"
    assert (last_record(gateway, answered)["model"], last_record(gateway, answered)["cost"]) == ("omni-moderation-latest", "0")


def test_images_are_made_and_charged_by_their_tokens(gateway, provider):
    with client(gateway) as sdk:
        answered = sdk.images.with_raw_response.generate(model="picture", prompt="a cat", quality="medium")
        edited = sdk.images.with_raw_response.edit(model="picture", prompt="a dog", image=[b"png", b"png"])
        events = list(sdk.images.generate(model="picture", prompt="a cat", stream=True))

    assert answered.parse().data[0].b64_json == "aGk="
    assert [last_record(gateway, made)["cost"] for made in (answered, edited)] == ["0.04229", "0.04229"]
    assert events[-1].type == "image_generation.completed"
    _, _, content_type, body = provider.asked[-2]
    assert content_type.startswith("multipart/form-data; boundary=") and b"gpt-image-1" in body and b"picture" not in body


def test_sound_comes_as_it_is(gateway):
    answered = client(gateway).audio.speech.with_raw_response.create(model="voice", input="Hello", voice="alloy")

    assert answered.content == SOUND
    assert last_record(gateway, answered)["cost"] == "0.000075"


def test_speech_is_written_down(gateway):
    with client(gateway) as sdk:
        file = ("a.mp3", b"\0" * 9_000, "audio/mpeg")
        answered = sdk.audio.transcriptions.with_raw_response.create(model="ear", file=file)
        titles = sdk.audio.transcriptions.create(model="ear", file=file, response_format="srt")
        translated = sdk.audio.translations.create(model="ear", file=file)
    with openai.AzureOpenAI(
        azure_endpoint=gateway.url, azure_deployment="ear", api_key=KEY, api_version="2024-10-21", max_retries=0
    ) as azure:
        deployed = azure.audio.transcriptions.create(model="whatever", file=file)

    assert deployed.text == "Hi"
    assert answered.parse().text == translated.text == "Hi"
    assert last_record(gateway, answered)["cost"] == "0.0009"
    assert titles.startswith("1\n00:00:00,000")


def test_documents_are_ranked(gateway):
    body = {"model": "ranking", "query": "q", "documents": ["a", "b"]}
    request = urllib.request.Request(
        f"{gateway.url}/v1/rerank", json.dumps(body).encode(),
        {"authorization": f"Bearer {KEY}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=15) as answered:
        assert json.load(answered)["results"][0]["index"] == 0

    assert last_record(gateway, answered)["cost"] == "0.002"


def test_a_film_is_made_followed_and_fetched_by_its_own_key_only(gateway, provider):
    with client(gateway) as sdk, client(gateway, OTHER) as other:
        made = sdk.videos.with_raw_response.create(model="film", prompt="a cat", seconds="8", size="720x1280")
        video = made.parse()
        assert last_record(gateway, made)["cost"] == "0.8"
        assert sdk.videos.retrieve(video.id).id == video.id
        assert sdk.videos.download_content(video.id).content == SOUND
        with pytest.raises(openai.NotFoundError):
            other.videos.retrieve(video.id)
        assert sdk.videos.delete(video.id).deleted

    assert [asked[:2] for asked in provider.asked[-3:]] == [
        ("GET", "/v1/videos/video_abc"), ("GET", "/v1/videos/video_abc/content"), ("DELETE", "/v1/videos/video_abc"),
    ]


def test_who_has_no_money_gets_nothing(gateway, provider):
    asked = len(provider.asked)
    with client(gateway, POOR) as sdk:
        for ask in (
            lambda: sdk.images.generate(model="picture", prompt="a cat"),
            lambda: sdk.audio.speech.create(model="voice", input="Hello", voice="alloy"),
            lambda: sdk.audio.transcriptions.create(model="ear", file=b"\0" * 9_000),
            lambda: sdk.videos.create(model="film", prompt="a cat"),
        ):
            with pytest.raises(openai.RateLimitError):
                ask()

    assert len(provider.asked) == asked
