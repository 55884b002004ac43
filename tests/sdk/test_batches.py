"""OpenAI's SDK storing requests, and beginning, following and fetching batches of them."""

import io
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest
from fake_openai import Chat, Refusal, must
from gateway import Proxy, environment

KEY, OTHER, POOR = "vk-batches-4b1d0c9e8f7a", "vk-elsewhere-4b1d0c9e8f7a", "vk-penniless-4b1d0c9e8f7a"
UPSTREAM = "sk-upstream-0123456789"
CHAT = "/v1/chat/completions"
MODEL = "gpt-4o-mini"
CONFIG = """
log: {{ format: json, records: {{ file: {records} }} }}
providers:
  openai: {{ kind: openai, api_key: {upstream}, base_url: {url}/v1 }}
  mistral: {{ kind: mistral, api_key: {upstream}, base_url: {url}/v1 }}
models:
  nightly: {{ targets: [ {{ use: openai/gpt-4o-mini }} ] }}
  elsewhere: {{ targets: [ {{ use: mistral/mistral-small-latest }} ] }}
keys:
  - {{ name: main, key: {key}, budget: {{ usd: 100, per: month }} }}
  - {{ name: other, key: {other}, budget: {{ usd: 100, per: month }} }}
  - {{ name: poor, key: {poor}, budget: {{ usd: 0.000001, per: month }} }}
"""
USAGE = {
    "input_tokens": 1500, "input_tokens_details": {"cached_tokens": 1000},
    "output_tokens": 500, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 2000,
}


class Account:
    """What lies at the provider: files, and batches that are over when they are asked for twice."""

    def __init__(self):
        self.files, self.batches, self.asked = {}, {}, []

    def store(self, content_type, body):
        boundary = re.fullmatch(r"multipart/form-data; boundary=(\S+)", content_type)[1].encode()
        first, *parts, last = (b"\r\n" + body).split(b"\r\n--" + boundary)
        must((first, last.strip()) == (b"", b"--"), "the form is broken")
        fields = {}
        for part in parts:
            head, content = part.split(b"\r\n\r\n", 1)
            fields[re.search(rb'name="([^"]+)"', head)[1].decode()] = content
        must(set(fields) == {"purpose", "file"} and fields["purpose"] == b"batch", "Invalid purpose", "purpose")
        return self.add(fields["file"], "batch")

    def add(self, content, purpose):
        file = {
            "id": f"file-{len(self.files):04}", "object": "file", "bytes": len(content), "created_at": 1,
            "filename": "x.jsonl", "purpose": purpose, "status": "processed",
        }
        self.files[file["id"]] = (file, content)
        return file

    def begin(self, body):
        must(set(body) <= {"input_file_id", "endpoint", "completion_window", "metadata"}, "Unknown parameter")
        must(body["input_file_id"] in self.files, "No such file", "input_file_id")
        must(body["completion_window"] == "24h", "Invalid completion_window", "completion_window")
        lines = self.files[body["input_file_id"]][1].decode().strip().split("\n")
        requests = [json.loads(line) for line in lines]
        must(len({request["custom_id"] for request in requests}) == len(requests), "Duplicate custom_id")
        for request in requests:
            must(set(request) == {"custom_id", "method", "url", "body"}, "Unknown member of a line")
            must((request["method"], request["url"]) == ("POST", body["endpoint"]), "Mismatched endpoint", "endpoint")
            must(request["body"]["model"] == MODEL, "No such model", "model")
            Chat().validate(request["body"], {})
        batch = {
            "id": f"batch_{len(self.batches):04}", "object": "batch", "endpoint": body["endpoint"], "errors": None,
            "input_file_id": body["input_file_id"], "completion_window": "24h", "status": "validating",
            "output_file_id": None, "error_file_id": None, "created_at": 1, "metadata": body.get("metadata"),
            "request_counts": {"total": len(requests), "completed": 0, "failed": 0},
        }
        self.batches[batch["id"]] = batch
        return batch

    def follow(self, name):
        batch = self.batches[name]
        if batch["status"] == "cancelling":
            batch["status"] = "cancelled"
        elif batch["status"] == "in_progress":
            total = batch["request_counts"]["total"]
            output = b"".join(b'{"id":"batch_req_%d","custom_id":"%d","error":null}\n' % (n, n) for n in range(total))
            batch |= {
                "status": "completed", "output_file_id": self.add(output, "batch_output")["id"], "usage": USAGE,
                "request_counts": {"total": total, "completed": total, "failed": 0},
            }
        elif batch["status"] == "validating":
            batch["status"] = "in_progress"
        return batch

    def cancel(self, name):
        self.batches[name]["status"] = "cancelling"
        return self.batches[name]

    def delete(self, name):
        del self.files[name]
        return {"id": name, "object": "file", "deleted": True}


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, content_type="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        assert self.headers["authorization"] == f"Bearer {UPSTREAM}"
        account, path = self.server.account, self.path.removeprefix("/v1/").split("/")
        account.asked.append((self.command, self.path))
        try:
            match self.command, *path:
                case "POST", "files":
                    self.answer(200, account.store(self.headers["content-type"], body))
                case "GET", "files", name if name in account.files:
                    self.answer(200, account.files[name][0])
                case "GET", "files", name, "content" if name in account.files:
                    self.answer(200, account.files[name][1], "application/octet-stream")
                case "DELETE", "files", name if name in account.files:
                    self.answer(200, account.delete(name))
                case "POST", "batches":
                    self.answer(200, account.begin(json.loads(body)))
                case "GET", "batches", name if name in account.batches:
                    self.answer(200, account.follow(name))
                case "POST", "batches", name, "cancel" if name in account.batches:
                    self.answer(200, account.cancel(name))
                case _:
                    self.answer(404, {"error": {"message": f"no {self.path}", "type": "invalid_request_error"}})
        except Refusal as refusal:
            error = {"message": str(refusal), "type": "invalid_request_error", "param": refusal.param}
            self.answer(400, {"error": error})

    do_GET = do_POST = do_DELETE = handle_any

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def account():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    server.daemon_threads = True
    server.account = Account()
    server.account.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.account
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def gateway(account, tmp_path_factory):
    directory = tmp_path_factory.mktemp("batches")
    config = CONFIG.format(
        url=account.url, records=directory / "records.jsonl", upstream=UPSTREAM, key=KEY, other=OTHER, poor=POOR,
    )
    with Proxy(directory, config, environment()) as running:
        yield running


