"""Every recorded stream, split at every byte and cut after every event; no server, the translators alone.

What a split may change is what the decoder makes of the event that it goes through: translators see
whole events. So each event is decoded with each split point of its bytes, beside the one after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pytest

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service.catalogue import Capabilities
from service.errors import UpstreamError
from service.providers.anthropic import ANTHROPIC
from service.providers.chat_api import ChatApi
from service.providers.gemini import GEMINI
from service.providers.omissions import Omissions
from service.providers.openai.api import openai_api
from service.providers.openai.dialects import DIALECTS as TABLE
from service.providers.provider import Identity, ProviderCall
from service.providers.sse import SseDecoder, SseEvent
from tests.recordings.conftest import DIALECTS
from tests.recordings.failures import FAILURES, MIDWAY
from tests.support.json_form import to_proto
from tests.support.recordings import INTERACTIONS, Interaction, require_recordings

require_recordings()

STREAMS = [item for item in INTERACTIONS.values() if item.is_stream and item.status == 200]
WHOLE = [item for item in STREAMS if item.key not in FAILURES]
_BOUNDARY = re.compile(rb"(?<=\r\n\r\n)|(?<=\n\n)")


def api_of(interaction: Interaction) -> ChatApi:
    match interaction.protocol:
        case "anthropic":
            return ANTHROPIC
        case "gemini":
            return GEMINI
        case "openai":
            provider = interaction.recording.partition("/")[0]
            return openai_api(TABLE[DIALECTS.get(provider, "generic")])


def chunks_of(interaction: Interaction, pieces: Iterable[bytes]) -> list[ChatCompletionChunk]:
    """Translate a stream as `HttpChatProvider` does it."""
    identity = Identity(id="chatcmpl-own", created=1_700_000_000, model="public")
    request = to_proto({"messages": [{"role": "user", "content": "x"}]})
    call = ProviderCall(request, interaction.model, identity, Capabilities(), Omissions("acme", may_drop=False))
    decoder, translator = SseDecoder(), api_of(interaction).stream("acme", call)
    chunks: list[ChatCompletionChunk] = []
    for event in (event for piece in pieces for event in decoder.feed(piece)):
        chunks += translator.translate(event)
        if translator.is_over:
            break
    return chunks + translator.finish()


def in_pieces(body: bytes, size: int) -> Iterator[bytes]:
    return (body[place : place + size] for place in range(0, len(body), size))


def decoded(*pieces: bytes) -> list[SseEvent]:
    decoder = SseDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def test_there_are_streams_of_every_protocol() -> None:
    assert {item.protocol for item in WHOLE} == {"anthropic", "gemini", "openai"}
    assert {item.key for item in STREAMS} - {item.key for item in WHOLE} == MIDWAY
    assert len(WHOLE) >= 30


@pytest.mark.parametrize("interaction", STREAMS, ids=lambda item: item.id)
def test_every_split_point_gives_the_same_events(interaction: Interaction) -> None:
    texts = [text for text in _BOUNDARY.split(interaction.answer.encode()) if text]
    split_points = 0
    for text, following in zip(texts, [*texts[1:], b": end\n\n"], strict=True):
        window, expected = text + following, decoded(text + following)
        for place in range(len(text) + 1):
            assert decoded(window[:place], window[place:]) == expected, (text[:80], place)
        split_points += len(text)
    assert split_points == len(interaction.answer.encode())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096])
@pytest.mark.parametrize("interaction", WHOLE, ids=lambda item: item.id)
def test_pieces_of_any_size_give_the_same_chunks(interaction: Interaction, size: int) -> None:
    body = interaction.answer.encode()

    assert chunks_of(interaction, in_pieces(body, size)) == chunks_of(interaction, [body])


@pytest.mark.parametrize("interaction", STREAMS, ids=lambda item: item.id)
def test_a_cut_after_any_event_is_a_failure_unless_nothing_is_missing(interaction: Interaction) -> None:
    texts = [text for text in _BOUNDARY.split(interaction.answer.encode()) if text]
    whole = chunks_of(interaction, texts) if interaction in WHOLE else None
    clean_ends = []
    for count in range(len(texts)):
        try:
            chunks = chunks_of(interaction, texts[:count])
        except UpstreamError:
            continue
        assert chunks == whole, f"cut after event {count}"
        clean_ends.append(count)
    is_known = interaction.protocol == "anthropic" or interaction.recording.partition("/")[0] in DIALECTS
    if is_known:
        assert clean_ends == [], "the provider says when its streams are over"
    else:  # only the `[DONE]` after the usage may be missing
        assert clean_ends in ([], [len(texts) - 1])
