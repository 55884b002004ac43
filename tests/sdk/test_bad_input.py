"""Whatever a client sends, it gets a clear error in its own dialect."""

import json
import socket

import pytest
from gateway import VIRTUAL
from raw import post, send

CHAT, MESSAGES, EMBEDDINGS = "/v1/chat/completions", "/v1/messages", "/v1/embeddings"
HI = [{"role": "user", "content": "say hello"}]

everywhere = pytest.mark.parametrize("path", [CHAT, MESSAGES])
MODELS = ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5"]


def assert_error(reply, status, path, *words):
    """The status, the form of the dialect, and words that help."""
    assert reply.status == status, reply.body[:500]
    error = reply.json["error"]
    assert error["message"] and error["type"]
    if path == MESSAGES:
        assert reply.json["type"] == "error"
        assert reply.json["request_id"]
    else:
        assert {"param", "code"} <= set(error)
    for word in words:
        assert word in reply.body.decode(), f"{word} is not in {error['message']}"


MALFORMED = {
    "nothing": b"",
    "half": b'{"model": "chat", "messages": [',
    "no JSON": b"model=chat&messages=hi",
    "a list": b"[]",
    "a number": b"7",
    "more than one": b'{"model":"chat","messages":[]}{}',
    "no UTF-8": b'{"model":"chat","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "a lone half of a character": b'{"model":"\\ud800","messages":[]}',
}


@everywhere
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_malformed_bodies(proxy, providers, path, body):
    reply = post(proxy, path, body)

    assert_error(reply, 400 if reply.status != 404 else 404, path)
    assert providers.calls == []


@everywhere
@pytest.mark.parametrize("value", ["7", "null", '""', '["chat"]', '{"a":1}', "true"])
def test_a_model_of_another_type(proxy, path, value):
    body = b'{"model":%s,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}' % value.encode()

    reply = post(proxy, path, body)

    assert reply.status in (400, 404)
    assert_error(reply, reply.status, path, "model")


@everywhere
def test_a_missing_model(proxy, path):
    assert_error(post(proxy, path, {"messages": HI, "max_tokens": 9}), 400, path, "model")


@everywhere
@pytest.mark.parametrize("name, value", [("stream", "yes"), ("stream", 1), ("max_tokens", "many")])
def test_fields_of_another_type_are_named(proxy, path, name, value):
    for model in MODELS:
        body = {"model": model, "max_tokens": 9, "messages": HI, name: value}

        assert_error(post(proxy, path, body), 400, path, name)


@pytest.mark.parametrize(
    "messages",
    [None, "hi", {}, [], ["hi"], [{"role": "user"}], [{"role": "nobody", "content": "x"}], [{"content": "x"}],
     [{"role": "user", "content": 7}], [{"role": "user", "content": [7]}]],
    ids=str,
)
@everywhere
def test_messages_of_another_shape(proxy, path, messages):
    for model in MODELS:
        body = {"model": model, "max_tokens": 9, "messages": messages}

        assert_error(post(proxy, path, body), 400, path, "message")


@everywhere
def test_unknown_parts_are_refused_or_named_as_lost(proxy, path):
    messages = [{"role": "user", "content": [{"type": "surprise"}, {"type": "text", "text": "say hello"}]}]
    for model in MODELS:
        reply = post(proxy, path, {"model": model, "max_tokens": 9, "messages": messages})

        assert reply.status == 400 or "surprise" in reply.headers["x-bartizan-lost"]


@everywhere
def test_an_error_of_the_gateway_has_one_name(proxy, path):
    reply = post(proxy, path, {"model": "no-such-model", "messages": HI})

    assert reply.headers["request-id"] == reply.headers["x-request-id"] == proxy.record(
        reply.headers["x-request-id"])["id"]
    assert path == CHAT or reply.json["request_id"] == reply.headers["request-id"]


@everywhere
def test_doubled_keys(proxy, providers, path):
    body = b'{"model":"chat","model":"openai/gpt-4o","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'

    assert_error(post(proxy, path, body), 400, path, "model")
    assert providers.calls == []


@everywhere
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
def test_deep_nesting(proxy, path, model, opening, closing):
    deep = opening * 20_000 + b"1" + closing * 20_000
    body = b'{"model":"%s","max_tokens":9,"messages":%s}' % (model.encode(), deep)

    assert_error(post(proxy, path, body), 400, path)


@everywhere
def test_a_body_over_the_limit(proxy, providers, path):
    body = {"model": "chat", "max_tokens": 9, "messages": [{"role": "user", "content": "x" * 300_000}]}

    assert_error(post(proxy, path, body), 413, path, "200")
    assert providers.calls == []


@everywhere
def test_a_body_over_the_limit_that_does_not_say_so(proxy, path):
    """In chunks, so that its size is known only when it has come."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {VIRTUAL['main']}\r\n"
            "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        try:
            for _ in range(10):
                connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        except ConnectionError:
            pass
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


@everywhere
def test_a_body_that_ends_too_early(proxy, path):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {VIRTUAL['main']}\r\n"
            "content-type: application/json\r\ncontent-length: 1000\r\n\r\n{".encode()
        )
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(100)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert post(proxy, path, {"model": MODELS[0], "max_tokens": 9, "messages": HI}).status == 200


@pytest.mark.parametrize("path", [CHAT, MESSAGES, EMBEDDINGS])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods(proxy, path, method):
    reply = send(proxy, method, path)

    assert_error(reply, 405, path)
    assert reply.headers["allow"] == "POST"


@everywhere
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_other_content_types(proxy, path, kind):
    body = {"model": "chat", "max_tokens": 9, "messages": HI}

    assert_error(post(proxy, path, body, headers={"content-type": kind}), 415, path, "content-type")


@everywhere
def test_compressed_bodies(proxy, path):
    reply = post(proxy, path, b"\x1f\x8b", headers={"content-encoding": "gzip"})

    assert_error(reply, 415, path, "content-encoding")


def test_unknown_paths(proxy):
    for path in ("/", "/v1", "/v1/chat", "/v1/responses/unknown", "/v2/chat/completions"):
        assert_error(post(proxy, path, {}), 404, path)


@everywhere
def test_a_missing_key(proxy, path):
    assert_error(post(proxy, path, {"model": "chat", "messages": HI}, key=None), 401, path, "key")


def test_a_refused_key_is_told_before_the_body_is_read(proxy):
    reply = post(proxy, CHAT, b"x" * 1_000, key=None)

    assert_error(reply, 401, CHAT)


@everywhere
def test_headers_that_are_no_headers(proxy, path):
    for header in ("authorization: Bearer \x01", "content-length: many", "x" * 100_000 + ": y"):
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
            try:
                connection.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n".encode())
                answer = connection.recv(100)
            except ConnectionError:
                continue
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


def test_numbers_beyond_measure(proxy):
    for path in (CHAT, MESSAGES):
        for number in (b"1e400", b"-1", b"99999999999999999999999999", b"1.5"):
            for model in MODELS:
                body = b'{"model":"%s","max_tokens":%s,"messages":%s}' % (
                    model.encode(), number, json.dumps(HI).encode())

                assert_error(post(proxy, path, body), 400, path)


def test_what_was_refused_holds_no_money(proxy, providers):
    """The key may spend 300 millionths; a hold that stayed would use nearly all of them."""
    body = {"model": "openai/gpt-4o-mini", "max_tokens": 1, "messages": [{"role": "tool", "content": "x"}]}
    for _ in range(20):
        assert post(proxy, CHAT, body, key="holder").status == 400

    reply = post(proxy, CHAT, body | {"messages": HI}, key="holder")

    assert reply.status == 200
