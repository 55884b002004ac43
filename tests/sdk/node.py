"""The official SDKs of Node, in a process that is told by lines of JSON what to ask."""

import json
import subprocess
from pathlib import Path

DIRECTORY = Path(__file__).parent / "node"


class NodeError(Exception):
    """What an SDK of Node has thrown."""

    def __init__(self, error: dict):
        super().__init__(error["message"])
        self.kind, self.status, self.headers = error["kind"], error.get("status"), error.get("headers") or {}
        self.kinds = error["kinds"]


class Node:
    """The process, from `with` to its end."""

    def __init__(self, url: str, key: str):
        self.arguments = ["node", "ask.mjs", url, key]

    def __enter__(self):
        self.process = subprocess.Popen(
            self.arguments, cwd=DIRECTORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(10) == 0

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise NodeError(answer["error"])
        return answer

    def of(self, client, speaker):
        """Asks with this client; what it gave is read as the SDK of Python reads it."""

        def create(body, stream):
            answer = self.ask(client=client, body=body, stream=stream)
            if stream:
                return [speaker.event(event) for event in answer["events"]], answer["headers"]
            return speaker.whole(answer["whole"]), answer["headers"]

        return create
