"""Requests that no SDK would make."""

import http.client
import json
from dataclasses import dataclass

from gateway import VIRTUAL


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def post(proxy, path, body, **more) -> Reply:
    return send(proxy, "POST", path, body, **more)


def send(proxy, method, path, body=b"", key="main", headers=None, timeout=10) -> Reply:
    """Sends bytes as they are, and anything else as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": "application/json"}
    if key:
        sent["authorization"] = f"Bearer {VIRTUAL[key]}"
    sent = {name: value for name, value in (sent | (headers or {})).items() if value is not None}
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=timeout)
    try:
        connection.request(method, path, data, sent)
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())
    finally:
        connection.close()
