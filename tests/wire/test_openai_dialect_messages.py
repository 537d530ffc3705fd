"""Messages and tools in the forms that single APIs know; what they can't be told is refused by its path."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import Reason, RequestError
from service.providers.openai.dialects import DIALECTS, EMBEDDED
from tests.support.dropped import unplaced
from tests.support.openai_asking import USER, message_sent, sent, sent_leniently

ALL = {**DIALECTS, "embedded": EMBEDDED}
MARK = {"type": "ephemeral"}
TEXT = {"type": "text", "text": "x"}
DATA = "data:application/pdf;base64,JVBERi0="
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
FUNCTION = {"type": "function", "function": {"name": "f"}}
WITH_PARAMETERS = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
SEARCH = {"type": "web_search", "web_search": {"enable": True}}

PARTS: dict[str, dict[str, Any]] = {
    "text": TEXT,
    "image_url": {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
    "input_audio": {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    "file": {"type": "file", "file": {"file_data": DATA, "filename": "a.pdf"}},
    "video_url": {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}},
    "document_url": {"type": "document_url", "document_url": "https://x/y.pdf"},
    "refusal": {"type": "refusal", "refusal": "No."},
}
READ = {
    "generic": set(PARTS),
    "huggingface": set(PARTS),
    "openai": {"text", "image_url", "input_audio", "file", "refusal"},
    "azure": {"text", "image_url", "input_audio", "file", "refusal"},
    "groq": {"text", "image_url"},
    "mistral": {"text", "image_url", "input_audio", "file", "document_url"},
    "deepseek": {"text", "image_url"},
    "openrouter": {"text", "image_url", "input_audio", "file", "video_url"},
    "cerebras": {"text", "image_url"},
    "together": {"text", "image_url", "input_audio", "video_url"},
    "xai": {"text", "image_url", "file"},
    "ollama": {"text", "image_url"},
    "vllm": {"text", "image_url", "input_audio", "video_url", "refusal"},
    "llamacpp": {"text", "image_url", "input_audio"},
    "zai": {"text", "image_url", "input_audio", "video_url", "document_url"},
    "embedded": {"text"},
}
"""The kinds of parts of `PARTS` that each API reads."""


@pytest.mark.parametrize("face", ["content", "parts"])
@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("name", ALL)
def test_a_part_is_sent_or_refused_by_its_path(name: str, kind: str, face: str) -> None:
    messages = [USER, {"role": "user", face: [TEXT, PARTS[kind]]}]
    if kind in READ[name]:
        assert len(sent(ALL[name], {"messages": messages})["messages"][1]["content"]) == 2
        return
    with pytest.raises(RequestError) as raised:  # what is said is never dropped
        sent_leniently(ALL[name], {"messages": messages})

    assert raised.value.reason is Reason.PARAMETER_UNSUPPORTED
    assert (raised.value.param or "").startswith(f"messages[1].{face}[1].")


@pytest.mark.parametrize(
    ("name", "part", "expected"),
    [
        ("mistral", PARTS["file"], {"type": "document_url", "document_url": DATA, "document_name": "a.pdf"}),
        (
            "mistral",
            {"type": "file", "file": {"file_url": "https://x/y.pdf"}},
            {"type": "document_url", "document_url": "https://x/y.pdf"},
        ),
        ("mistral", {"type": "file", "file": {"file_id": "f-1"}}, {"type": "file", "file_id": "f-1"}),
        ("mistral", PARTS["document_url"], PARTS["document_url"]),
        ("mistral", PARTS["input_audio"], {"type": "input_audio", "input_audio": "UklGRg=="}),
        ("openrouter", PARTS["file"], PARTS["file"]),
        (
            "openrouter",
            {"type": "file", "file": {"file_url": "https://x/y.pdf", "filename": "a.pdf"}},
            {"type": "file", "file": {"file_data": "https://x/y.pdf", "filename": "a.pdf"}},
        ),
        (
            "zai",
            {"type": "file", "file": {"file_url": "https://x/y.pdf"}},
            {"type": "file_url", "file_url": {"url": "https://x/y.pdf"}},
        ),
        ("zai", PARTS["document_url"], {"type": "file_url", "file_url": {"url": "https://x/y.pdf"}}),
        ("openrouter", {"type": "file", "file": {"file_id": "f-1"}}, {"type": "file", "file": {"file_id": "f-1"}}),
        ("openai", {"type": "file", "file": {"file_id": "f-1"}}, {"type": "file", "file": {"file_id": "f-1"}}),
        ("openai", {**TEXT, "prompt_cache_breakpoint": {"mode": "explicit"}}, {**TEXT, "prompt_cache_breakpoint": {"mode": "explicit"}}),
        ("openrouter", {**TEXT, "cache_control": MARK}, {**TEXT, "cache_control": MARK}),
    ],
)  # fmt: skip
def test_a_part_is_sent_in_the_form_that_the_api_knows(
    name: str, part: dict[str, Any], expected: dict[str, Any]
) -> None:
    for face in ("content", "parts"):
        assert message_sent(ALL[name], {"role": "user", face: [part]})["content"] == [expected]


@pytest.mark.parametrize(
    ("name", "file", "member"),
    [
        *(("openai", file, member) for file, member in (
            ({"file_url": "https://x/y.pdf"}, "file_url"),
            ({"file_id": "f", "mime_type": "image/png"}, "mime_type"),
            ({"file_data": DATA, "citations": True}, "citations"),
        )),
        ("azure", {"file_url": "https://x/y.pdf"}, "file_url"),
        ("mistral", {"file_data": DATA, "citations": True}, "citations"),
        ("openrouter", {"file_data": DATA, "file_url": "https://x/y.pdf"}, "file_url"),
        ("openrouter", {"file_id": "f", "mime_type": "image/png"}, "mime_type"),
        ("mistral", {"file_id": "f", "filename": "a.pdf"}, "filename"),
        ("mistral", {"file_id": "f", "file_url": "https://x/y.pdf"}, "file_url"),
        ("mistral", {"file_url": "https://x/y.pdf", "file_data": DATA}, "file_data"),
        ("zai", {"file_url": "https://x/y.pdf", "filename": "a.pdf"}, "filename"),
        ("zai", {"file_data": DATA}, "file_data"),
    ],
)  # fmt: skip
def test_a_member_of_a_file_that_an_api_does_not_know_is_refused(name: str, file: dict[str, Any], member: str) -> None:
    message = {"role": "user", "parts": [{"type": "file", "file": file}]}
    with pytest.raises(RequestError) as raised:
        sent_leniently(ALL[name], {"messages": [message]})

    assert raised.value.param == f"messages[0].parts[0].file.{member}"


def test_citations_that_are_not_wanted_need_no_api_that_has_them() -> None:
    part = {"type": "file", "file": {"file_id": "f", "citations": False}}

    assert message_sent(ALL["openai"], {"role": "user", "parts": [part]})["content"] == [part]


THOUGHT = {"role": "assistant", "content": "4", "reasoning_content": "2+2"}
DETAILS = [{"type": "reasoning.text", "text": "2+2", "signature": "s", "format": "anthropic-claude-v1", "index": 0}]


@pytest.mark.parametrize("given", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["deepseek", "zai", "llamacpp", "xai", "embedded"], {"content": "4", "reasoning_content": "2+2"}),
        (["groq", "cerebras", "together", "ollama", "vllm", "openrouter"], {"content": "4", "reasoning": "2+2"}),
        (
            ["mistral"],
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "2+2"}]}, {"type": "text", "text": "4"}]},
        ),
        (["openai", "azure"], {"content": "4"}),
    ],
)  # fmt: skip
def test_reasoning_is_sent_back_under_the_name_that_the_api_knows(
    names: list[str], expected: dict[str, Any], given: str
) -> None:
    message = {"role": "assistant", "content": "4", given: "2+2"}
    for name in names:
        assert message_sent(ALL[name], message) == {"role": "assistant"} | expected


@pytest.mark.parametrize("given", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("name", ["generic", "huggingface"])
def test_where_no_name_is_known_reasoning_is_sent_back_as_it_came(name: str, given: str) -> None:
    message = {"role": "assistant", "content": "4", given: "2+2", "reasoning_details": DETAILS}

    assert message_sent(ALL[name], message) == message


def test_a_mistral_answer_of_parts_and_one_of_reasoning_alone_are_put_together() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "2+2"}]}
    with_parts = THOUGHT | {"content": [TEXT]}
    without_text = {"role": "assistant", "reasoning_content": "2+2", "tool_calls": [CALL]}

    assert message_sent(ALL["mistral"], with_parts)["content"] == [thinking, TEXT]
    assert message_sent(ALL["mistral"], without_text)["content"] == [thinking]


@pytest.mark.parametrize("given", ["reasoning_content", "reasoning"])
def test_an_empty_reasoning_is_sent_back_where_there_is_a_name_for_it(given: str) -> None:
    message = {"role": "assistant", "content": "4", given: ""}

    assert message_sent(ALL["zai"], message) == {"role": "assistant", "content": "4", "reasoning_content": ""}
    assert message_sent(ALL["groq"], message) == {"role": "assistant", "content": "4", "reasoning": ""}
    assert message_sent(ALL["mistral"], message) == {"role": "assistant", "content": "4"}


def test_deepseek_is_told_an_empty_reasoning_beside_calls_that_have_none() -> None:
    calls = {"role": "assistant", "tool_calls": [CALL]}

    assert message_sent(ALL["deepseek"], calls) == calls | {"reasoning_content": ""}
    assert message_sent(ALL["deepseek"], calls | {"reasoning": "so"}) == calls | {"reasoning_content": "so"}
    assert message_sent(ALL["deepseek"], {"role": "assistant", "content": "4"}) == {"role": "assistant", "content": "4"}
    assert message_sent(ALL["zai"], calls) == calls


def test_openrouters_reasoning_blocks_are_sent_back_whole() -> None:
    pieces = [
        {"type": "reasoning.text", "text": "2", "index": 0, "format": "anthropic-claude-v1"},
        {"type": "reasoning.text", "text": "+2", "index": 0, "format": "anthropic-claude-v1"},
        {"type": "reasoning.text", "signature": "s", "index": 0, "format": "anthropic-claude-v1"},
        {"type": "reasoning.encrypted", "data": "a", "index": 1},
        {"type": "reasoning.encrypted", "data": "b", "index": 1},
        {"type": "reasoning.summary", "summary": "so", "index": 2},
        {"type": "reasoning.summary", "summary": "!", "index": 2},
        {"type": "reasoning.text", "text": "and", "index": 3, "signature": "t"},
        {"type": "reasoning.text", "text": "again", "index": 3},
    ]
    sent_back = message_sent(ALL["openrouter"], THOUGHT | {"reasoning_details": pieces})

    assert sent_back == {
        "role": "assistant",
        "content": "4",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "2+2", "index": 0, "format": "anthropic-claude-v1", "signature": "s"},
            {"type": "reasoning.encrypted", "data": "a", "index": 1},
            {"type": "reasoning.encrypted", "data": "b", "index": 1},
            {"type": "reasoning.summary", "summary": "so!", "index": 2},
            {"type": "reasoning.text", "text": "and", "index": 3, "signature": "t"},
            {"type": "reasoning.text", "text": "again", "index": 3},
        ],
    }


@pytest.mark.parametrize("name", ALL)
def test_blocks_of_other_providers_and_signs_of_failure_stay_here(name: str) -> None:
    messages = [
        USER,
        {
            "role": "assistant",
            "content": "4",
            "tool_calls": [CALL | {"extra_content": {"anthropic": {"caller": {}}}}],
            "provider_content": [{"format": "groq", "block": {"type": "search"}}],
            "annotations": [{"type": "url_citation"}],
            "id": "m1",
        },
        {"role": "tool", "tool_call_id": "c1", "content": "no", "is_error": True},
    ]
    body, dropped = sent_leniently(ALL[name], {"messages": messages})

    _, answer, result = body["messages"]
    calls = answer.pop("tool_calls")
    assert answer.pop("reasoning_content", "") == ""  # DeepSeek's
    assert answer == {"role": "assistant", "content": "4"}
    assert calls == (messages[1]["tool_calls"] if name in {"generic", "huggingface"} else [CALL])  # type: ignore[index]
    assert result == {"role": "tool", "tool_call_id": "c1", "content": "no"}
    assert dropped == []


MARKED: list[tuple[str, dict[str, Any]]] = [
    ("name", {"role": "user", "content": "x", "name": "Ann"}),
    ("prefix", {"role": "assistant", "content": "x", "prefix": True}),
    ("cache_control", {"role": "user", "content": "x", "cache_control": MARK}),
    ("content[0].cache_control", {"role": "user", "content": [TEXT | {"cache_control": MARK}]}),
    ("parts[0].cache_control", {"role": "user", "parts": [TEXT | {"cache_control": MARK}]}),
    ("content[0].prompt_cache_breakpoint", {"role": "user", "content": [TEXT | {"prompt_cache_breakpoint": {"mode": "explicit"}}]}),
]  # fmt: skip
OPEN = {"generic", "huggingface"}
KNOWN_MARKS = {
    "name": set(ALL) - {"groq", "mistral"},
    "prefix": OPEN | {"mistral", "deepseek"},
    "cache_control": OPEN | {"openrouter"},
    "content[0].cache_control": OPEN | {"openrouter"},
    "parts[0].cache_control": OPEN | {"openrouter"},
    "content[0].prompt_cache_breakpoint": OPEN | {"openrouter", "openai", "azure"},
}


@pytest.mark.parametrize(("place", "message"), MARKED, ids=[place for place, _ in MARKED])
@pytest.mark.parametrize("name", ALL)
def test_a_mark_that_an_api_does_not_know_is_left_out_or_refused(
    name: str, place: str, message: dict[str, Any]
) -> None:
    request = {"messages": [USER, message]}
    body, dropped = sent_leniently(ALL[name], request)
    if name in KNOWN_MARKS[place]:
        assert dropped == []
        assert sent(ALL[name], request) == body
        return
    with pytest.raises(RequestError) as raised:
        sent(ALL[name], request)

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_UNSUPPORTED, f"messages[1].{place}")
    assert dropped == [unplaced(f"messages[1].{place}")]
    assert place.rpartition(".")[2] not in str(body)


def test_a_prefix_that_is_none_is_sent_to_those_alone_that_know_it() -> None:
    message = {"role": "assistant", "content": "x", "prefix": False}

    assert message_sent(ALL["mistral"], message) == message
    assert message_sent(ALL["openai"], message) == {"role": "assistant", "content": "x"}


def test_names_are_sent_where_the_api_reads_them() -> None:
    tool = {"role": "tool", "tool_call_id": "c1", "content": "x", "name": "f"}

    assert message_sent(ALL["mistral"], tool) == tool
    assert message_sent(ALL["xai"], {"role": "user", "content": "x", "name": "Ann"})["name"] == "Ann"
    for name, message in (("groq", tool), ("xai", {"role": "system", "content": "x", "name": "Ann"})):
        with pytest.raises(RequestError) as raised:
            message_sent(ALL[name], message)
        assert raised.value.param == "messages[0].name"


@pytest.mark.parametrize("content", [{"content": None}, {"content": ""}, {}])
def test_a_mark_of_a_message_without_content_is_left_out_by_name(content: dict[str, Any]) -> None:
    message = {"role": "assistant", "tool_calls": [CALL], "cache_control": MARK, **content}
    with pytest.raises(RequestError) as raised:
        sent(ALL["openrouter"], {"messages": [message]})
    body, dropped = sent_leniently(ALL["openrouter"], {"messages": [message]})

    assert raised.value.param == "messages[0].cache_control"
    assert dropped == ["messages[].cache_control"]
    assert body["messages"] == [{"role": "assistant", "tool_calls": [CALL], **content}]


@pytest.mark.parametrize("name", ALL)
def test_marks_and_refusals_that_are_none_need_no_api_that_knows_them(name: str) -> None:
    part = TEXT | {"cache_control": None, "prompt_cache_breakpoint": None}
    messages = [{"role": "user", "content": [part]}, {"role": "assistant", "content": "x", "refusal": ""}]
    body, dropped = sent_leniently(ALL[name], {"messages": messages})

    assert dropped == []
    assert sent(ALL[name], {"messages": messages}) == body
    if name not in OPEN:
        assert body["messages"][0]["content"] == [TEXT]


@pytest.mark.parametrize(
    ("name", "part", "place"),
    [
        ("mistral", PARTS["file"] | {"foo": 1}, ".foo"),
        ("mistral", PARTS["input_audio"] | {"input_audio": {"data": "UklGRg==", "format": "wav", "foo": 1}}, ".input_audio.foo"),
        ("mistral", {"type": "file", "file": {}}, ".file"),
        ("mistral", {"type": "file", "file": {"filename": "a.pdf"}}, ".file"),
        ("mistral", PARTS["file"] | {"c4n4ry !": 1}, ""),
        ("zai", {"type": "file", "file": {"file_url": "https://x/y.pdf"}, "foo": 1}, ".foo"),
        ("zai", {"type": "file", "file": {}}, ".file"),
        ("zai", {"type": "file", "file": {"file_url": None}}, ".file"),
        ("zai", PARTS["document_url"] | {"foo": 1}, ".foo"),
        ("openrouter", PARTS["file"] | {"file": {"file_data": DATA, "foo": 1}}, ".file.foo"),
    ],
)  # fmt: skip
def test_what_a_part_in_another_form_has_no_place_for_is_refused(name: str, part: dict[str, Any], place: str) -> None:
    with pytest.raises(RequestError) as raised:
        sent_leniently(ALL[name], {"messages": [{"role": "user", "content": [part]}]})

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_UNSUPPORTED, f"messages[0].content[0]{place}")
    assert "c4n4ry" not in raised.value.message


@pytest.mark.parametrize("content", ["x", [TEXT, TEXT]])
def test_openrouters_mark_of_a_message_stands_at_its_last_part(content: Any) -> None:
    parts = [TEXT] if content == "x" else content

    assert message_sent(ALL["openrouter"], {"role": "user", "content": content, "cache_control": MARK}) == {
        "role": "user",
        "content": [*parts[:-1], TEXT | {"cache_control": MARK}],
    }


@pytest.mark.parametrize(
    ("member", "value", "names"),
    [
        ("audio", {"id": "a"}, {"openai", "azure", "openrouter"}),
        ("refusal", "No.", {"openai", "azure", "openrouter", "deepseek", "together", "xai", "vllm"}),
        ("function_call", {"name": "f", "arguments": "{}"}, {"openai", "azure", "groq", "together"}),
    ],
)
@pytest.mark.parametrize("name", ALL)
def test_what_an_answer_said_is_sent_back_or_refused(name: str, member: str, value: Any, names: set[str]) -> None:
    message = {"role": "assistant", "content": "x", member: value}
    if name in names | OPEN:
        assert message_sent(ALL[name], message) == message
        return
    with pytest.raises(RequestError) as raised:
        sent_leniently(ALL[name], {"messages": [message]})

    assert raised.value.param == f"messages[0].{member}"


CUSTOM_TOOLS = OPEN | {"openai", "azure", "openrouter"}
OWN_TOOLS = CUSTOM_TOOLS | {"groq", "mistral", "deepseek", "together", "xai", "zai"}


@pytest.mark.parametrize("name", ALL)
def test_tools_are_sent_where_the_api_has_their_kind(name: str) -> None:
    dialect = ALL[name]
    custom = {"type": "custom", "custom": {"name": "sql"}}
    provider = {"type": "provider", "provider": SEARCH}

    function = FUNCTION if name not in {"mistral", "together"} else WITH_PARAMETERS
    assert sent(dialect, {"tools": [FUNCTION]})["tools"] == [function]
    for tool, names, as_sent in ((custom, CUSTOM_TOOLS, custom), (provider, OWN_TOOLS, SEARCH)):
        if name in names:
            assert sent(dialect, {"tools": [FUNCTION, tool]})["tools"] == [function, as_sent]
            continue
        with pytest.raises(RequestError) as raised:
            sent_leniently(dialect, {"tools": [FUNCTION, tool]})
        assert raised.value.param == "tools[1].type"


@pytest.mark.parametrize("name", ALL)
def test_calls_of_free_text_tools_are_sent_back_where_the_api_has_them(name: str) -> None:
    call = {"id": "c1", "type": "custom", "custom": {"name": "sql", "input": "x"}}
    message = {"role": "assistant", "tool_calls": [call]}
    if name in CUSTOM_TOOLS:
        assert message_sent(ALL[name], message) == message
        return
    with pytest.raises(RequestError) as raised:
        sent_leniently(ALL[name], {"messages": [message]})

    assert raised.value.param == "messages[0].tool_calls[0].type"


def test_a_tools_mark_is_sent_where_the_api_reads_it() -> None:
    marked = FUNCTION | {"cache_control": MARK}

    assert sent(ALL["openrouter"], {"tools": [marked]})["tools"] == [marked]
    body, dropped = sent_leniently(ALL["openai"], {"tools": [FUNCTION, marked]})
    assert body["tools"] == [FUNCTION, FUNCTION]
    assert dropped == ["tools[].cache_control"]
    with pytest.raises(RequestError) as raised:
        sent(ALL["openai"], {"tools": [FUNCTION, marked]})
    assert raised.value.param == "tools[1].cache_control"


def test_a_provider_tools_mark_is_sent_where_the_api_reads_it() -> None:
    marked = {"type": "provider", "provider": SEARCH, "cache_control": MARK}
    own = {"type": "provider", "provider": SEARCH | {"cache_control": MARK}}

    assert sent(ALL["openrouter"], {"tools": [marked]})["tools"] == [SEARCH | {"cache_control": MARK}]
    assert sent_leniently(ALL["groq"], {"tools": [marked]}) == (
        sent(ALL["groq"], {"tools": [{"type": "provider", "provider": SEARCH}]}),
        ["tools[].cache_control"],
    )
    assert sent(ALL["groq"], {"tools": [own]})["tools"] == [SEARCH | {"cache_control": MARK}]
    with pytest.raises(RequestError) as raised:
        sent(ALL["openrouter"], {"tools": [own | {"cache_control": MARK}]})
    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, "tools[0].cache_control")


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        (FUNCTION | {"provider": SEARCH}, "provider"),
        ({"type": "custom", "custom": {"name": "sql"}, "provider": SEARCH}, "provider"),
        ({"type": "provider", "provider": SEARCH, "function": {"name": "f"}}, "function"),
        ({"type": "provider", "provider": SEARCH, "custom": {"name": "f"}}, "custom"),
    ],
)
def test_what_a_tools_kind_has_no_place_for_is_refused(tool: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as raised:
        sent_leniently(ALL["openai"], {"tools": [FUNCTION, tool]})

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, f"tools[1].{param}")


@pytest.mark.parametrize("name", ALL)
def test_a_deprecated_function_message_is_sent_where_the_api_has_functions(name: str) -> None:
    message = {"role": "function", "name": "f", "content": "x"}
    if name in OPEN | {"openai", "azure", "groq", "together"}:
        assert message_sent(ALL[name], message) == message
        return
    with pytest.raises(RequestError) as raised:
        sent_leniently(ALL[name], {"messages": [message]})

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_UNSUPPORTED, "messages[0].role")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("content", [{}, {"content": None}])
def test_an_answer_of_which_nothing_is_left_is_sent_back_with_an_empty_text(name: str, content: dict[str, Any]) -> None:
    provider_content = [{"format": "groq", "block": {"type": "search"}}]
    message = {"role": "assistant", "provider_content": provider_content, **content}

    assert message_sent(ALL[name], message) == {"role": "assistant", "content": ""}
    if name in {"openai", "azure"}:
        assert message_sent(ALL[name], THOUGHT | content | {"content": None}) == {"role": "assistant", "content": ""}


@pytest.mark.parametrize(
    ("dialect", "roles"),
    [
        ("openai", ["developer", "developer", "user"]),
        ("azure", ["developer", "developer", "user"]),
        ("generic", ["system", "developer", "user"]),
        ("mistral", ["system", "system", "user"]),
    ],
)
def test_system_and_developer_messages_in_one_request(dialect: str, roles: list[str]) -> None:
    asked = [{"role": role, "content": "x"} for role in ("system", "developer", "user")]

    assert [message["role"] for message in sent(DIALECTS[dialect], {"messages": asked})["messages"]] == roles


def test_a_system_message_by_itself_stays_one() -> None:
    asked = [{"role": role, "content": "x"} for role in ("system", "user")]

    assert sent(DIALECTS["openai"], {"messages": asked})["messages"] == asked
