"""Writes src/price/book.tsv: python3 .ci/price_book.py model_prices.json > src/price/book.tsv

The input is a JSON array of models with prices in USD per token; numbers are read as text and
become nano-dollars per million tokens exactly, or the script fails. A model for which a part of what
is paid for has no price is left out: it has no price here, rather than a wrong one. Sets of features
repeat, so each is written once, above the models. What images, sound, film and searches cost stands
in a last column, by the names of `UnitRates`.
"""

import json
import re
import sys
from decimal import Decimal

MODES = {"chat", "responses", "completion", "embedding", None}
# Modes in which something else than text is made, or paid for.
IMAGES, SPEECH, HEARING = {"image_generation", "image_edit"}, "audio_speech", "audio_transcription"
FILM, RANKING, MODERATION = "video_generation", "rerank", "moderation"
OTHER_MODES = {*IMAGES, SPEECH, HEARING, FILM, RANKING, MODERATION}
# A price for one size or quality of a model that is listed by its own name.
VARIANT = re.compile(r"(^|/)(\d+|max)-x-(\d+|max)/|-high-res$")
RATES = ["input", "output", "cache_read", "cache_write", "cache_write_1h", "output_reasoning",
         "media_input", "media_cached", "media_output"]
# Who makes images and speech in Gemini's dialect.
GOOGLE = {"gemini", "vertex"}
# What is read, kept and made beside text, by the names of the source.
SOUND = ["input_audio", "cache_read_audio", "output_audio"]
PICTURES = ["input_image_token", "cache_read_image_token", "output_image_token"]
# Classes of service, by the names of `Tier`; a factor for speed is one as well.
TIERS = {"batch": "batch", "flex": "flex", "priority": "priority", "ultrafast": "fast"}
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


def units(model, prices):
    """What a model is paid for beside text: a name of `UnitRates` and a price in USD for each."""
    price, mode = model.get("price", {}), model.get("mode")
    if mode in MODES:
        yield from tools(model, price, prices)
    elif mode in IMAGES:
        # Where the tokens of an image have a price, one for the image is the same money again.
        by_image = "output_image_token" not in price
        if by_image and ("output_per_image" in price or "input_per_image" in price):
            yield "image", price.get("output_per_image") or price["input_per_image"]
    elif mode == SPEECH:
        if "output" not in price and "input_per_character" in price:
            yield "character", price["input_per_character"]
    elif mode == HEARING:
        if "output" not in price and "input_per_second" in price:
            yield "audio", price["input_per_second"]
    elif mode == RANKING and "input_per_query" in price:
        yield "search", price["input_per_query"]
    elif mode == FILM:
        yield from film(model, price, prices)


def tools(model, price, prices):
    """What is paid for each request, or for each use of a tool that the provider runs."""
    name, provider = model["model"], model["provider"]
    if "input_per_request" in price:
        yield "request", price["input_per_request"]
    # The dearest, because answers don't say how deep a search was.
    search = max(model.get("web_search_per_query", {}).values(), key=Decimal, default=None)
    if search:
        per_answer = "gemini" in name and model.get("web_search_billing_unit") != "per_query"
        always = provider == "perplexity" and "deep-research" not in name or "-search-preview" in name
        yield "request" if always else "grounding" if per_answer else "web_search", search
    if "google_maps_grounding_per_query" in price:
        yield "map_search", price["google_maps_grounding_per_query"]
    container = prices.get((provider, "container"), {}).get("code_interpreter_per_session")
    if container and "/v1/responses" in model.get("endpoints", []):
        yield "code_session", container


def with_media(model):
    """The model with the names of `RATES` for what is read and made beside text, in each class of service."""
    price, mode = model.get("price", {}), model.get("mode")
    read, kept, made = PICTURES if mode in IMAGES else SOUND
    if model["provider"] in GOOGLE:
        # Of what Gemini reads only sound has tokens of its own kind.
        read, kept, _ = SOUND
    if mode in IMAGES and made not in price:
        return model
    if mode in MODES and made not in price:
        made = next((name for name in ("output_image_token", "output_video_token") if name in price), made)
    names = {read: "media_input", kept: "media_cached", made: "media_output"}

    def named(price):
        price = {**price, **{name: price[source] for source, name in names.items() if source in price}}
        if mode == "embedding":
            # No answer tells apart of what the tokens were, so that they cost what the dearest do.
            seen = [price[kind] for kind in ("input_audio", "input_image_token", "input_video_token") if kind in price]
            price.update({"media_input": max(seen, key=Decimal)} if seen else {})
        return price

    return {key: named(value) if key.startswith("price") else value for key, value in model.items()}


def film(model, price, prices):
    """A second of film by the lines of its picture; what isn't listed costs what the next smaller does."""
    base = price.get("output_per_second") or price.get("output_per_video_per_second")
    if base is None:
        return
    finest = prices.get((model["provider"], model["model"] + "-high-res"), {}).get("output_per_video_per_second")
    yield "video_480", price.get("output_per_second_480p", base)
    middle = price.get("output_per_second_720p", price.get("output_per_second_768p", base))
    yield "video_768", middle
    fine = price.get("output_per_second_1080p", finest or max(base, middle, key=Decimal))
    yield "video_1088", fine
    yield "video", price.get("output_per_second_4k", max(fine, middle, base, key=Decimal))
    if "input_per_image" in price:
        yield "image", price["input_per_image"]


