"""What an answer cites, as every SDK reads it: the same page and the same place, whoever has answered."""

import pytest
from scenario import CITING, PAGE
from sdks import Sdks
from test_pairs import MODELS, streamed

CITED = (CITING[1], PAGE["url"], PAGE["title"])
by = pytest.mark.parametrize("provider", ["chat", "anthropic"])


@pytest.fixture(scope="module")
def sdks(proxy):
    with Sdks(proxy.url) as running:
        yield running


def of_page(text, page):
    return text[page.start_index : page.end_index], page.url, page.title


@by
@streamed
def test_openais_chats_read_what_is_cited(sdks, providers, provider, stream):
    asked = {"model": MODELS[provider], "messages": [{"role": "user", "content": "cite"}]}
    if stream:
        with sdks.openai.chat.completions.stream(**asked) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = sdks.openai.chat.completions.create(**asked).choices[0].message

    [annotation] = message.annotations
    assert annotation.type == "url_citation"
    assert of_page(message.content, annotation.url_citation) == CITED


@by
@streamed
def test_openais_responses_read_what_is_cited(sdks, providers, provider, stream):
    asked = {"model": MODELS[provider], "input": "cite"}
    if stream:
        with sdks.openai.responses.stream(**asked) as events:
            added = [event for event in events if event.type == "response.output_text.annotation.added"]
            response = events.get_final_response()
        assert [event.annotation_index for event in added] == [0]
    else:
        response = sdks.openai.responses.create(**asked)

    text = "".join(part.text for part in response.output[0].content)
    [annotation] = [annotation for part in response.output[0].content for annotation in part.annotations]
    assert annotation.type == "url_citation"
    if provider == "chat" or stream:
        assert of_page(text, annotation) == CITED
    else:
        [part] = [part for part in response.output[0].content if part.annotations]
        assert of_page(part.text, annotation) == CITED


@by
@streamed
def test_anthropics_messages_read_what_is_cited(sdks, providers, provider, stream):
    asked = {"model": MODELS[provider], "max_tokens": 99, "messages": [{"role": "user", "content": "cite"}]}
    if stream:
        with sdks.anthropic.messages.stream(**asked) as events:
            message = events.get_final_message()
    else:
        message = sdks.anthropic.messages.create(**asked)

    [block] = [block for block in message.content if block.citations]
    [citation] = block.citations
    assert (citation.type, citation.url, citation.title) == ("web_search_result_location", *CITED[1:])
    # What was streamed before the citation came can't be divided any more.
    assert block.text == ("".join(CITING) if stream and provider == "chat" else CITING[1])


@by
@streamed
def test_google_reads_what_is_cited(sdks, providers, provider, stream):
    asked = {"model": MODELS[provider], "contents": "cite"}
    if stream:
        chunks = list(sdks.gemini.models.generate_content_stream(**asked))
    else:
        chunks = [sdks.gemini.models.generate_content(**asked)]

    metadata = chunks[-1].candidates[0].grounding_metadata
    [chunk], [support] = metadata.grounding_chunks, metadata.grounding_supports
    assert (chunk.web.uri, chunk.web.title) == CITED[1:]
    assert support.grounding_chunk_indices == [0]
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
    text = "".join(part.text for part in parts) if stream else parts[support.segment.part_index or 0].text
    place = slice(support.segment.start_index, support.segment.end_index)
    assert text.encode()[place].decode() == CITED[0]
