"""How the runs of Gemini's own tools are counted."""

from __future__ import annotations

from typing import Any

import pytest

from service.catalogue import Prices
from service.cost import cost_usd
from service.providers.gemini import GEMINI
from tests.support.json_form import json_of
from tests.wire.gemini_support import Json, answer_of, call_of, candidate, chunks_of, sse, whole

USED = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}


def searched(**metadata: Any) -> Json:
    return candidate({"text": "a"}, groundingMetadata=metadata)


def run(kind: Any, **arguments: Any) -> Json:
    return {"toolCall": {"toolType": kind, "args": arguments}}


def tool_use(*candidates: Json) -> Any:
    return whole(answer_of(*candidates, usageMetadata=USED))["usage"].get("server_tool_use")


@pytest.mark.parametrize(
    ("answered", "counts"),
    [
        (candidate({"text": "a"}), None),
        (searched(), None),
        (searched(webSearchQueries=None, groundingChunks=None), None),
        (searched(webSearchQueries=["a", "b"]), {"web_search_requests": 2}),
        (searched(webSearchQueries=["", "a", "a"]), {"web_search_requests": 1}),
        (
            searched(imageSearchQueries=["a"], webSearchQueries=["a"]),
            {"image_search_requests": 1, "web_search_requests": 1},
        ),
        (searched(retrievalQueries=["a"]), {"retrieval_requests": 1}),
        (searched(groundingChunks=[{"maps": {"uri": "u"}}, {"maps": {"uri": "v"}}]), {"maps_requests": 1}),
        (searched(groundingChunks=[{"retrievedContext": {"uri": "u"}}]), {"retrieval_requests": 1}),
        (
            searched(groundingChunks=[{"retrievedContext": {"uri": "u"}}], retrievalQueries=["a", "b"]),
            {"retrieval_requests": 2},
        ),
        (searched(groundingChunks=[{"web": {"uri": "u"}}]), None),  # as of pages that were fetched
        (candidate(run("GOOGLE_SEARCH_WEB", queries=["a", "b"])), {"web_search_requests": 2}),
        (
            candidate(run("GOOGLE_SEARCH_WEB", queries=["a"]), groundingMetadata={"webSearchQueries": ["", "a", "b"]}),
            {"web_search_requests": 2},
        ),
        (candidate(run("GOOGLE_SEARCH_IMAGE", queries=["a"])), {"image_search_requests": 1}),
        (candidate(run("GOOGLE_MAPS"), run("GOOGLE_MAPS")), {"maps_requests": 2}),
        (candidate(run("FILE_SEARCH")), {"retrieval_requests": 1}),
        (candidate(run("URL_CONTEXT", urls=["u"])), {"web_fetch_requests": 1}),
        (candidate(run("SOMETHING_NEW")), {"tool_requests": 1}),
        (candidate(run(["odd"])), {"tool_requests": 1}),
        (candidate({"toolCall": "odd"}), {"tool_requests": 1}),
    ],
)
def test_runs_are_counted_by_their_kind(answered: Json, counts: Json | None) -> None:
    assert tool_use(answered) == counts


def test_candidates_share_what_was_searched() -> None:
    first, second = searched(webSearchQueries=["a", "b"]), searched(webSearchQueries=["b", "c"])

    assert tool_use(first | {"index": 0}, second | {"index": 1}) == {"web_search_requests": 3}


def test_a_stream_that_tells_queries_again_counts_them_once() -> None:
    def event(reason: str | None = None, **metadata: Any) -> Json:
        told = candidate({"text": "a"}, reason=reason, groundingMetadata=metadata)
        return {"candidates": [told], "usageMetadata": USED}

    body = sse(
        {"candidates": [candidate(run("GOOGLE_SEARCH_WEB", queries=["a"]), reason=None)]},
        event(webSearchQueries=["a"]),
        event(),
        event("STOP", webSearchQueries=["a", "b"]),
    )

    assert json_of(chunks_of([body])[-1])["usage"]["server_tool_use"] == {"web_search_requests": 2}


def test_the_count_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.providers.gemini.server_tools._MOST_QUERIES", 2)
    runs = [run("GOOGLE_SEARCH_WEB", queries=[f"q{number}"]) for number in range(5)]

    assert tool_use(candidate(*runs)) == {"web_search_requests": 2}


@pytest.mark.parametrize(
    ("answered", "traffic", "is_known"),
    [
        (candidate({"text": "a"}), "ON_DEMAND", True),
        (searched(webSearchQueries=["a"]), "ON_DEMAND", False),
        (candidate({"text": "a"}), "PROVISIONED_THROUGHPUT", False),
    ],
)
def test_what_is_not_charged_by_the_token_has_no_cost(answered: Json, traffic: str, is_known: bool) -> None:  # noqa: FBT001
    body = sse({"candidates": [answered], "usageMetadata": USED | {"trafficType": traffic}})[6:]

    told = GEMINI.translate("acme", body, call_of())

    tier = told.service_tier if told.HasField("service_tier") else None
    assert (cost_usd(told.usage, Prices(input=1, output=1), tier) is not None) == is_known
