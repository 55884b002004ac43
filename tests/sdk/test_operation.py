"""Starting, stopping and changing the configuration while clients are served."""

import os
import re
import signal
import subprocess
import threading
import time

import anthropic
import openai
import pytest
from asking import ask_anthropic, ask_openai
from gateway import BINARY, VIRTUAL, Proxy, check, configuration, eventually
from raw import post, send
from scenario import GREETING

MODEL = "openai/gpt-4o-mini"
NEW = "  renamed: { targets: [ { use: openai/gpt-4o-mini } ] }\n"


@pytest.fixture
def own(fakes, tmp_path):
    """A proxy for one test, with the fake providers behind it."""
    fakes.reset()
    with Proxy(tmp_path, configuration(fakes.url, tmp_path / "records.jsonl")) as running:
        yield running


def client_of(proxy, key="main"):
    return openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=VIRTUAL[key], max_retries=0, timeout=15)


class InBackground:
    """Something that goes on in a thread; `result()` waits for it and raises what it raised."""

    def __init__(self, work):
        self.value = self.error = None
        self.thread = threading.Thread(target=self.run, args=(work,), daemon=True)
        self.thread.start()

    def run(self, work):
        try:
            self.value = work()
        except BaseException as error:  # noqa: BLE001: it is raised again where it is waited for
            self.error = error

    def result(self):
        self.thread.join(20)
        assert not self.thread.is_alive(), "it takes too long"
        if self.error:
            raise self.error
        return self.value


@pytest.mark.parametrize("model", [MODEL, "anthropic/claude-sonnet-4-5"])
def test_open_streams_finish_when_the_proxy_is_told_to_stop(own, fakes, model):
    with client_of(own) as client:
        streaming = InBackground(lambda: ask_openai(client, model, "slow", stream=True))
        eventually(lambda: fakes.calls, what="the stream to begin")
        time.sleep(0.3)

        told = time.monotonic()
        own.signal(signal.SIGTERM)

        assert streaming.result().text == "".join(f"{n} " for n in range(20))
        assert own.process.wait(5) == 0
        assert time.monotonic() - told < 8
        with pytest.raises(openai.APIConnectionError):
            ask_openai(client, model, "say hello")
    [record] = own.records()
    assert (record["end"], record["tokens"]["output"]) == ("complete", 9), "the last record is written"


def test_an_endless_stream_does_not_keep_the_proxy_from_stopping(fakes, tmp_path):
    config = configuration(fakes.url, tmp_path / "records.jsonl").replace(
        "drain_timeout: 10s", "drain_timeout: 500ms"
    )
    with Proxy(tmp_path, config) as own, client_of(own) as client:
        stream = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "endless"}], stream=True
        )
        next(iter(stream))

        told = time.monotonic()
        own.signal(signal.SIGTERM)

        assert own.process.wait(5) == 0
        assert 0.4 < time.monotonic() - told < 3
    [record] = own.records()
    assert record["estimated"] and float(record["cost"]) > 0


def test_what_is_read_on_for_a_client_that_left_ends_with_the_proxy(fakes, tmp_path):
    config = configuration(fakes.url, tmp_path / "records.jsonl").replace(
        "drain_timeout: 10s", "drain_timeout: 500ms"
    )
    with Proxy(tmp_path, config) as own, client_of(own) as client:
        stream = client.chat.completions.create(
            model="drained", messages=[{"role": "user", "content": "endless"}], stream=True
        )
        next(iter(stream))
        stream.close()
        time.sleep(0.3)
        assert not own.records()

        own.signal(signal.SIGTERM)

        assert own.process.wait(5) == 0
    [record] = own.records()
    assert record["estimated"] and float(record["cost"]) > 0


@pytest.mark.parametrize("told_by", ["the file", "SIGHUP"])
def test_no_request_fails_while_the_configuration_is_exchanged(own, fakes, told_by):
    config = own.config_file.read_text()
    stop = threading.Event()

    def ask_all_the_time():
        count = 0
        with client_of(own) as client:
            while not stop.is_set():
                assert ask_openai(client, "chat", "say hello", stream=count % 2 == 0).text == GREETING
                count += 1
        return count

    def exchange(new):
        # At once, as editors do, so that half a file is never read.
        whole = own.config_file.with_suffix(".new")
        whole.write_text(new)
        whole.replace(own.config_file)
        if told_by == "SIGHUP":
            own.signal(signal.SIGHUP)

    asking = [InBackground(ask_all_the_time) for _ in range(3)]
    with client_of(own) as client:
        slow = InBackground(lambda: ask_openai(client, MODEL, "slow", stream=True))
        for turn in range(4):
            with_it = config.replace("models:\n", "models:\n" + NEW)
            exchange(with_it if turn % 2 == 0 else config)
            eventually(lambda: ("renamed" in names(own)) == (turn % 2 == 0), what="the new configuration")
        assert slow.result().text.endswith("19 ")
    stop.set()

    assert all(background.result() > 5 for background in asking)


def names(proxy):
    return [model["id"] for model in send(proxy, "GET", "/v1/models").json["data"]]


def test_keys_come_and_go_with_the_configuration(own):
    config = own.config_file.read_text()
    body = {"model": "chat", "messages": [{"role": "user", "content": "say hello"}]}
    assert post(own, "/v1/chat/completions", body, key="reloaded").status == 401

    key = '  - { name: reloaded, key: "${VK_RELOADED}" }\n'
    without_main = "".join(line for line in config.splitlines(True) if "name: main" not in line)
    own.config_file.write_text(without_main + key)

    eventually(lambda: post(own, "/v1/chat/completions", body, key="reloaded").status == 200, what="the key")
    assert post(own, "/v1/chat/completions", body, key="main").status == 401


