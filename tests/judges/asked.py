"""The requests that both fuzz tests start from: right ones, or wrong in one thing that some provider can't do."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message

from service._gen.parley.v1 import chat_service_pb2 as chat_pb
from service._gen.parley.v1 import session_service_pb2 as session_pb
from service._gen.parley.v1.model_service_pb2 import GetModelRequest, ListModelsRequest
from tests.judges.stored_ids import ANSWER_PLACE, CHOICE_PLACE, COMPLETION_PLACE

MARK: Final = "planted-prompt-fuzz"
"""Stands in every prompt, and in labels and tags; no error may repeat it."""
KINDS: Final = ("openai", "anthropic", "gemini", "cohere")
MODELS: Final = (*KINDS, "support", "support/openai", "support/openai", "support/anthropic", "support/gemini")
"""Half of what is asked for is a project's."""
SESSION: Final = "8e0b3d4c-9a53-4d5f-8f2f-0d6a3b1f3c11"
CAMPAIGN: Final = "76d1fab3-214c-47ef-bb04-16270639bf89"

_SCHEMA: Final = {
    "type": "object",
    "properties": {"zone": {"type": "string"}, "areas": {"type": "array", "items": {"type": "integer"}}},
    "required": ["zone"],
    "additionalProperties": False,
}
_TOOL: Final = {"type": "function", "function": {"name": "f", "description": "d", "parameters": _SCHEMA}}
_CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"zone":"a"}'}}
_IMAGE: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
_USER: Final = {"role": "user", "content": MARK}
_EVENT: Final = {
    "index": 0,
    "id": "call_1",
    "tool": "shop__echo",
    "arguments": '{"text":"a"}',
    "status": "ok",
    "result": MARK,
    "duration_ms": 1,
    "turn": 0,
    "text_length": 4,
    "reasoning_length": 1,
    "provider_content_length": 1,
}
_ANSWER: Final[dict[str, Any]] = {
    "role": "assistant",
    "content": "Well\n\nyes",
    "reasoning_details": [
        {"type": "reasoning.text", "text": "a", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.text", "text": "b", "format": "anthropic-claude-v1", "index": 1},
    ],
    "provider_content": [{"index": 0, "provider": "anthropic", "type": "x"}, {"index": 1, "provider": "openai"}],
    "tool_events": [
        _EVENT,
        {**_EVENT, "id": "call_2", "index": 1, "status": "error"},
        {**_EVENT, "index": 2, "turn": 1, "text_length": 9, "reasoning_length": 2, "provider_content_length": 2},
    ],
}
"""With what server-side tools have done, as it was answered before."""

BODIES: Final[tuple[dict[str, Any], ...]] = (
    {"messages": [_USER]},
    {
        "messages": [{"role": "system", "content": "s"}, {**_USER, "name": "n"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 10,
        "stop": ["x"],
        "seed": 7,
        "user": "u",
    },
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": MARK}, _IMAGE]},
            {"role": "assistant", "content": None, "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ],
        "tools": [_TOOL],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
    },
    {
        "messages": [_USER],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": _SCHEMA, "strict": True}},
        "n": 1,
        "logprobs": True,
        "top_logprobs": 2,
        "logit_bias": {"50256": -100},
        "reasoning_effort": "low",
        "extra_body": {"a": {"b": [1, 2.5, None, True, "x"]}},
    },
    {
        "messages": [_USER],
        "metadata": {"a": "b"},
        "labels": {"a": "b"},
        "session_id": SESSION,
        "max_ttft_ms": 5000,
        "store": False,
        "tags": ["c"],
        "drop_params": True,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    },
    {
        "messages": [{**_USER, "metadata": {"a": [1, None, {"b": MARK}]}}],
        "store": True,
        "labels": {"a": "b", "told": MARK},
        "tags": ["c", MARK],
        "session_id": SESSION,
        "user": "u",
        "n": 2,
        "on_disconnect": "drain",
    },
    {
        "messages": [{**_USER, "content": f"{MARK} call:shop__echo+shop__large call:shop__fail+f"}],
        "store": True,
        "ab_campaign": "size",
        "system_prompt_args": {"who": MARK, "times": [1, 2]},
        "use_tools": True,
        "tools": [{"id": "shop__blocks", "enabled": False}, _TOOL, {"id": "shop__hang", "enabled": True}],
        "tool_choice": "auto",
    },
    {
        "messages": [{**_USER, "content": f"{MARK} call:shop__nothing call:shop__hang+shop__blocks call:shop__structured"}],
        "ab_campaign": CAMPAIGN,
        "user": "u",
        "metadata": {"a": "b"},
        "store": True,
        "stream_options": {"include_usage": True},
    },
    {
        "messages": [
            _USER,
            {"role": "assistant", "completion_id": CHOICE_PLACE},
            _USER,
            {"role": "assistant", "id": ANSWER_PLACE, "content": None},
            _USER,
        ],
        "session_id": SESSION,
        "store": True,
        "use_tools": False,
    },
    {"messages": [_USER, _ANSWER, _USER], "store": True, "tags": ["c"], "use_tools": True},
)  # fmt: skip

_CHAT, _SESSIONS, _LISTED = "/parley.v1.ChatService/", "/parley.v1.SessionService/", "/parley.v1.ModelService/"
ANSWERING: Final = (_CHAT + "CreateChatCompletion", _CHAT + "StreamChatCompletion")
"""The methods that take the bodies."""
OTHERS: Final[dict[str, tuple[Message, ...]]] = {
    _LISTED + "GetModel": tuple(GetModelRequest(model=model) for model in MODELS),
    _LISTED + "ListModels": (ListModelsRequest(),),
    _CHAT + "ListChatCompletions": (
        chat_pb.ListChatCompletionsRequest(),
        chat_pb.ListChatCompletionsRequest(limit=3, after=COMPLETION_PLACE, order="desc", model="openai"),
        chat_pb.ListChatCompletionsRequest(metadata={"a": "b"}, labels={"told": MARK}, tags=["c", MARK], user="u"),
        chat_pb.ListChatCompletionsRequest(limit=1, after=CHOICE_PLACE, session_id=SESSION, label_pairs=["a=b"]),
    ),
    _CHAT + "GetChatCompletion": tuple(
        chat_pb.GetChatCompletionRequest(completion_id=place)
        for place in (COMPLETION_PLACE, CHOICE_PLACE, ANSWER_PLACE)
    ),
    _CHAT + "ListChatCompletionMessages": (
        chat_pb.ListChatCompletionMessagesRequest(completion_id=COMPLETION_PLACE),
        chat_pb.ListChatCompletionMessagesRequest(completion_id=CHOICE_PLACE, limit=1, order="desc"),
        chat_pb.ListChatCompletionMessagesRequest(completion_id=COMPLETION_PLACE, after=COMPLETION_PLACE + "-0"),
    ),
    _CHAT + "UpdateChatCompletion": (
        chat_pb.UpdateChatCompletionRequest(completion_id=COMPLETION_PLACE, metadata={"a": "b", "told": MARK}),
        chat_pb.UpdateChatCompletionRequest(completion_id=ANSWER_PLACE, labels={"a": "c"}, metadata={"a": "c"}),
    ),
    _CHAT + "DeleteChatCompletion": (chat_pb.DeleteChatCompletionRequest(completion_id=COMPLETION_PLACE),),
    _SESSIONS + "ListSessions": (
        session_pb.ListSessionsRequest(),
        session_pb.ListSessionsRequest(after=SESSION, limit=2, order="desc", user="u"),
    ),
    _SESSIONS + "GetSession": (session_pb.GetSessionRequest(session_id=SESSION),),
    _SESSIONS + "DeleteSession": (session_pb.DeleteSessionRequest(session_id=SESSION),),
}
"""What the other methods are asked."""

_URL: Final = "/v1/chat/completions"
_ITEM: Final = f"{_URL}/{COMPLETION_PLACE}"
URLS: Final[tuple[tuple[str, str, dict[str, Any] | None], ...]] = (
    ("GET", _URL, None),
    ("GET", f"{_URL}?limit=3&order=desc&model=openai&after={COMPLETION_PLACE}", None),
    ("GET", f"{_URL}?metadata[a]=b&labels%5Ba%5D=b&tags=c&user=u", None),
    ("GET", f"{_URL}?limit=1&session_id={SESSION}&after={CHOICE_PLACE}", None),
    ("GET", _ITEM, None),
    ("GET", f"{_URL}/{CHOICE_PLACE}", None),
    ("GET", f"/api{_URL}/{ANSWER_PLACE}", None),
    ("GET", f"{_ITEM}/messages", None),
    ("GET", f"/api{_ITEM}/messages?limit=1&order=desc&after={COMPLETION_PLACE}-0", None),
    ("POST", _ITEM, {"metadata": {"a": "b", "told": MARK}}),
    ("POST", f"/api{_ITEM}", {"labels": {"a": "c"}, "metadata": {"a": "c"}}),
    ("DELETE", _ITEM, None),
    ("GET", "/v1/sessions?limit=2&order=desc&user=u", None),
    ("GET", f"/api/v1/sessions?after={SESSION}", None),
    ("GET", f"/v1/sessions/{SESSION}", None),
    ("DELETE", f"/api/v1/sessions/{SESSION}", None),
)
"""What REST clients ask about what is stored: methods, URLs and bodies. Errors and logs name paths, so no prompts are
in URLs, which may be made paths of."""
