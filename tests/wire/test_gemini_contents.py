"""What Gemini is sent of a conversation: exact contents."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import Reason, RequestError
from tests.wire.gemini_support import HI, NEW, OLD, USER, Json, call_of, contents, sent, sent_by

DATA = "data:image/png;base64,aW1n"
INLINE = {"inlineData": {"mimeType": "image/png", "data": "aW1n"}}
NO_GEMINI = ("gemma-3-27b-it", "endpoints/123", "tunedModels/my-gemini", "tunedModels/gemini-x")
"""Models of which no generation is told."""
SIGNED = {"google": {"thought_signature": "c2ln"}}
DUMMY = "skip_thought_signature_validator"


def call(name: str = "f", id_: str = "c1", arguments: str = "{}", **fields: Any) -> Json:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}, **fields}


def called(name: str = "f", id_: str = "c1", **fields: Any) -> Json:
    return {"functionCall": {"id": id_, "name": name, "args": {}}, **fields}


def result(content: Any, id_: str = "c1", **fields: Any) -> Json:
    return {"role": "tool", "tool_call_id": id_, "content": content, **fields}


def responded(response: Json, id_: str = "c1", name: str = "f", **fields: Any) -> Json:
    return {"functionResponse": {"id": id_, "name": name, "response": response, **fields}}


def asks(*calls: Json, **fields: Any) -> Json:
    return {"role": "assistant", "tool_calls": list(calls), **fields}


def model(*parts: Json) -> Json:
    return {"role": "model", "parts": list(parts)}


def user(*parts: Json) -> Json:
    return {"role": "user", "parts": list(parts)}


def part(kind: str, **fields: Any) -> Json:
    return {"type": kind, kind: fields}


def test_instructions_go_ahead_of_the_conversation_from_wherever_they_stand() -> None:
    told = sent(
        {
            "messages": [
                {"role": "system", "content": "A"},
                USER,
                {"role": "developer", "content": [{"type": "text", "text": "B"}, {"type": "text", "text": "C"}]},
                USER,
            ]
        }
    )

    assert told == {
        "systemInstruction": {"parts": [{"text": "A"}, {"text": "B"}, {"text": "C"}]},
        "contents": [user({"text": "Hi"}, {"text": "Hi"})],
    }


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([USER], [HI]),
        ([{"role": "user", "content": ""}], [user({"text": ""})]),
        ([{"role": "user", "content": [{"type": "text", "text": ""}]}], [user({"text": ""})]),
        ([USER, {"role": "assistant", "content": "Yes"}, USER], [HI, model({"text": "Yes"}), HI]),
        (
            [USER, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}],
            [HI, model({"text": "a"}, {"text": "b"})],
        ),
        (
            [USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
            [HI, model({"text": "no"})],
        ),
        ([USER, {"role": "assistant", "refusal": "never"}], [HI, model({"text": "never"})]),
        (
            [USER, {"role": "assistant", "content": [part("image_url", url=DATA), {"type": "text", "text": "a"}]}],
            [HI, model(INLINE, {"text": "a"})],
        ),
        ([USER, {"role": "assistant", "reasoning_content": "hm"}, USER], [user({"text": "Hi"}, {"text": "Hi"})]),
    ],
)
def test_turns_are_translated(messages: list[Json], told: list[Json]) -> None:
    assert contents(messages) == told


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (part("image_url", url=DATA), INLINE),
        (part("image_url", url=DATA, detail="auto"), INLINE),
        (
            part("image_url", url="https://e.org/a/b.webp?x=1.png"),
            {"fileData": {"mimeType": "image/webp", "fileUri": "https://e.org/a/b.webp?x=1.png"}},
        ),
        (
            part("image_url", url="gs://bucket/pic"),
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://bucket/pic"}},
        ),
        (
            part("input_audio", data="c25k", format="mp3"),
            {"inlineData": {"mimeType": "audio/mpeg", "data": "c25k"}},
        ),
        (part("input_audio", data="c25k", format="WAV"), {"inlineData": {"mimeType": "audio/wav", "data": "c25k"}}),
        (
            part("video_url", url="https://www.youtube.com/watch?v=1"),
            {"fileData": {"mimeType": "video/mp4", "fileUri": "https://www.youtube.com/watch?v=1"}},
        ),
        (
            part("video_url", url="data:video/webm;base64,dmlk"),
            {"inlineData": {"mimeType": "video/webm", "data": "dmlk"}},
        ),
        (
            part("file", file_data="data:application/pdf;base64,cGRm"),
            {"inlineData": {"mimeType": "application/pdf", "data": "cGRm"}},
        ),
        (
            part("file", file_data="data:;base64,cGRm", mime_type="text/plain"),
            {"inlineData": {"mimeType": "text/plain", "data": "cGRm"}},
        ),
        (
            part("file", file_data="data:text/html;base64,cGRm", mime_type="text/plain"),
            {"inlineData": {"mimeType": "text/plain", "data": "cGRm"}},
        ),
        (
            part("file", file_id="files/abc", mime_type="image/png"),
            {
                "fileData": {
                    "mimeType": "image/png",
                    "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc",
                }
            },
        ),
        (
            part("file", file_id="https://e.org/v1beta/files/abc"),
            {"fileData": {"mimeType": "application/pdf", "fileUri": "https://e.org/v1beta/files/abc"}},
        ),
        (
            part("file", file_url="gs://b/talk.mp3"),
            {"fileData": {"mimeType": "audio/mpeg", "fileUri": "gs://b/talk.mp3"}},
        ),
        (
            part("file", file_url="gs://b/talk.mp3", mime_type="audio/x"),
            {"fileData": {"mimeType": "audio/x", "fileUri": "gs://b/talk.mp3"}},
        ),
        (
            {"type": "document_url", "document_url": "https://e.org/d"},
            {"fileData": {"mimeType": "application/pdf", "fileUri": "https://e.org/d"}},
        ),
    ],
)
def test_parts_are_translated(asked: Json, told: Json) -> None:
    assert contents([{"role": "user", "content": [asked]}]) == [user(told)]


@pytest.mark.parametrize(("detail", "level"), [("low", "LOW"), ("high", "HIGH"), ("original", "ULTRA_HIGH")])
def test_the_detail_of_an_image_is_told_to_gemini_3_only(detail: str, level: str) -> None:
    messages = [{"role": "user", "content": [part("image_url", url=DATA, detail=detail)]}]

    assert contents(messages, NEW) == [user(INLINE | {"mediaResolution": {"level": f"MEDIA_RESOLUTION_{level}"}})]

    for name in (OLD, *NO_GEMINI):
        lenient = call_of({"messages": messages}, name, may_drop=True)
        assert sent_by(lenient)["contents"] == [user(INLINE)]
        assert lenient.omissions.dropped == ["messages[].content[].image_url.detail"]


@pytest.mark.parametrize(
    ("asked", "param", "reason"),
    [
        (part("image_url", url="data:image/png,raw"), "image_url.url", Reason.PARAMETER_INVALID),
        (part("input_audio", data="x", format="a b"), "input_audio.format", Reason.PARAMETER_INVALID),
        (part("image_url", url="https://[x"), "image_url.url", Reason.PARAMETER_INVALID),
        (part("file", file_url="https://a℀b.com/x"), "file.file_url", Reason.PARAMETER_INVALID),
        (part("file", file_data="cGRm"), "file.file_data", Reason.PARAMETER_INVALID),
        (part("file"), "file.file_data", Reason.PARAMETER_MISSING),
        (part("file", file_id="f", filename="n"), "file.filename", Reason.PARAMETER_UNSUPPORTED),
        (part("file", file_id="f", citations=True), "file.citations", Reason.PARAMETER_UNSUPPORTED),
        (
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
            "cache_control",
            Reason.PARAMETER_UNSUPPORTED,
        ),
        (
            {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            "prompt_cache_breakpoint",
            Reason.PARAMETER_UNSUPPORTED,
        ),
    ],
)
def test_parts_that_can_not_be_told_are_refused_by_name(asked: Json, param: str, reason: Reason) -> None:
    with pytest.raises(RequestError) as raised:
        contents([{"role": "user", "content": [asked]}])

    assert (raised.value.reason, raised.value.param) == (reason, f"messages[0].content[0].{param}")


@pytest.mark.parametrize(
    ("messages", "param", "reason"),
    [
        ([{"role": "system", "content": "A"}], "messages", Reason.PARAMETER_INVALID),
        (
            [{"role": "system", "content": [part("image_url", url=DATA)]}, USER],
            "messages[0].content[0].type",
            Reason.PARAMETER_UNSUPPORTED,
        ),
        ([USER, {"role": "function", "name": "f", "content": "1"}], "messages[1].role", Reason.PARAMETER_UNSUPPORTED),
        ([USER, result("1", "unknown")], "messages[1].tool_call_id", Reason.PARAMETER_INVALID),
        (
            [USER, asks(call(arguments="[1]"))],
            "messages[1].tool_calls[0].function.arguments",
            Reason.PARAMETER_INVALID,
        ),
        (
            [USER, asks(call(arguments='{"a":'))],
            "messages[1].tool_calls[0].function.arguments",
            Reason.PARAMETER_INVALID,
        ),
        ([USER, asks(call(), call("g"))], "messages[1].tool_calls[1].id", Reason.PARAMETER_INVALID),
        (
            [USER, asks(call(extra_content={"google": {"thought_signature": 1}}))],
            "messages[1].tool_calls[0].extra_content.google.thought_signature",
            Reason.PARAMETER_INVALID,
        ),
        (
            [USER, asks({"id": "c", "type": "custom", "custom": {"name": "x", "input": "y"}})],
            "messages[1].tool_calls[0].type",
            Reason.PARAMETER_UNSUPPORTED,
        ),
        (
            [USER, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}],
            "messages[1].function_call",
            Reason.PARAMETER_UNSUPPORTED,
        ),
        ([USER, {"role": "assistant", "audio": {"id": "a"}}], "messages[1].audio", Reason.PARAMETER_UNSUPPORTED),
        (
            [
                USER,
                {"role": "assistant", "content": "a", "provider_content": [{"format": "gemini", "text_length": -1}]},
            ],
            "messages[1].provider_content[0].text_length",
            Reason.PARAMETER_INVALID,
        ),
        (
            [USER, {"role": "assistant", "content": "a", "provider_content": [{"format": "gemini", "block": 1}]}],
            "messages[1].provider_content[0].block",
            Reason.PARAMETER_INVALID,
        ),
    ],
)
def test_messages_that_can_not_be_told_are_refused_by_name(messages: list[Json], param: str, reason: Reason) -> None:
    with pytest.raises(RequestError) as raised:
        contents(messages)

    assert (raised.value.reason, raised.value.param) == (reason, param)


def test_calls_and_results_of_one_turn_stand_together() -> None:
    assert contents(
        [
            USER,
            asks(call("f", "c1"), call("g", "c2"), content="Let me see."),
            result("cars", "c1"),
            result('{"b": 1.0, "a": [2]}', "c2"),
            {"role": "user", "content": "And?"},
        ]
    ) == [
        HI,
        model({"text": "Let me see."}, called("f", "c1"), called("g", "c2")),
        user(responded({"output": "cars"}), responded({"b": 1.0, "a": [2]}, "c2", "g")),
        user({"text": "And?"}),
    ]


@pytest.mark.parametrize(
    ("content", "fields", "response"),
    [
        ("1", {}, {"output": "1"}),
        ("", {}, {"output": ""}),
        ("[1]", {}, {"output": "[1]"}),
        ('{"a": 1', {}, {"output": '{"a": 1'}),
        ('{"a": 1}', {}, {"a": 1}),
        ("no", {"is_error": True}, {"error": "no"}),
        ('{"a": 1}', {"is_error": True}, {"error": '{"a": 1}'}),
        ([{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}], {}, {"output": "ab"}),
    ],
)
def test_results_are_objects(content: Any, fields: Json, response: Json) -> None:
    assert contents([USER, asks(call()), result(content, **fields)])[2] == user(responded(response))


def test_a_result_of_an_unknown_call_may_name_its_function() -> None:
    assert contents([USER, result("1", "x", name="h")])[1] == user(responded({"output": "1"}, "x", "h"))


AUDIO = part("input_audio", data="c25k", format="wav")
INLINE_AUDIO = {"inlineData": {"mimeType": "audio/wav", "data": "c25k"}}


def test_gemini_3_finds_images_within_the_result_and_sound_after_all_results() -> None:
    signed = asks(call("f", "c1", extra_content=SIGNED), call("g", "c2"))
    messages = [
        USER,
        signed,
        result([part("image_url", url=DATA), AUDIO], "c1"),
        result([{"type": "text", "text": "t"}, part("image_url", url=DATA)], "c2"),
        USER,
    ]

    assert contents(messages, NEW)[2:] == [
        user(responded({}, parts=[INLINE]), responded({"output": "t"}, "c2", "g", parts=[INLINE])),
        user(INLINE_AUDIO, {"text": "Hi"}),
    ]


def test_media_by_address_follow_the_results() -> None:
    page = part("image_url", url="https://e.org/a.png")
    messages = [USER, asks(call(extra_content=SIGNED)), result([part("image_url", url=DATA), page])]

    assert contents(messages, NEW)[2:] == [
        user(responded({}, parts=[INLINE])),
        user({"fileData": {"mimeType": "image/png", "fileUri": "https://e.org/a.png"}}),
    ]


def test_earlier_models_find_all_media_after_the_results() -> None:
    messages = [USER, asks(call()), result([part("image_url", url=DATA)]), asks(call("f", "c2"))]

    for name in (OLD, *NO_GEMINI):
        assert contents(messages, name)[2:] == [user(responded({})), user(INLINE), model(called("f", "c2"))]


def test_arguments_go_back_as_they_came() -> None:
    arguments = '{"z":1.0,"a":12345678901234567890}'
    told = contents([USER, asks(call(arguments=arguments), call("g", "c2", arguments=""))])

    assert list(told[1]["parts"][0]["functionCall"]["args"].items()) == [("z", 1.0), ("a", 12345678901234567890)]
    assert told[1]["parts"][1]["functionCall"]["args"] == {}


def test_signatures_of_calls_go_back() -> None:
    messages = [USER, asks(call(extra_content=SIGNED), call("g", "c2"))]

    assert contents(messages, NEW)[1] == model(called(thoughtSignature="c2ln"), called("g", "c2"))


@pytest.mark.parametrize("name", ["gemini-3-pro-preview", "gemini-4-argon", "models/gemini-flash-latest"])
def test_calls_that_gemini_did_not_sign_are_marked_as_such(name: str) -> None:
    messages = [USER, asks(call(), call("g", "c2"))]

    assert contents(messages, name)[1] == model(called(thoughtSignature=DUMMY), called("g", "c2"))


@pytest.mark.parametrize("name", ["gemini-2.5-pro", *NO_GEMINI])
def test_other_models_need_no_mark(name: str) -> None:
    assert contents([USER, asks(call())], name)[1] == model(called())


CODE = {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "cw=="}


def own(**entry: Any) -> Json:
    return {"format": "gemini", **entry}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"content": "abcd", "provider_content": [own(text_length=1), own(block=CODE), own(text_length=3)]},
            [{"text": "a"}, CODE, {"text": "bcd"}],
        ),
        (
            {"content": "é😀x", "provider_content": [own(text_length=2, block={"thoughtSignature": "s"})]},
            [{"text": "é😀", "thoughtSignature": "s"}, {"text": "x"}],
        ),
        (  # the text was cut: what is left is one part
            {"content": "ab", "provider_content": [own(text_length=1), own(block=CODE), own(text_length=9)]},
            [{"text": "a"}, CODE, {"text": "b"}],
        ),
        (
            {"provider_content": [own(text_length=0, block={"thoughtSignature": "s"})]},
            [{"text": "", "thoughtSignature": "s"}],
        ),
        (
            {"content": "a", "provider_content": [own(metadata={"groundingMetadata": {"x": 1}})]},
            [{"text": "a"}],
        ),
        (
            {"content": "a", "provider_content": [{"format": "anthropic", "block": {"type": "x"}}]},
            [{"text": "a"}],
        ),
        (  # a call before the text, one that is gone, and one that was added
            {
                "content": "a",
                "tool_calls": [call(), call("g", "c2")],
                "provider_content": [own(tool_call_id="c1"), own(tool_call_id="gone"), own(text_length=1)],
            },
            [called(), {"text": "a"}, called("g", "c2")],
        ),
        (  # media, of which no entry can tell
            {
                "content": [part("image_url", url=DATA), {"type": "text", "text": "ab"}],
                "provider_content": [own(text_length=1, block={"thoughtSignature": "s"})],
            },
            [{"text": "a", "thoughtSignature": "s"}, {"text": "b"}, INLINE],
        ),
        (
            {"content": "a", "reasoning_details": [{"type": "reasoning.text", "text": "t", "index": 0}]},
            [{"text": "a"}],
        ),
    ],
)
def test_provider_content_gives_the_order(fields: Json, told: list[Json]) -> None:
    assert contents([USER, {"role": "assistant", **fields}])[1] == model(*told)


def detail(index: int, **fields: Any) -> Json:
    return {"type": "reasoning.text", "format": "google-gemini-v1", "index": index, **fields}


def test_signed_thoughts_go_back_whole_and_unsigned_ones_do_not() -> None:
    message = {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "xyz",
        "reasoning_details": [
            detail(0, text="x"),
            detail(1, text="y"),
            detail(1, text="z"),
            detail(1, signature="s"),
            {"type": "reasoning.text", "format": "anthropic-claude-v1", "text": "n", "signature": "n", "index": 2},
        ],
    }
    thought = {"text": "yz", "thought": True, "thoughtSignature": "s"}

    assert contents([USER, message])[1] == model(thought, {"text": "a"})

    ordered = message | {"provider_content": [own(text_length=1), own(reasoning_index=0), own(reasoning_index=1)]}
    assert contents([USER, ordered])[1] == model({"text": "a"}, thought)


def test_the_pieces_of_a_stream_tell_their_format_once() -> None:
    def piece(index: int, **fields: Any) -> Json:
        return {"type": "reasoning.text", "index": index, **fields}

    details = [
        piece(0, text="n"),
        detail(1, text="x"),
        piece(1, text="y"),
        piece(1, signature="s"),
        piece(2, format="another", text="n"),
        piece(2, signature="n"),
    ]

    assert contents([USER, {"role": "assistant", "content": "a", "reasoning_details": details}])[1] == model(
        {"text": "xy", "thought": True, "thoughtSignature": "s"}, {"text": "a"}
    )


@pytest.mark.parametrize("index", [[], {}, "0", 0.5, True])
def test_a_thoughts_index_that_is_none_is_refused_by_name(index: Any) -> None:
    details = [detail(0, text="x"), {"type": "reasoning.text", "format": "google-gemini-v1", "index": index}]

    with pytest.raises(RequestError) as raised:
        contents([USER, {"role": "assistant", "content": "a", "reasoning_details": details}])

    param = "messages[1].reasoning_details[1].index"
    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, param)


def test_thoughts_without_an_index_are_one_block_of_their_own() -> None:
    bare = {"type": "reasoning.text", "format": "google-gemini-v1"}
    details = [
        bare | {"text": "x"},
        detail(0, text="y", signature="s"),
        bare | {"text": "z", "signature": "t", "index": None},
        {"format": "another", "index": []},
    ]

    assert contents([USER, {"role": "assistant", "reasoning_details": details}])[1] == model(
        {"text": "xz", "thought": True, "thoughtSignature": "t"},
        {"text": "y", "thought": True, "thoughtSignature": "s"},
    )