@pytest.mark.parametrize(
    "broken",
    ["models: [", "modles: {}\n", "models: { chat: { targets: [ { use: nobody/x } ] } }\nauth: open\n", ""],
)
def test_a_broken_configuration_is_reported_and_the_old_one_stays(own, broken):
    own.config_file.write_text(broken)
    own.signal(signal.SIGHUP)

    eventually(lambda: "not changed" in own.log_text(), what="the complaint in the log")
    with client_of(own) as client:
        assert ask_openai(client, "chat", "say hello").text == GREETING
    assert own.process.poll() is None


def test_a_budget_survives_a_new_configuration(own):
    with client_of(own, "spender-openai") as client:
        ask_openai(client, MODEL, "say hello", max_tokens=1)
        own.config_file.write_text(own.config_file.read_text().replace("models:\n", "models:\n" + NEW))
        eventually(lambda: "renamed" in names(own), what="the new configuration")

        with pytest.raises(openai.RateLimitError):
            ask_openai(client, MODEL, "say hello", max_tokens=9)


def test_probes_need_no_key_and_leave_no_record(own):
    assert send(own, "GET", "/healthz", key=None).status == 200
    assert send(own, "GET", "/readyz", key=None).status == 200
    assert own.records() == []


def test_readiness_ends_before_the_listener_does(fakes, tmp_path):
    config = configuration(fakes.url, tmp_path / "records.jsonl").replace(
        "drain_timeout: 10s", "drain_timeout: 5s, drain_delay: 1s"
    )
    with Proxy(tmp_path, config) as own:
        own.signal(signal.SIGTERM)

        eventually(lambda: send(own, "GET", "/readyz", key=None).status == 503, what="/readyz to say no")
        assert send(own, "GET", "/healthz", key=None).status == 200
        assert own.process.wait(5) == 0


def test_the_configuration_can_be_checked(tmp_path):
    good = configuration("http://127.0.0.1:9", tmp_path / "records.jsonl")

    assert check(good, tmp_path).returncode == 0
    typo = check(good.replace("targets:", "tragets:", 1), tmp_path)
    assert typo.returncode == 1
    assert "did you mean `targets`" in typo.stderr
    assert re.search(r"checked\.yaml:\d+", typo.stderr), "the place is named"
    unset = check(good, tmp_path, env={"UPSTREAM_OPENAI": "sk-something-0123456789"})
    assert unset.returncode == 1
    assert "UPSTREAM_ANTHROPIC" in unset.stderr
    assert "sk-something" not in unset.stderr + unset.stdout
    assert not (tmp_path / "records.jsonl").exists(), "checking leaves nothing behind"


def test_a_proxy_without_a_configuration_can_be_tried_at_once(tmp_path):
    """As somebody does who has just built it: the printed line is pasted into a shell."""
    with Proxy(tmp_path, env={"PATH": os.environ["PATH"]}) as own:
        eventually(lambda: "ANTHROPIC_BASE_URL" in own.output, what="the whole greeting")
        [curl] = [line.strip() for line in own.output.splitlines() if line.strip().startswith("curl ")]

        pasted = subprocess.run(["sh", "-c", f"{curl} --silent --fail"], capture_output=True, text=True, timeout=10)

        assert pasted.returncode == 0, pasted.stderr
        assert "Hello!" in pasted.stdout and '"chat.completion"' in pasted.stdout
        url = re.search(r"OPENAI_BASE_URL=(\S+)\s+OPENAI_API_KEY=(\S+)", own.output)
        other = re.search(r"ANTHROPIC_BASE_URL=(\S+)\s+ANTHROPIC_API_KEY=(\S+)", own.output)
        with openai.OpenAI(base_url=url[1], api_key=url[2], max_retries=0) as client:
            for stream in (False, True):
                assert "Hi!" in ask_openai(client, "demo/echo", "Hi!", stream=stream).text
        with anthropic.Anthropic(base_url=other[1], api_key=other[2], max_retries=0) as client:
            for stream in (False, True):
                assert "Hi!" in ask_anthropic(client, "demo/echo", "Hi!", stream=stream).text


def test_keys_of_providers_are_found_and_not_shown(tmp_path, fakes):
    key = "sk-found-in-the-environment-0123"
    env = {"PATH": os.environ["PATH"], "OPENAI_API_KEY": key, "OPENAI_BASE_URL": f"{fakes.url}/v1"}

    with Proxy(tmp_path, env=env) as own:
        eventually(lambda: "ANTHROPIC_BASE_URL" in own.output, what="the whole greeting")

        assert "OPENAI_API_KEY" in own.output.partition("found")[2].splitlines()[0]
        assert key not in own.output + own.log_text()


def test_help_and_schema_are_there(tmp_path):
    for argument, word in [("--help", "--config"), ("--schema", '"providers"'), ("--version", "proxy")]:
        shown = subprocess.run([str(BINARY), argument], capture_output=True, text=True, timeout=10, env={})

        assert shown.returncode == 0
        assert word in shown.stdout


def test_a_taken_address_is_told(own, tmp_path):
    second = subprocess.run(
        [str(BINARY), "--listen", own.url.removeprefix("http://")],
        capture_output=True, text=True, timeout=10, env={}, cwd=tmp_path,
    )

    assert second.returncode == 1
    assert "can't listen" in second.stderr


def test_the_proxy_is_ready_at_once(tmp_path, fakes):
    """Generously measured: a machine may be busy, and the interpreter takes its time too."""
    config = configuration(fakes.url, tmp_path / "records.jsonl")
    started = time.monotonic()

    with Proxy(tmp_path, config):
        assert time.monotonic() - started < 1
