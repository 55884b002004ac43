"""What the fake providers say, independent of the dialect in which they say it.

The last text of the user chooses: "say hello", "call two tools", "error 429", "cut", ... The functions of
`SCENARIOS` turn what was asked into a `Script`, which each dialect writes down in its own way.
"""

import base64
import itertools
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

GREETING = "Hello there! Grüße, 世界 🌍 – how are you?"
REASONING = "The user greets; a greeting is due."
CITIES = ["Paris", "Rome"]
PAGE = {"url": "https://example.com/weather", "title": "The weather"}
CITING = ["\U0001f600 Grüße: ", "世界 ist schön", "."]
WEATHER = {"city": "Paris", "degrees": 21}


def seal(family: str, turn: int = 0) -> str:
    """A proof of what was thought in a turn, which only this family takes back."""
    return base64.b64encode(f"{family} has thought about turn {turn}?>".encode()).decode()


def is_seal(family: str, proof: object) -> bool:
    return proof in [seal(family, turn) for turn in range(9)]


SIGNATURE = seal("anthropic")


@dataclass(frozen=True)
class Usage:
    """Tokens; `prompt` includes `cached` and `written`, `output` includes `reasoning`."""

    prompt: int = 21
    output: int = 9
    cached: int = 0
    written: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Text:
    """A text, in the pieces in which it is streamed, and whether it cites `PAGE`."""

    pieces: Iterable[str]
    cites: bool = False

    @property
    def whole(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True)
class Thinking:
    text: str
    turn: int = 0


@dataclass(frozen=True)
class ToolCall:
    key: str
    name: str
    arguments: dict


@dataclass(frozen=True)
class Script:
    """An answer, and what goes wrong with it."""

    blocks: list = field(default_factory=list)
    stop: str = "end"
    stop_sequence: str | None = None
    usage: Usage = Usage()
    fault: str | None = None
    status: int = 200
    pace: float = 0.001
    chop: int | None = None


@dataclass
class Asked:
    """What a request asks for, whatever its dialect."""

    model: str
    stream: bool
    text: str
    system: list[str]
    tools: list[str]
    results: list[tuple[str, str]]
    images: list[str]
    has_format: bool
    forced_tool: str | None
    thinks: bool
    stop_sequences: list[str]
    include_usage: bool = True
    # The proofs of thoughts that came back, in their order.
    proofs: list[str] = field(default_factory=list)
    # How many results the whole conversation has.
    answered: int = 0


def split(text: str) -> list[str]:
    """The text in pieces of a few characters, as providers stream it."""
    return [text[at : at + 5] for at in range(0, len(text), 5)]


def saying(text: str, **more) -> Script:
    return Script([Text(split(text))], **more)


def hello(asked: Asked) -> Script:
    return saying(GREETING)


def citing(asked: Asked) -> Script:
    return Script([Text(split(text), cites=text == CITING[1]) for text in CITING])


def one_tool(asked: Asked) -> Script:
    calls = [ToolCall("Paris", "get_weather", {"city": "Paris"})]
    return Script([Text(["Let me ", "look."]), *calls], stop="calls")


def two_tools(asked: Asked) -> Script:
    calls = [ToolCall(city, "get_weather", {"city": city}) for city in ("Paris", "Rome")]
    return Script(calls, stop="calls")


def bare_tool(asked: Asked) -> Script:
    return Script([ToolCall("now", "get_time", {})], stop="calls")


def results(asked: Asked) -> Script:
    return saying("; ".join(f"{key}: {text}" for key, text in asked.results))


def formatted(asked: Asked) -> Script:
    if asked.has_format:
        return saying(json.dumps(WEATHER))
    if asked.forced_tool:
        return Script([ToolCall("format", asked.forced_tool, WEATHER)], stop="calls")
    return saying("It is 21 degrees in Paris.")


