"""How Gemini's sources become citations with indices in characters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.providers.gemini.offsets import ByteOffsets
from tests.wire.gemini_support import Json, candidate, chunks_of, merged, message_of, sse, steps_of

WEB = [{"web": {"uri": "https://a.org", "title": "A"}}, {"web": {"uri": "https://b.org"}}]


def support(start: int | None, end: int, *chunks: int, text: str | None = None) -> Json:
    segment: Json = {"endIndex": end} | ({"startIndex": start} if start is not None else {})
    return {"segment": segment | ({"text": text} if text else {}), "groundingChunkIndices": list(chunks)}


def cited(url: str, start: int | None = None, end: int | None = None, **fields: Any) -> Json:
    place = {} if start is None else {"start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": {"url": url, **fields, **place}}


def annotated(text: str, chunks: list[Json], *supports: Json) -> list[Json]:
    grounding = {"groundingChunks": chunks, "groundingSupports": list(supports)}
    value: list[Json] = message_of({"text": text}, groundingMetadata=grounding)["annotations"]
    return value


def test_bytes_become_characters() -> None:
    text = "Zürich: 68°F 😀 ok"
    start, end = len("Zürich: ".encode()), len("Zürich: 68°F 😀".encode())

    assert annotated(text, WEB, support(start, end, 0, 1, text="68°F 😀"), support(None, 7, 1)) == [
        cited("https://a.org", 8, 14, title="A"),
        cited("https://b.org", 8, 14),
        cited("https://b.org", 0, 6),
    ]


def test_the_text_of_all_parts_is_counted_and_thoughts_are_not() -> None:
    grounding = {"groundingChunks": WEB[1:], "groundingSupports": [support(2, 5, 0, text="bcd")]}

    message = message_of(
        {"text": "ééé", "thought": True},
        {"text": "é"},
        {"executableCode": {"code": "1"}},
        {"text": "bcd"},
        groundingMetadata=grounding,
    )

    assert message["annotations"] == [cited("https://b.org", 1, 4)]


@pytest.mark.parametrize(
    "place",
    [
        support(0, 99, 1),  # beyond the text
        support(0, 2, 1),  # amid a character
        support(3, 3, 1),  # empty
        support(0, 3, 1, text="another"),
        support(-3, 2, 1),
        support(-3, -1, 1),
        {"groundingChunkIndices": [1]},
        {"segment": None, "groundingChunkIndices": [1, -1]},
        {"segment": {"startIndex": None, "endIndex": None}, "groundingChunkIndices": [1]},
    ],
)
def test_a_place_that_does_not_fit_is_left_out(place: Json) -> None:
    assert annotated("aé!", WEB[:2], place)[:1] == [cited("https://b.org")]


def test_sources_without_a_place_follow() -> None:
    assert annotated("abc", [*WEB, *WEB], support(0, 1, 1)) == [
        cited("https://b.org", 0, 1),
        cited("https://a.org", title="A"),
    ]


def test_a_support_that_names_no_source_is_ignored() -> None:
    assert annotated("abc", WEB[1:], support(0, 1, 7)) == [cited("https://b.org")]


def test_other_kinds_of_sources_are_read() -> None:
    chunks = [
        {"maps": {"uri": "https://maps", "title": "M", "placeId": "places/1"}},
        {"retrievedContext": {"uri": "gs://b/d", "text": "long"}},
        {"image": {"sourceUri": "https://page", "imageUri": "https://img", "title": "I"}},
    ]

    assert annotated("abc", chunks) == [
        cited("https://maps", title="M"),
        cited("gs://b/d"),
        cited("https://page", title="I"),
    ]


@pytest.mark.parametrize("name", ["citationSources", "citations"])
def test_quoted_texts_are_citations(name: str) -> None:
    sources = [{"startIndex": 2, "endIndex": 4, "uri": "https://q.org", "license": "mit"}, {"endIndex": 1}]

    message = message_of({"text": "éabc"}, citationMetadata={name: sources})

    assert message["annotations"] == [cited("https://q.org", 1, 3, license="mit")]


def test_what_is_no_citation_is_told_last_in_provider_content() -> None:
    grounding = {"webSearchQueries": ["q"], "searchEntryPoint": {"renderedContent": "<b>"}, "groundingChunks": WEB}
    pages = {"urlMetadata": [{"retrievedUrl": "https://a.org"}]}

    message = message_of({"text": "abc"}, groundingMetadata=grounding, urlContextMetadata=pages)

    told = {"webSearchQueries": ["q"], "searchEntryPoint": {"renderedContent": "<b>"}}
    metadata = {"groundingMetadata": told, "urlContextMetadata": pages}
    assert message["provider_content"] == [{"format": "gemini", "metadata": metadata}]


def test_sources_without_an_address_are_told_as_they_are() -> None:
    grounding = {"groundingChunks": [{"retrievedContext": {"title": "T"}}], "groundingSupports": [support(0, 1, 0)]}

    message = message_of({"text": "abc"}, groundingMetadata=grounding)

    assert "annotations" not in message
    assert message["provider_content"] == [{"format": "gemini", "metadata": {"groundingMetadata": grounding}}]


def told_beside(*pieces: Json) -> tuple[list[str], Any]:
    """The addresses that a stream cites, and what of the grounding it tells besides."""
    events: list[Any] = [
        {"candidates": [candidate({"text": "abc"}, reason=None, groundingMetadata=piece)], "responseId": "r1"}
        for piece in pieces
    ]
    (choice,) = merged(chunks_of([sse(*events, {"candidates": [candidate()]})]))
    urls = [annotation["url_citation"]["url"] for annotation in choice["message"].get("annotations", [])]
    entries = choice["message"].get("provider_content", [])
    return urls, entries[0]["metadata"]["groundingMetadata"] if entries else None


A, B = WEB
SCORED = support(0, 1, 0) | {"confidenceScores": [0.5]}


@pytest.mark.parametrize(
    "grounding",
    [
        {"groundingChunks": [{"web": {"uri": "u", "domain": "d"}}]},
        {"groundingChunks": [{"retrievedContext": {"uri": "u", "title": "t", "text": "passage"}}]},
        {"groundingChunks": [{"retrievedContext": {"uri": "u", "ragChunk": {"text": "passage"}}}]},
        {"groundingChunks": [{"maps": {"uri": "u", "title": "t", "placeId": "places/1"}}]},
        {"groundingChunks": [{"image": {"sourceUri": "u", "imageUri": "i"}}]},
        {"groundingChunks": [{"image": {"uri": "u"}}]},
        {"groundingChunks": [{"somethingNew": ["x"], "web": {"uri": "u"}}]},
        {"groundingChunks": [A], "groundingSupports": [SCORED]},
        {"groundingChunks": [A], "groundingSupports": [{"segment": {"partIndex": 1}, "groundingChunkIndices": [0]}]},
        {"groundingChunks": [A], "groundingSupports": [support(0, 1)]},
        {"groundingChunks": [A], "groundingSupports": [support(0, 1, 0, 7)]},
        {"groundingSupports": [support(0, 1, 0)]},
    ],
)
def test_what_no_citation_says_is_told_as_it_is(grounding: Json) -> None:
    assert told_beside(grounding)[1] == grounding


@pytest.mark.parametrize(
    ("pieces", "urls", "told"),
    [
        # Lists of their own: nothing of the first is lost.
        (({"groundingChunks": [A]}, {"groundingChunks": [B]}), ["https://a.org", "https://b.org"], None),
        (
            (
                {"groundingChunks": [A], "groundingSupports": [SCORED]},
                {"groundingChunks": [B, A], "groundingSupports": [SCORED]},
            ),
            ["https://a.org", "https://b.org"],
            {
                "groundingChunks": [A, B, A],
                "groundingSupports": [SCORED, SCORED | {"groundingChunkIndices": [1]}],
            },
        ),
        # A list that grows, or is told again.
        (
            (
                {"groundingChunks": [A]},
                {"groundingChunks": [A, B], "groundingSupports": [SCORED]},
                {"groundingChunks": [A]},
            ),
            ["https://a.org", "https://b.org"],
            {"groundingChunks": [A, B], "groundingSupports": [SCORED]},
        ),
        (
            ({"groundingSupports": [SCORED]}, {"groundingChunks": [A]}, {"groundingSupports": [SCORED]}),
            ["https://a.org"],
            {"groundingChunks": [A], "groundingSupports": [SCORED]},
        ),
    ],
)
def test_a_stream_loses_none_of_its_sources(pieces: tuple[Json, ...], urls: list[str], told: Json | None) -> None:
    assert told_beside(*pieces) == (urls, told)


def test_citations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.providers.gemini.grounding._MOST_CITATIONS", 2)
    piece = {"groundingChunks": WEB[1:], "groundingSupports": [support(0, end, 0) for end in (1, 2, 3)]}
    quoted = {"citations": [{"uri": "https://q.org", "endIndex": 1}]}

    message = message_of({"text": "abc"}, groundingMetadata=piece, citationMetadata=quoted)

    assert message["annotations"] == [cited("https://b.org", 0, 1), cited("https://b.org", 0, 2)]


def test_a_stream_keeps_a_bounded_number_of_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.providers.gemini.grounding._MOST_CITATIONS", 2)
    pieces = [{"groundingChunks": [{"web": {"uri": f"https://{number}.org"}}]} for number in range(9)]

    urls, _ = told_beside(*pieces)

    assert urls == ["https://0.org", "https://8.org"]  # the list that came last is kept in any case


def test_a_stream_keeps_a_bounded_number_of_supports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.providers.gemini.grounding._MOST_CITATIONS", 2)
    scored = [support(0, 1, 0) | {"confidenceScores": [score]} for score in range(9)]

    for chunks in ({"groundingChunks": [A]}, {}):
        _, told = told_beside(*({**chunks, "groundingSupports": [item]} for item in scored))
        assert told == {**chunks, "groundingSupports": scored[:2]}


@pytest.mark.parametrize("order", ["together", "sources first", "places first", "repeated", "before the text"])
def test_in_a_stream_sources_may_come_in_any_event(order: str) -> None:
    chunks, supports = {"groundingChunks": WEB[1:]}, {"groundingSupports": [support(2, 5, 0, text="bcd")]}
    both = chunks | supports
    pieces: dict[str, list[Json]] = {
        "together": [{}, {}, both],
        "sources first": [{}, chunks, supports],
        "places first": [supports, chunks, {}],
        "repeated": [{}, both, both],
        "before the text": [both, {}, {}],
    }
    events = [
        {"candidates": [candidate({"text": text}, reason=reason, groundingMetadata=piece)], "responseId": "r1"}
        for text, reason, piece in zip(("é", "bc", "d"), (None, None, "STOP"), pieces[order], strict=True)
    ]

    steps = steps_of(*events)

    assert [step["delta"]["annotations"] for step in steps if "annotations" in step["delta"]] == [
        [cited("https://b.org", 1, 4)]
    ]


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.text(alphabet=st.sampled_from("ab\n\u00e9\u0416\u20ac\u4e2d\U0001f600\U0001f468\u200d"))))
def test_every_byte_is_found(pieces: list[str]) -> None:
    offsets = ByteOffsets()
    for piece in pieces:
        offsets.add(piece)
    text = "".join(pieces)

    places = {len(text[:index].encode()): index for index in range(len(text) + 1)}
    for offset in range(len(text.encode()) + 2):
        assert offsets.character_at(offset) == places.get(offset)


def test_offsets_keep_nothing_of_plain_text_and_a_bounded_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.providers.gemini.offsets._MOST_CHANGES", 4)
    offsets = ByteOffsets()
    offsets.add("a" * 1_000_000)
    assert len(offsets._bytes) == 1

    offsets.add("é1é2é3")
    offsets.add("more")

    assert len(offsets._bytes) == 4
    assert offsets.character_at(1_000_003) == 1_000_002
    assert offsets.character_at(1_000_005) == 1_000_003
    assert offsets.character_at(1_000_007) is None
