"""The proxy as a process, with a configuration, its log and its records."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from providers import KEYS

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("BARTIZAN_PROXY") or ROOT / "target/release/examples/proxy").resolve()

# The keys of clients, by their names in the configuration.
VIRTUAL = {
    name: f"vk-{name}-4b1d0c9e8f7a"
    for name in (
        "main narrow disabled expired hashed poor spender-openai spender-anthropic limited-openai "
        "limited-anthropic holder teammate-a teammate-b reloaded"
    ).split()
}
FAULTS = "hang reset html html-502 empty-stream empty-answer error-first echo-key-401 wrong-shape".split()

CONFIG = """
server: {{ max_body: 200KB, drain_timeout: 10s }}
log: {{ format: json, level: "debug,hyper=info,h2=info", records: {{ file: {records} }} }}
providers:
  openai: {{ kind: openai, api_key: "${{UPSTREAM_OPENAI}}", base_url: {url}/v1 }}
  anthropic: {{ kind: anthropic, api_key: "${{UPSTREAM_ANTHROPIC}}", base_url: {url} }}
  gemini: {{ kind: gemini, api_key: "${{UPSTREAM_GEMINI}}", base_url: {url}/v1beta }}
  local:
    kind: openai-compatible
    api_key: "${{UPSTREAM_LOCAL}}"
    base_url: {url}/local/v1
    headers: {{ x-team: gateway }}
    prices: {{ reasoner: {{ input: 1, output: 2 }} }}
  dead: {{ kind: openai, api_key: sk-dead-0123456789, base_url: "http://127.0.0.1:{closed}/v1" }}
  locked: {{ kind: openai, api_key: sk-locked-0123456789, base_url: {url}/v1 }}
defaults:
  retry: {{ attempts: 1 }}
  timeouts: {{ connect: 1s, first_byte: 2s, first_event: 2s, idle: 2s, total: 20s }}
  # The tests share the providers, and most of what these do is to fail.
  breaker: {{ failures: 0, percent: 0 }}
models:
  chat: {{ targets: [ {{ use: openai/gpt-4o-mini }}, {{ use: anthropic/claude-sonnet-4-5 }} ] }}
  chat-2: {{ targets: [ {{ use: anthropic/claude-sonnet-4-5 }}, {{ use: openai/gpt-4o-mini }} ] }}
  past-503: {{ targets: [ {{ use: openai/fail-503 }}, {{ use: anthropic/claude-sonnet-4-5 }} ] }}
  past-429: {{ targets: [ {{ use: openai/fail-429 }}, {{ use: anthropic/claude-sonnet-4-5 }} ] }}
  past-dead: {{ targets: [ {{ use: dead/gpt-4o-mini }}, {{ use: anthropic/claude-sonnet-4-5 }} ] }}
  past-locked: {{ targets: [ {{ use: locked/gpt-4o-mini }}, {{ use: anthropic/claude-sonnet-4-5 }} ] }}
  past-400: {{ targets: [ {{ use: openai/fail-400 }}, {{ use: anthropic/claude-sonnet-4-5 }} ] }}
  all-fail: {{ targets: [ {{ use: openai/fail-503 }}, {{ use: anthropic/fail-529 }} ] }}
  flaky: {{ targets: [ {{ use: openai/flaky-2 }} ], retry: {{ attempts: 3, backoff: 10ms..20ms }} }}
  strict: {{ targets: [ {{ use: anthropic/claude-sonnet-4-5 }} ], strict: true }}
  drained: {{ targets: [ {{ use: openai/gpt-4o-mini }} ], on_disconnect: drain }}
{routes}
prices:
  "*/fail-*": {{ input: 1, output: 1 }}
  "*/fault-*": {{ input: 1, output: 1 }}
  "*/flaky-*": {{ input: 1, output: 1 }}
teams:
  engineering: {{ budget: {{ usd: 0.000275, per: month }} }}
