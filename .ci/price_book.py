"""Writes src/price/book.tsv: python3 .ci/price_book.py model_prices.json > src/price/book.tsv

The input is a JSON array of models with prices in USD per token; numbers are read as text and
become nano-dollars per million tokens exactly, or the script fails. A model that is not paid by the
token (or for which only a part of the tokens has a price) is left out: it has no price here, rather
than a wrong one. Sets of features repeat, so each is written once, above the models.
"""

import json
import re
import sys
from decimal import Decimal

MODES = {"chat", "responses", "completion", "embedding", None}
RATES = ["input", "output", "cache_read", "cache_write", "cache_write_1h", "output_reasoning"]
FEATURES = {
    "function_calling", "tool_choice", "vision", "pdf_input", "response_schema", "native_structured_output",
    "adaptive_thinking", "legacy_thinking", "thinking_always_on", "assistant_prefill", "forced_tool_use",
    "mid_conversation_system", "sampling_params", "reasoning", "prompt_caching", "system_messages",
    "parallel_function_calling",
}


def nanos_per_million(usd):
    amount = Decimal(usd).scaleb(9 + 6)
    if amount != int(amount):
        sys.exit(f"{usd} USD per token is not a whole number of nano-dollars per million tokens")
    return str(int(amount))


def rates(price):
    price = {**price}
    if "output" not in price:
        price["output"] = "0"  # embeddings have no output
    return [nanos_per_million(price[key]) if key in price else "" for key in RATES]


def is_listed(model):
    price = model.get("price", {})
    complete = "input" in price and ("output" in price or model.get("mode") == "embedding")
    # Zero for every token and a price for something else: the tokens are not what is paid for.
    tokens = [Decimal(price[key]) for key in ("input", "output") if key in price]
    others = [Decimal(price[key]) for key in price if key not in RATES]
    return model.get("mode") in MODES and complete and (any(tokens) or not any(others))


def features(model, list_name):
    def is_kept(name):
        return name in FEATURES or name.endswith("_reasoning_effort")

    derived = missing_dialects(model) if list_name == "lacks" else []
    return ",".join(sorted([*filter(is_kept, model.get(list_name, [])), *derived]))


def missing_dialects(model):
    """In which of OpenAI's two dialects a model of OpenAI's can't be asked, or not for everything."""
    if model["provider"] not in ("openai", "azure", "azure_ai") or model.get("mode") not in ("chat", "responses"):
        return
    endpoints = model.get("endpoints", [])
    if "/v1/chat/completions" not in endpoints and (endpoints or model["mode"] == "responses"):
        yield "chat_completions"
    if "/v1/responses" not in endpoints and endpoints:
        yield "responses"
    # From here on chat completions refuse tools together with reasoning; no field of the source says so.
    version = re.search(r"\bgpt-(\d+)(?:\.(\d+))?(?!\d)", model["model"])
    if version and (int(version[1]), int(version[2] or 0)) >= (5, 4) and "reasoning" in model.get("supports", []):
        yield "chat_tools_with_reasoning"


def line(model, sets):
    price, above = model["price"], model.get("above", {})
    threshold = min(above, key=int, default="")
    over = above.get(threshold, {}).get("standard")
    dearer = rates({**price, **over}) if over else [""] * len(RATES)
    facts = [model.get("max_input_tokens", ""), model.get("max_output_tokens", "")]
    flags = sets.setdefault((features(model, "supports"), features(model, "lacks")), len(sets))
    name = f"{model['provider']}/{model['model']}"
    return "\t".join([name, *rates(price), threshold if over else "", *dearer, *facts, str(flags)])


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        models = json.load(file, parse_float=str, parse_int=str)
    sets = {}
    lines = sorted(line(model, sets) for model in models if is_listed(model))
    for supports, lacks in sets:
        print(f"{supports}\t{lacks}")
    print()
    print("\n".join(lines))


main()