def thinking(asked: Asked) -> Script:
    usage = Usage(prompt=30, output=25, reasoning=16)
    blocks = [Thinking(REASONING)] if asked.thinks else []
    return Script([*blocks, Text(split(GREETING))], usage=usage)


def thinking_then_tool(asked: Asked) -> Script:
    blocks = [Thinking(REASONING)] if asked.thinks else []
    call = ToolCall("Paris", "get_weather", {"city": "Paris"})
    return Script([*blocks, call], stop="calls", usage=Usage(30, 25, reasoning=16))


def thinking_in_turns(asked: Asked) -> Script:
    """A call, when that is answered another one, and then a text; thoughts before each."""
    turn = asked.answered
    blocks = [Thinking(f"{REASONING} {turn}", turn)] if asked.thinks else []
    if turn < len(CITIES):
        call = ToolCall(CITIES[turn], "get_weather", {"city": CITIES[turn]})
        return Script([*blocks, call], stop="calls", usage=Usage(30, 25, reasoning=16))
    return Script([*blocks, Text(split(GREETING))], usage=Usage(30, 25, reasoning=16))


def stop_sequence(asked: Asked) -> Script:
    return saying("before ", stop="sequence", stop_sequence=asked.stop_sequences[0])


SCENARIOS: dict[str, Callable[[Asked], Script]] = {
    "say hello": hello,
    "cite": citing,
    "say nothing": lambda _: Script([]),
    "say it in tiny chunks": lambda _: saying(GREETING, chop=7),
    "echo system": lambda asked: saying(" | ".join(asked.system)),
    "describe image": lambda asked: saying(" ".join(asked.images)),
    "call a tool": one_tool,
    "call two tools": two_tools,
    "call a bare tool": bare_tool,
    "json": formatted,
    "think": thinking,
    "think and call a tool": thinking_then_tool,
    "think in turns": thinking_in_turns,
    "name the proofs": lambda asked: saying(" ".join(asked.proofs)),
    "use the cache": lambda _: saying("cached", usage=Usage(2560, 300, cached=2048, reasoning=120)),
    "write the cache": lambda _: saying("written", usage=Usage(2560, 300, cached=2048, written=412)),
    "go on for long": lambda _: saying("on and on", stop="length"),
    "stop at": stop_sequence,
    "refuse": lambda _: saying("I can't", stop="refusal"),
    "slow": lambda _: Script([Text([f"{n} " for n in range(20)])], pace=0.1),
    "endless": lambda _: Script([Text(itertools.repeat("tick "))], pace=0.02),
}

# What goes wrong, and how: see `Handler.play`.
FAULTS = {
    "cut": "cut",
    "end early": "end-early",
    "error inside": "error-inside",
    "error first": "error-first",
    "echo key inside": "echo-key-inside",
    "hang": "hang",
    "stall": "stall",
    "reset": "reset",
    "html": "html",
    "html 502": "html-502",
    "empty stream": "empty-stream",
    "empty answer": "empty-answer",
    "wrong shape": "wrong-shape",
    "echo key 400": "echo-key-400",
    "echo key": "echo-key-401",
}


def write(asked: Asked, earlier_calls: int) -> Script:
    """The script for a request; `earlier_calls` were made to the same model."""
    if failing := re.search(r"fail-(\d{3})", asked.model):
        return Script(fault="status", status=int(failing[1]))
    if (flaky := re.search(r"flaky-(\d)", asked.model)) and earlier_calls < int(flaky[1]):
        return Script(fault="status", status=503)
    if asked.model.startswith("fault-"):
        return saying(GREETING, fault=asked.model.removeprefix("fault-"))
    text = asked.text.strip()
    if asked.results and text != "think in turns":
        return results(asked)
    if failing := re.fullmatch(r"error (\d{3})", text):
        return Script(fault="status", status=int(failing[1]))
    if text in FAULTS:
        return saying(GREETING, fault=FAULTS[text])
    return SCENARIOS.get(text, lambda _: saying(f"You said: {text}"))(asked)