keys:
  - {{ name: main, key: "${{VK_MAIN}}" }}
  - {{ name: narrow, key: "${{VK_NARROW}}", allow: [ chat, "anthropic/*" ] }}
  - {{ name: disabled, key: "${{VK_DISABLED}}", disabled: true }}
  - {{ name: expired, key: "${{VK_EXPIRED}}", expires: 2020-01-01T00:00:00Z }}
  - {{ name: hashed, sha256: "{hashed}" }}
  - {{ name: poor, key: "${{VK_POOR}}", budget: {{ usd: 0.000001, per: month }} }}
  - {{ name: spender-openai, key: "${{VK_SPENDER_OPENAI}}", budget: {{ usd: 0.000275, per: month }} }}
  - {{ name: spender-anthropic, key: "${{VK_SPENDER_ANTHROPIC}}", budget: {{ usd: 0.0042, per: month }} }}
  - {{ name: holder, key: "${{VK_HOLDER}}", budget: {{ usd: 0.0003, per: month }} }}
  - {{ name: limited-openai, key: "${{VK_LIMITED_OPENAI}}", limits: {{ requests: 2/hour }} }}
  - {{ name: limited-anthropic, key: "${{VK_LIMITED_ANTHROPIC}}", limits: {{ requests: 2/hour }} }}
  - {{ name: teammate-a, key: "${{VK_TEAMMATE_A}}", team: engineering }}
  - {{ name: teammate-b, key: "${{VK_TEAMMATE_B}}", team: engineering }}
"""


def configuration(url: str, records: Path) -> str:
    """A configuration that uses most of what there is, with the fake providers at `url`."""
    pattern = "  past-{0}: {{ targets: [ {{ use: openai/fault-{0} }}, {{ use: anthropic/claude-sonnet-4-5 }} ] }}"
    return CONFIG.format(
        url=url,
        records=records,
        closed=closed_port(),
        routes="\n".join(pattern.format(fault) for fault in FAULTS),
        hashed=hashlib.sha256(VIRTUAL["hashed"].encode()).hexdigest(),
    )


def environment() -> dict:
    """The variables that the configuration names, and nothing of the surroundings that could help."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    upstream = {f"UPSTREAM_{name.upper()}": key for name, key in KEYS.items()}
    virtual = {f"VK_{name.upper().replace('-', '_')}": key for name, key in VIRTUAL.items()}
    return {**kept, **upstream, **virtual}


def closed_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Proxy:
    """The proxy, from `with` to its end."""

    def __init__(self, directory: Path, config: str | None = None, env: dict | None = None):
        self.directory = directory
        self.records_file = directory / "records.jsonl"
        self.config_file = directory / "gateway.yaml"
        self.log_file = directory / "log.txt"
        self.lines: list[str] = []
        self.url = ""
        arguments = [str(BINARY), "--listen", "127.0.0.1:0"]
        if config is not None:
            self.config_file.write_text(config)
            arguments += ["--config", str(self.config_file)]
        self.arguments, self.env = arguments, environment() if env is None else env

    def __enter__(self):
        self.log = open(self.log_file, "wb")
        self.process = subprocess.Popen(
            self.arguments, env=self.env, stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=self.directory
        )
        self.reader = threading.Thread(target=self.read_output, daemon=True)
        self.reader.start()
        self.url = eventually(self.find_url, seconds=10, what="the proxy to say where it listens")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def read_output(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def find_url(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the proxy ended with {self.process.returncode}: {self.log_text()}")
        found = re.search(r"listens on (http://[\d.:]+)", self.output)
        return found and found[1]

    @property
    def output(self) -> str:
        return "".join(self.lines)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def log_text(self) -> str:
        return self.log_file.read_text(errors="replace")

    def records(self) -> list[dict]:
        if not self.records_file.exists():
            return []
        # The last line may be half written.
        lines = self.records_file.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def known(self) -> int:
        """How many records there are, once none has come for longer than they are collected before they are written."""
        while True:
            number = len(self.records())
            time.sleep(0.3)
            if len(self.records()) == number:
                return number

    def record(self, request_id: str) -> dict:
        """The record of the request that was named so in its answer."""
        find = lambda: next((record for record in self.records() if record["id"] == request_id), None)
        return eventually(find, what=f"the record of {request_id}")

    def signal(self, number: signal.Signals):
        self.process.send_signal(number)


def eventually(find, seconds=5.0, what="something"):
    """What `find` gives, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)
    return found


def check(config: str, directory: Path, env: dict | None = None):
    """What `--check` says of a configuration."""
    file = directory / "checked.yaml"
    file.write_text(config)
    return subprocess.run(
        [str(BINARY), "--check", "--config", str(file)],
        env=environment() if env is None else env,
        capture_output=True,
        text=True,
        timeout=10,
    )