def rates(price):
    price = {"input": price.get("input_audio", "0"), **price}
    # What is kept for longer than usual is kept for one hour or for twelve.
    price.setdefault("cache_write_1h", price.get("cache_write_12h"))
    if "output" not in price:
        price["output"] = "0"  # embeddings have no output
    return [nanos_per_million(price[key]) if price.get(key) is not None else "" for key in RATES]


def short(rates):
    """The rates without what is empty at their end."""
    return ",".join(rates).rstrip(",")


def steps(model):
    """Prices by the least input they are for: the number and the keys that go before others."""
    above = {int(tokens): tiers.get("standard", {}) for tokens, tiers in model.get("above", {}).items()}
    # A price of its own for each range is written as one for all that is longer.
    tiered = {step["range"][0]: step for step in model.get("tiered", []) if int(step["range"][0])}
    return sorted((int(tokens), price) for tokens, price in {**above, **tiered}.items() if price)


def base(model):
    """The standard price; of prices by ranges the one of the first."""
    first = next((step for step in model.get("tiered", []) if not int(step["range"][0])), {})
    return {**{key: first[key] for key in RATES if key in first}, **model.get("price", {})}


def dearer(one, other):
    return {key: max(one.get(key, "0"), other.get(key, "0"), key=Decimal) for key in {*one, *other} & {*RATES}}


def times(price, factor):
    return {key: str(Decimal(price[key]) * Decimal(factor)) for key in RATES if key in price}


def scales(model):
    """All rates beside the standard ones: of longer inputs, and of other classes of service."""
    price = base(model)
    if price.get("output_reasoning") == price.get("output"):
        # Where both are the same, both change.
        price.pop("output_reasoning", None)
    longer = [(tokens, {**price, **step}) for tokens, step in steps(model)]
    for tokens, step in longer:
        yield str(tokens), step
    for name, tier in TIERS.items():
        if own := model.get(f"price_{name}"):
            yield tier, {**price, **own}
            for tokens, step in longer:
                # Where a class of service has no price for long inputs it costs no less than the standard one.
                said = model.get("above", {}).get(str(tokens), {}).get(name)
                usual = dearer({**price, **own}, step)
                yield f"{tier}>{tokens}", {**usual, **said} if said else usual
    if fast := model.get("multipliers", {}).get("fast"):
        yield "fast", times(price, fast)
        for tokens, step in longer:
            yield f"fast>{tokens}", times(step, fast)


def is_listed(model, prices):
    price = base(model)
    if model.get("mode") in OTHER_MODES:
        return is_complete(model, price, dict(units(model, prices)))
    complete = "input" in price and ("output" in price or model.get("mode") == "embedding")
    # Zero for every token and a price for something else: the tokens are not what is paid for.
    tokens = [Decimal(price[key]) for key in ("input", "output") if key in price]
    others = [Decimal(price[key]) for key in price if key not in RATES]
    return model.get("mode") in MODES and complete and (any(tokens) or not any(others))


def is_complete(model, price, paid):
    """Whether all has a price that a model is paid for which makes or reads something else than text."""
    if model["provider"] in GOOGLE:
        # Its counts tell images and sound from text.
        return model["mode"] in {*IMAGES, SPEECH} and {"input", "output", "media_output"} <= price.keys()
    # Amazon makes these in dialects of their own.
    if VARIANT.search(model["model"]) or model["provider"] == "bedrock":
        return False
    if model["mode"] == MODERATION:
        return "input" in price
    if model["mode"] in IMAGES:
        return "image" in paid or "media_output" in price
    # Zero for everything means that what is paid for isn't listed.
    by_token = "input" in price or "media_input" in price
    is_priced = any(Decimal(price.get(key, "0")) for key in ("input", "output"))
    by_unit = any(Decimal(paid.get(unit, "0")) for unit in ("character", "audio", "search", "video"))
    return by_unit or (by_token and "output" in price and is_priced)


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


def line(model, sets, prices):
    others = [f"{name}={short(rates(price))}" for name, price in scales(model)]
    if us := model.get("multipliers", {}).get("us"):
        others.append(f"us={int(Decimal(us) * 100)}")
    # Each place outside of the usual one; where several are listed they cost the same.
    if places := [factor for name, factor in model.items() if name.startswith("regional_")]:
        others.append(f"region={int(max(map(Decimal, places)) * 100)}")
    facts = [model.get("max_input_tokens", ""), model.get("max_output_tokens", "")]
    flags = sets.setdefault((features(model, "supports"), features(model, "lacks")), len(sets))
    name = f"{model['provider']}/{model['model']}"
    paid = ",".join(f"{unit}={nanos_per_million(usd)}" for unit, usd in units(model, prices))
    columns = [name, *rates(base(model)), ";".join(others), *facts, str(flags)]
    return "\t".join([*columns, paid] if paid else columns)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        models = [with_media(model) for model in json.load(file, parse_float=str, parse_int=str)]
    sets = {}
    prices = {(model["provider"], model["model"]): model.get("price", {}) for model in models}
    lines = sorted(line(model, sets, prices) for model in models if is_listed(model, prices))
    for supports, lacks in sets:
        print(f"{supports}\t{lacks}")
    print()
    print("\n".join(lines))


main()
