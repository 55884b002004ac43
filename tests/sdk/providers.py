"""A strict fake of the providers, as one HTTP server.

It refuses what the real ones refuse, answers in their forms, and keeps what it received. A path may begin
with a name of the provider, so that one server can play several: `/local/v1/chat/completions`.
"""

import gzip
import json
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import scenario
from fake_anthropic import Messages
from fake_gemini import PATH, GenerateContent
from fake_openai import Chat, Embeddings, Refusal
from fake_responses import Responses

APIS = {
    "/v1/chat/completions": ("openai", Chat()),
    "/v1/responses": ("openai", Responses()),
    "/v1/embeddings": ("openai", Embeddings()),
    "/v1/messages": ("anthropic", Messages()),
    "/local/v1/chat/completions": ("local", Chat(is_compatible=True)),
}
KEYS = {
    "openai": "sk-proj-upstream-openai-5f3a9c",
    "anthropic": "sk-ant-upstream-anthropic-7b2e1d",
    "gemini": "AIza-upstream-gemini-3c4d5e6f",
    "local": "upstream-local-9d8c7b6a5e",
}
# Everything else of a client's headers is none of the provider's business.
HEADERS = set(
    "host content-type content-length transfer-encoding connection accept accept-encoding user-agent "
    "authorization x-api-key x-goog-api-key anthropic-version anthropic-beta openai-beta openai-organization "
    "openai-project idempotency-key traceparent tracestate x-team".split()
)
HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


@dataclass
class Call:
    """A request that arrived, and what became of it."""

    provider: str
    path: str
    headers: dict
    body: object
    model: str = ""
    status: int = 0
    outcome: str = "running"
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None