def client(gateway, key=KEY):
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, timeout=15)


def requests(model="nightly", count=3, **more):
    lines = [
        {
            "custom_id": str(n), "method": "POST", "url": CHAT,
            "body": {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": "Hi"}], **more},
        }
        for n in range(count)
    ]
    return io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode())


def begin(sdk, file):
    return sdk.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"job": "nightly"},
    )


def cost(gateway, answered):
    record = gateway.record(answered.headers["x-request-id"])
    return record["cost"], record["tokens"]["input"], record["tokens"]["output"], record["estimated"]


FREE = ("0", 0, 0, False)


def test_a_batch_from_its_file_to_its_answers(gateway, account):
    with client(gateway) as sdk:
        file = sdk.files.create(file=requests(), purpose="batch")
        assert (file.purpose, file.status) == ("batch", "processed")
        assert sdk.files.retrieve(file.id) == file
        assert sdk.files.content(file.id).text.count(f'"{MODEL}"') == 3
        batch = begin(sdk, file)
        assert (batch.status, batch.input_file_id, batch.metadata) == ("validating", file.id, {"job": "nightly"})
        running = sdk.batches.with_raw_response.retrieve(batch.id)
        assert (running.parse().status, running.parse().id, cost(gateway, running)) == ("in_progress", batch.id, FREE)
        over = sdk.batches.with_raw_response.retrieve(batch.id)
        again = sdk.batches.with_raw_response.retrieve(batch.id)
        output = over.parse().output_file_id
        answers = [json.loads(line) for line in sdk.files.content(output).text.splitlines()]
        assert sdk.files.delete(output).deleted and sdk.files.delete(file.id).id == file.id

    # The list has 0.075 and 0.30 for a million in batches, and nothing less for what was cached.
    assert cost(gateway, over) == ("0.0002625", 1500, 500, False)
    assert (cost(gateway, again), again.parse()) == (FREE, over.parse())
    assert over.parse().usage.total_tokens == 2000 and over.parse().error_file_id is None
    assert [answer["custom_id"] for answer in answers] == ["0", "1", "2"]
    assert file.id.startswith("file-") and batch.id.startswith("batch_")
    assert [path for method, path in account.asked if method == "DELETE"] == ["/v1/files/file-0001", "/v1/files/file-0000"]


def test_a_batch_is_cancelled(gateway):
    with client(gateway) as sdk:
        batch = begin(sdk, sdk.files.create(file=requests(), purpose="batch"))
        assert sdk.batches.cancel(batch.id).status == "cancelling"
        over = sdk.batches.with_raw_response.retrieve(batch.id)

    assert (over.parse().status, cost(gateway, over)) == ("cancelled", FREE)


def test_what_belongs_to_another_key_does_not_exist(gateway):
    with client(gateway) as sdk, client(gateway, OTHER) as other:
        file = sdk.files.create(file=requests(), purpose="batch")
        batch = begin(sdk, file)
        for ask in (
            lambda: other.files.retrieve(file.id),
            lambda: other.files.content(file.id),
            lambda: other.files.delete(file.id),
            lambda: other.batches.retrieve(batch.id),
            lambda: other.batches.cancel(batch.id),
            lambda: begin(other, file),
        ):
            with pytest.raises(openai.NotFoundError):
                ask()
        for ask in (sdk.files.list, sdk.batches.list):
            with pytest.raises(openai.APIStatusError, match="can't be listed") as refused:
                ask()
            assert refused.value.status_code == 405


def test_who_has_no_money_begins_nothing(gateway, account):
    with client(gateway, POOR) as sdk:
        file = sdk.files.create(file=requests(), purpose="batch")
        with pytest.raises(openai.RateLimitError):
            begin(sdk, file)

    assert account.asked[-1] == ("POST", "/v1/files")


def test_what_is_wrong_is_said_before_it_is_stored(gateway, account):
    asked = len(account.asked)
    with client(gateway) as sdk:
        for file, purpose, said in (
            (requests(), "user_data", "purpose: only `batch`"),
            (requests(stream=True), "batch", "line 1: stream"),
            (io.BytesIO(requests().getvalue() * 2), "batch", "line 4: custom_id"),
            (requests(model="elsewhere"), "batch", "not served at this endpoint by `mistral`"),
        ):
            with pytest.raises(openai.BadRequestError, match=said):
                sdk.files.create(file=file, purpose=purpose)

    assert len(account.asked) == asked
