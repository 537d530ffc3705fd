"""The conversation that the Messages API is sent: its turns, and the parts of its messages."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from service._gen.parley.v1.message_pb2 import ContentPart, Message
from service.catalogue import Capabilities
from service.errors import Reason, RequestError
from service.providers.anthropic.messages import encode_messages
from service.providers.omissions import Omissions
from service.providers.provider import ProviderCall
from tests.wire.anthropic_json import Json
from tests.wire.anthropic_support import IDENTITY, call_of, refused, sent, without

MID = Capabilities(mid_system=True)
CACHED: Json = {"type": "ephemeral", "ttl": "1h"}
PNG = base64.b64encode(b"\x89PNG").decode()
PDF = base64.b64encode(b"%PDF-1.7").decode()
TEXT = base64.b64encode("né\n".encode()).decode()


def text(value: str, **fields: Any) -> Json:
    return {"type": "text", "text": value, **fields}


def said(role: str, content: Any, **fields: Any) -> Json:
    return {"role": role, "content": content, **fields}


def turn(role: str, *blocks: Json) -> Json:
    return {"role": role, "content": list(blocks)}


USER, HI = said("user", "a"), turn("user", text("a"))
REPLY, ANSWERED = said("assistant", "b"), turn("assistant", text("b"))


@pytest.mark.parametrize(
    ("messages", "system"),
    [
        ([USER], None),
        ([said("system", "s"), USER], "s"),
        ([said("developer", "s"), USER], "s"),
        ([said("system", [text("s")]), USER], "s"),
        ([said("system", ""), USER], None),
        ([said("system", " \n"), USER], None),
        ([said("system", "s"), said("developer", "t"), USER], [text("s"), text("t")]),
        ([said("system", [text("s"), text(""), text("t")]), USER], [text("s"), text("t")]),
        ([said("system", [text("s", cache_control=CACHED)]), USER], [text("s", cache_control=CACHED)]),
        ([said("system", "s", cache_control=CACHED), USER], [text("s", cache_control=CACHED)]),
        (
            [said("system", [text("s"), text("t")], cache_control=CACHED), USER],
            [text("s"), text("t", cache_control=CACHED)],
        ),
    ],
)
def test_the_system_prompt_stands_apart(messages: list[Json], system: str | list[Json] | None) -> None:
    body = sent({"messages": messages})
    assert (body.get("system"), body["messages"]) == (system, [HI])


@pytest.mark.parametrize("capabilities", [Capabilities(), Capabilities(mid_system=False)])
def test_a_later_system_message_is_joined_to_the_first_where_the_model_takes_none_amid(
    capabilities: Capabilities,
) -> None:
    messages = [said("system", "s"), USER, REPLY, said("system", "t"), USER]
    body = sent({"messages": messages}, capabilities)
    assert (body["system"], body["messages"]) == ([text("s"), text("t")], [HI, ANSWERED, HI])


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([USER, REPLY, USER, said("system", "t")], [HI, ANSWERED, HI, turn("system", text("t"))]),
        # Nothing of the assistant's is sent, so that the user's turn goes on.
        (
            [USER, said("system", "t"), {"role": "assistant", "reasoning_content": "r"}, USER],
            [turn("user", text("a"), text("a")), turn("system", text("t"))],
        ),
        # It stands behind no turn but the user's.
        (
            [USER, REPLY, said("system", "t"), REPLY, USER],
            [HI, turn("assistant", text("b"), text("b")), HI, turn("system", text("t"))],
        ),
        ([USER, REPLY, said("developer", "t"), USER], [HI, ANSWERED, HI, turn("system", text("t"))]),
        (
            [USER, said("system", "t"), USER, REPLY],
            [turn("user", text("a"), text("a")), turn("system", text("t")), ANSWERED],
        ),
        (
            [USER, said("system", "t"), said("system", [text("u", cache_control=CACHED)]), REPLY, USER],
            [HI, turn("system", text("t"), text("u", cache_control=CACHED)), ANSWERED, HI],
        ),
    ],
)
def test_a_later_system_message_stands_behind_the_user_turn_where_the_model_takes_it(
    messages: list[Json], turns: list[Json]
) -> None:
    body = sent({"messages": [said("system", "s"), *messages]}, MID)
    assert (body["system"], body["messages"]) == ("s", turns)


def test_a_last_system_message_behind_the_assistant_is_joined_to_the_first() -> None:
    body = sent({"messages": [said("system", "s"), USER, REPLY, said("system", "t")]}, MID)
    assert (body["system"], body["messages"]) == ([text("s"), text("t")], [HI, ANSWERED])
    assert sent({"messages": [USER, REPLY, said("system", "t")]}, MID)["system"] == "t"


def result(call_id: str, **fields: Any) -> Json:
    return {"type": "tool_result", "tool_use_id": call_id, **fields}


def called(call_id: str, arguments: str = "{}") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": arguments}}


IMAGE: Json = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
IMAGE_BLOCK: Json = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
JPEG_BLOCK: Json = {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG}}
CALLS: Json = {"role": "assistant", "tool_calls": [called("1"), called("2")]}
USES = turn("assistant", *({"type": "tool_use", "id": name, "name": "f", "input": {}} for name in "12"))


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([USER, USER], [turn("user", text("a"), text("a"))]),
        ([USER, REPLY, REPLY], [HI, turn("assistant", text("b"), text("b"))]),
        ([REPLY, USER], [ANSWERED, HI]),
        ([USER, said("user", ""), REPLY], [HI, ANSWERED]),
        ([USER, said("user", [text("")]), REPLY], [HI, ANSWERED]),
        ([USER, said("assistant", "\n"), USER], [turn("user", text("a"), text("a"))]),
        ([said("user", [text("\n"), text("a")])], [turn("user", text("\n"), text("a"))]),
        ([said("user", [text("\n"), IMAGE])], [turn("user", IMAGE_BLOCK)]),
        ([CALLS, said("tool", "\n", tool_call_id="1")], [USES, turn("user", result("1", content="\n"))]),
        (
            [CALLS, said("tool", "x", tool_call_id="1"), said("tool", "y", tool_call_id="2"), USER],
            [USES, turn("user", result("1", content="x"), result("2", content="y"), text("a"))],
        ),
        (
            [CALLS, said("tool", "x", tool_call_id="1"), USER, said("tool", "y", tool_call_id="2")],
            [USES, turn("user", result("1", content="x"), result("2", content="y"), text("a"))],
        ),
    ],
)
def test_messages_of_one_side_become_one_turn_with_tool_results_first(messages: list[Json], turns: list[Json]) -> None:
    assert sent({"messages": messages})["messages"] == turns


@pytest.mark.parametrize("content", [" ", "\n\t", [text("\n")], [text(""), text(" ")]])
def test_a_message_of_the_user_that_is_white_space_alone_is_refused(content: str | list[Json]) -> None:
    error = refused({"messages": [USER, REPLY, said("user", content)]})
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, "messages[2].content")


@pytest.mark.parametrize("content", ["", [text("")]])
def test_a_mark_on_a_message_that_says_nothing_is_refused_or_dropped(content: str | list[Json]) -> None:
    body = {"messages": [USER, said("user", content, cache_control=CACHED)]}
    assert refused(body).param == "messages[1].cache_control"
    assert without(body)[0] == ["messages[].cache_control"]


@pytest.mark.parametrize("messages", [[said("system", "s")], [said("system", "s"), said("user", "")]])
def test_a_conversation_of_nobody_but_the_system_is_refused(messages: list[Json]) -> None:
    error = refused({"messages": messages})
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, "messages")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (said("tool", ""), {}),
        (said("tool", "x"), {"content": "x"}),
        (said("tool", "x", is_error=True), {"content": "x", "is_error": True}),
        (said("tool", "x", is_error=False), {"content": "x", "is_error": False}),
        (said("tool", "x", name="f"), {"content": "x"}),
        (said("tool", [text("x"), IMAGE]), {"content": [text("x"), IMAGE_BLOCK]}),
        (said("tool", [text("x", cache_control=CACHED)]), {"content": [text("x", cache_control=CACHED)]}),
        (said("tool", "x", cache_control=CACHED), {"content": "x", "cache_control": CACHED}),
    ],
)
def test_a_tool_result_is_translated(fields: Json, expected: Json) -> None:
    body = sent({"messages": [CALLS, {"tool_call_id": "1", **fields}]})
    assert body["messages"] == [USES, turn("user", result("1", **expected))]


def file(**fields: Any) -> Json:
    return {"type": "file", "file": fields}


def document(source: Json, **fields: Any) -> Json:
    return {"type": "document", "source": source, **fields}


PDF_SOURCE: Json = {"type": "base64", "media_type": "application/pdf", "data": PDF}
TEXT_SOURCE: Json = {"type": "text", "media_type": "text/plain", "data": "né\n"}


def at(url: str) -> Json:
    return {"type": "url", "url": url}


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (text("x"), text("x")),
        (text("x", cache_control=CACHED), text("x", cache_control=CACHED)),
        (text("x", prompt_cache_breakpoint={"mode": "explicit"}), text("x", cache_control={"type": "ephemeral"})),
        (IMAGE, IMAGE_BLOCK),
        (IMAGE | {"cache_control": CACHED}, IMAGE_BLOCK | {"cache_control": CACHED}),
        (
            {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
            {"type": "image", "source": at("https://x/y.png")},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "auto"}},
            {"type": "image", "source": at("https://x/y.png")},
        ),
        (file(file_data=f"data:application/pdf;base64,{PDF}"), document(PDF_SOURCE)),
        (file(file_data=f"data:application/pdf;base64,{PDF}", filename="a.pdf"), document(PDF_SOURCE, title="a.pdf")),
        (
            file(file_data=f"data:application/pdf;base64,{PDF}", citations=True),
            document(PDF_SOURCE, citations={"enabled": True}),
        ),
        (file(file_data=f"data:application/pdf;base64,{PDF}", citations=False), document(PDF_SOURCE)),
        (file(file_data=f"data:text/plain;base64,{TEXT}"), document(TEXT_SOURCE)),
        (
            file(file_data=f"data:text/markdown;charset=utf-8;base64,{TEXT}", filename="a.md"),
            document(TEXT_SOURCE, title="a.md"),
        ),
        (file(file_data=f"data:image/png;base64,{PNG}"), IMAGE_BLOCK),
        (file(file_data=f"data:image/jpg;base64,{PNG}"), JPEG_BLOCK),
        ({"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{PNG}"}}, JPEG_BLOCK),
        (file(file_id="f1"), document({"type": "file", "file_id": "f1"})),
        (file(file_id="f1", mime_type="image/png"), {"type": "image", "source": {"type": "file", "file_id": "f1"}}),
        (file(file_url="https://x/y"), document(at("https://x/y"))),
        (file(file_url="https://x/y.PNG?z=1"), {"type": "image", "source": at("https://x/y.PNG?z=1")}),
        (file(file_url="https://x/y.png", mime_type="application/pdf"), document(at("https://x/y.png"))),
        ({"type": "document_url", "document_url": "https://x/y.pdf"}, document(at("https://x/y.pdf"))),
        ({"type": "document_url", "document_url": f"data:application/pdf;base64,{PDF}"}, document(PDF_SOURCE)),
    ],
)
def test_a_part_is_translated(part: Json, block: Json) -> None:
    assert sent({"messages": [said("user", [part])]})["messages"] == [turn("user", block)]


@pytest.mark.parametrize(
    ("part", "param", "reason"),
    [
        ({"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}, "type", Reason.PARAMETER_UNSUPPORTED),
        ({"type": "video_url", "video_url": {"url": "https://x"}}, "type", Reason.PARAMETER_UNSUPPORTED),
        (file(file_data="data:application/zip;base64,AAAA"), "file.file_data", Reason.PARAMETER_UNSUPPORTED),
        (file(file_data="AAAA"), "file.file_data", Reason.PARAMETER_INVALID),
        (file(file_data="data:text/plain;base64,/w=="), "file.file_data", Reason.PARAMETER_INVALID),
        (file(file_data="data:text/plain;base64,!"), "file.file_data", Reason.PARAMETER_INVALID),
        (file(file_data="data:text/plain;base64,é"), "file.file_data", Reason.PARAMETER_INVALID),
        (file(file_url="gs://x/y"), "file.file_url", Reason.PARAMETER_INVALID),
        (file(file_url="https://[x"), "file.file_url", Reason.PARAMETER_INVALID),
        (file(file_url="https://a℀b.com/x"), "file.file_url", Reason.PARAMETER_INVALID),
        ({"type": "image_url", "image_url": {"url": "https://[x"}}, "image_url.url", Reason.PARAMETER_INVALID),
        (
            {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,AAAA"}},
            "image_url.url",
            Reason.PARAMETER_UNSUPPORTED,
        ),
        (file(file_data="data:image/tiff;base64,AAAA"), "file.file_data", Reason.PARAMETER_UNSUPPORTED),
        (file(file_id="f1", mime_type="image/heic"), "file.mime_type", Reason.PARAMETER_UNSUPPORTED),
        (file(file_id="a", file_url="https://x"), "file.file_url", Reason.PARAMETER_INVALID),
        (file(filename="a"), "file", Reason.PARAMETER_MISSING),
        ({"type": "image_url", "image_url": {"url": "ftp://x"}}, "image_url.url", Reason.PARAMETER_INVALID),
        ({"type": "image_url", "image_url": {"url": f"data:;base64,{PNG}"}}, "image_url.url", Reason.PARAMETER_INVALID),
        ({"type": "document_url", "document_url": "data:x"}, "document_url", Reason.PARAMETER_INVALID),
        (text("x", citations=[]), "citations", Reason.PARAMETER_UNSUPPORTED),
    ],
)
def test_a_part_that_cannot_be_sent_is_refused_even_where_parameters_may_be_dropped(
    part: Json, param: str, reason: Reason
) -> None:
    for may_drop in (False, True):
        call = call_of({"messages": [said("user", [text("x"), part])]}, drop=may_drop)
        with pytest.raises(RequestError) as caught:
            encode_messages(call)
        assert (caught.value.param, caught.value.reason) == (f"messages[0].content[1].{param}", reason)


@pytest.mark.parametrize(
    ("part", "param", "block"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}},
            "image_url.detail",
            at("https://x"),
        ),
        (file(file_url="https://x/y.png", filename="y"), "file.filename", at("https://x/y.png")),
        (file(file_url="https://x/y.png", citations=True), "file.citations", at("https://x/y.png")),
    ],
)
def test_what_is_only_about_a_part_may_be_dropped(part: Json, param: str, block: Json) -> None:
    body = {"messages": [said("user", [part])]}
    assert refused(body).param == f"messages[0].content[0].{param}"
    call = call_of(body, drop=True)
    assert encode_messages(call)[1] == [turn("user", {"type": "image", "source": block})]
    assert call.omissions.dropped == [f"messages[].content[].{param}"]


def test_a_system_message_is_of_text_alone() -> None:
    assert refused({"messages": [said("system", [IMAGE]), USER]}).param == "messages[0].content"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (said("function", "x", name="f"), "messages[1].role"),
        ({"role": "assistant", "function_call": {"name": "f"}}, "messages[1].function_call"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[1].audio"),
        (
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "c", "input": "x"}}]},
            "messages[1].tool_calls[0].custom",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "1", "custom": {"name": "c", "input": "x"}}]},
            "messages[1].tool_calls[0].custom",
        ),
    ],
)
def test_what_the_provider_has_no_place_for_is_refused(message: Json, param: str) -> None:
    error = refused({"messages": [USER, message]})
    assert (error.reason, error.param) == (Reason.PARAMETER_UNSUPPORTED, param)


def test_names_of_participants_are_refused_or_dropped() -> None:
    messages = [said("user", "a", name="Ann"), said("assistant", "b", name="Bob")]
    assert refused({"messages": messages}).param == "messages[0].name"
    assert without({"messages": messages})[0] == ["messages[].name"]


def test_typed_parts_are_read_as_those_of_rest() -> None:
    call = call_of({})
    call.request.ClearField("messages")
    call.request.messages.append(Message(role="user", parts=[ContentPart(type="text", text="x")]))
    assert encode_messages(call)[1] == [turn("user", text("x"))]
    call.request.messages[0].parts.add(type="input_audio")
    with pytest.raises(RequestError) as caught:
        encode_messages(ProviderCall(call.request, "m", IDENTITY, Capabilities(), Omissions("acme", may_drop=True)))
    assert caught.value.param == "messages[0].parts[1].type"
