import anthropic
import openai
import pytest
from gateway import VIRTUAL, Proxy, configuration
from providers import KEYS, Providers
from scenario import GREETING

SECRETS = [*VIRTUAL.values(), *KEYS.values()]


@pytest.fixture(scope="session")
def fakes():
    with Providers() as running:
        running.secrets = list(VIRTUAL.values())
        yield running


@pytest.fixture(scope="session")
def proxy(fakes, tmp_path_factory):
    directory = tmp_path_factory.mktemp("proxy")
    config = configuration(fakes.url, directory / "records.jsonl")
    with Proxy(directory, config) as running:
        yield running
    assert running.process.returncode == 0, "the proxy stops without a complaint"
    for place, text in [("log", running.log_text()), ("records", running.records_file.read_text())]:
        assert text, f"the {place} is not empty"
        found = [secret for secret in SECRETS if secret in text]
        assert not found, f"secrets are in the {place}"
        assert "say hello" not in text and GREETING not in text, f"a conversation is in the {place}"
    assert "panicked" not in running.log_text()


@pytest.fixture
def providers(fakes, proxy):
    """The fake providers behind the proxy, with empty hands; they must not have seen what isn't for them."""
    fakes.reset()
    yield fakes
    assert fakes.violations == []


@pytest.fixture
def of_openai(proxy, providers):
    """Makes clients: OpenAI's SDK with the key of this name."""
    with Clients(lambda key: openai.OpenAI(
        base_url=f"{proxy.url}/v1", api_key=key, max_retries=0, timeout=15
    )) as clients:
        yield clients.of


@pytest.fixture
def of_anthropic(proxy, providers):
    """Makes clients: Anthropic's SDK with the key of this name."""
    with Clients(lambda key: anthropic.Anthropic(
        base_url=proxy.url, api_key=key, max_retries=0, timeout=15
    )) as clients:
        yield clients.of


@pytest.fixture
def openai_client(of_openai):
    return of_openai("main")


@pytest.fixture
def anthropic_client(of_anthropic):
    return of_anthropic("main")


class Clients:
    """Clients that are closed at the end."""

    def __init__(self, make):
        self.make = make
        self.made = []

    def __enter__(self):
        return self

    def of(self, name):
        self.made.append(self.make(VIRTUAL.get(name, name)))
        return self.made[-1]

    def __exit__(self, *_):
        for client in self.made:
            client.close()