class Providers:
    """The server; `with Providers() as providers:` runs it."""

    def __init__(self):
        self.calls: list[Call] = []
        self.violations: list[str] = []
        # Texts that must never arrive here, such as the keys of clients.
        self.secrets: list[str] = []
        # Whether clients come directly, without a gateway that cleans their headers.
        self.is_direct = False
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.providers = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def reset(self):
        with self.lock:
            self.calls.clear()
            self.violations.clear()

    def add(self, call: Call) -> int:
        """Keeps a call; how many came before to the same model."""
        with self.lock:
            earlier = sum(call.model == other.model for other in self.calls)
            self.calls.append(call)
        return earlier

    def models(self) -> list[str]:
        """Who was asked, in order."""
        return [f"{call.provider}/{call.model}" for call in self.calls]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A client that leaves is no event."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_):
        """Says nothing."""

    @property
    def providers(self) -> Providers:
        return self.server.providers

    def do_GET(self):
        self.send_body(404, b'{"error":{"message":"not here"}}')

    def do_POST(self):
        raw = self.read_body()
        path = self.path.partition("?")[0]
        found = APIS.get(path) or gemini(self.path)
        if found is None:
            self.providers.violations.append(f"unknown path {self.path}")
            return self.send_body(404, b'{"error":{"message":"unknown path"}}')
        self.provider, self.api = found
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.seen = Call(self.provider, path, headers, raw)
        try:
            self.answer(headers, raw)
        except (ConnectionError, TimeoutError):
            self.finish_call("gone")
        if self.seen.outcome == "running":
            self.finish_call("complete")

    def answer(self, headers, raw):
        self.check_hygiene(headers, raw)
        try:
            body = self.parse(headers, raw)
            self.api.validate(body, headers)
            asked = self.api.read(body)
        except Refusal as refusal:
            self.providers.add(self.seen)
            return self.send_error_body(400, str(refusal), refusal)
        self.seen.body, self.seen.model = body, asked.model
        earlier = self.providers.add(self.seen)
        if not self.is_signed(headers):
            return self.send_error_body(401, "Incorrect API key provided")
        self.play(scenario.write(asked, earlier), asked)

    def parse(self, headers, raw):
        if headers.get("content-type", "").partition(";")[0] != "application/json":
            raise Refusal("the content type is not application/json")
        try:
            return json.loads(raw, object_pairs_hook=once)
        except ValueError as error:
            raise Refusal(f"We could not parse the JSON body of your request: {error}") from None

    def is_signed(self, headers):
        key = KEYS[self.provider]
        given = [headers.get(name) for name in ("authorization", "x-api-key", "x-goog-api-key")]
        if self.provider == "gemini":
            return given == [None, None, key]
        return given in ([f"Bearer {key}", None, None], [None, key, None])

    def check_hygiene(self, headers, raw):
        if self.providers.is_direct:
            return
        complain = self.providers.violations.append
        for name, value in headers.items():
            if name not in HEADERS:
                complain(f"the header {name} of the client arrived")
            for secret in self.providers.secrets:
                if secret in value:
                    complain(f"the header {name} has a secret of the gateway")
        for secret in self.providers.secrets:
            if secret.encode() in raw:
                complain("the body has a secret of the gateway")
        for provider, key in KEYS.items():
            if provider != self.provider and key in json.dumps(headers):
                complain(f"the key of {provider} arrived at {self.provider}")
        if self.provider != "anthropic" and "anthropic-version" in headers:
            complain(f"anthropic-version arrived at {self.provider}")
        if "x-api-key" in headers and self.provider != "anthropic":
            complain(f"x-api-key arrived at {self.provider}")
        if "x-goog-api-key" in headers and self.provider != "gemini":
            complain(f"x-goog-api-key arrived at {self.provider}")

    def play(self, script, asked):
        """Answers as the script says, faults included."""
        given = [self.headers.get(name) for name in ("authorization", "x-api-key", "x-goog-api-key")]
        quoted = f"Incorrect API key provided: {given}"
        match script.fault:
            case "status":
                self.send_error_body(script.status, f"the provider says {script.status}")
            case "echo-key-400" | "echo-key-401":
                self.send_error_body(int(script.fault[-3:]), quoted)
            case "hang":
                self.wait_until_gone()
            case "reset":
                self.reset()
            case "html":
                self.send_body(200, HTML, "text/html")
            case "html-502":
                self.send_body(502, HTML, "text/html")
            case "empty-answer":
                self.send_body(200, b"")
            case "wrong-shape":
                self.send_body(200, b'[{"object":"surprise"}]')
            case "cut" if not asked.stream:
                self.send_cut_body(self.api.answer(script, asked))
            case _ if asked.stream:
                self.stream(script, asked, quoted)
            case _:
                self.send_json(200, self.api.answer(script, asked))

    def stream(self, script, asked, quoted):
        self.start_stream()
        if script.fault == "empty-stream":
            return self.write_chunk(b"")
        if script.fault == "error-first":
            self.write_chunk(self.api.error_event("the provider is overloaded"))
            return self.write_chunk(b"")
        for count, event in enumerate(self.api.events(script, asked)):
            self.write_event(event, script)
            if count < 6:
                continue
            match script.fault:
                case "cut":
                    return self.reset("cut")
                case "end-early":
                    return self.write_chunk(b"")
                case "stall":
                    return self.wait_until_gone()
                case "error-inside" | "echo-key-inside":
                    is_quote = script.fault == "echo-key-inside"
                    self.write_chunk(self.api.error_event(quoted if is_quote else "the provider is overloaded"))
                    return self.write_chunk(b"")
        self.write_chunk(b"")

    def start_stream(self):
        self.send_response(200)
        self.send_header("content-type", self.api.event_stream)
        self.send_header("cache-control", "no-cache")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("request-id" if self.provider == "anthropic" else "x-request-id", "req_upstream")
        self.end_headers()
        self.seen.status = 200

    def write_event(self, event, script):
        size = script.chop or len(event)
        for at in range(0, len(event), size):
            if self.is_gone():
                raise ConnectionError("the client has left")
            self.write_chunk(event[at : at + size])
        time.sleep(script.pace)

    def write_chunk(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def send_json(self, status, value):
        self.send_body(status, json.dumps(value).encode())

    def send_error_body(self, status, message, refusal=None):
        self.seen.outcome = f"refused: {message}" if refusal else "failed"
        self.seen.ended = time.monotonic()
        body = self.api.error(status, message, refusal)
        # Gemini has statuses of its own, which its body repeats.
        self.send_json(body["error"].get("code") if self.provider == "gemini" else status, body)

    def send_body(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("content-type", kind)
        if "gzip" in (self.headers.get("accept-encoding") or ""):
            body = gzip.compress(body)
            self.send_header("content-encoding", "gzip")
        self.send_header("content-length", str(len(body)))
        if status == 429 and self.provider != "gemini":
            self.send_header("retry-after", "7")
            self.send_header("x-ratelimit-remaining-requests", "0")
        self.send_header("set-cookie", "__cf_bm=provider; path=/")
        self.end_headers()
        self.wfile.write(body)
        if hasattr(self, "seen"):
            self.seen.status = status

    def send_cut_body(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.reset("cut")

    def reset(self, outcome="reset"):
        """Ends the connection in a way that the other side can't take for an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.finish_call(outcome)
        self.connection.close()

    def wait_until_gone(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.is_gone():
                raise ConnectionError("the client has left")
            time.sleep(0.01)

    def is_gone(self):
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def finish_call(self, outcome):
        self.seen.outcome = outcome
        self.seen.ended = time.monotonic()
        self.close_connection = self.close_connection or outcome == "gone"

    def read_body(self):
        if "chunked" not in (self.headers.get("transfer-encoding") or ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        chunks = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)


def gemini(path):
    """The method of a model; its name is part of the path."""
    found = PATH.fullmatch(path)
    is_stream = found and found[2] == "streamGenerateContent"
    return ("gemini", GenerateContent(found[1], is_stream)) if found and bool(found[3]) == is_stream else None


def once(pairs):
    """An object whose keys come once."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is there twice")
    return value


if __name__ == "__main__":
    with Providers() as providers:
        print(providers.url, flush=True)
        threading.Event().wait()
