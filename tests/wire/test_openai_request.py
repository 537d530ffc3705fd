"""What an OpenAI-compatible provider is sent, to the byte."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message as AnyMessage
from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1.chat_service_pb2 import (
    AudioParameters,
    ChatCompletionRequest,
    JsonSchemaFormat,
    Prediction,
    ResponseFormat,
    StreamOptions,
)
from service._gen.parley.v1.json_pb2 import JsonList, JsonObject, JsonValue
from service._gen.parley.v1.message_pb2 import (
    AudioReference,
    ContentPart,
    File,
    ImageUrl,
    InputAudio,
    Message,
    VideoUrl,
)
from service._gen.parley.v1.tool_pb2 import (
    CustomToolCall,
    CustomToolDefinition,
    FunctionCall,
    FunctionDefinition,
    Tool,
    ToolCall,
)
from service.catalogue import Capabilities
from service.errors import Reason, RequestError
from service.json_values import Json, json_object
from service.providers.omissions import Omissions
from service.providers.openai import request_fields, request_messages
from service.providers.openai.dialects import GENERIC
from service.providers.openai.request import encode_request
from service.providers.provider import Identity, ProviderCall


def value(json_value: Any) -> Value:
    return ParseDict(json_value, Value())


HI = Message(role="user", content=value("Hi"))
HEAD = b'{"model":"up-1","messages":[{"role":"user","content":"Hi"}]'
WEATHER = Tool(type="function", function=FunctionDefinition(name="weather"))


def ask(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest(model="public", messages=[HI], **fields)


def encode(request: ChatCompletionRequest, model: str = "up-1", *, stream: bool = False) -> bytes:
    """The body for an API of which nothing is known."""
    identity = Identity("chatcmpl-own", 1_700_000_000, "public")
    call = ProviderCall(request, model, identity, Capabilities(), Omissions("acme", may_drop=False))
    return encode_request(call, GENERIC, stream=stream)


def encoded(request: ChatCompletionRequest, *, stream: bool = False) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encode(request, stream=stream))
    return body


def encoded_message(message: Message) -> dict[str, Any]:
    body = encoded(ChatCompletionRequest(model="public", messages=[message]))
    assert list(body) == ["model", "messages"]
    (only,) = body["messages"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize(
    ("fields", "tail"),
    [
        pytest.param({}, b"}", id="plain"),
        pytest.param({"temperature": 0.7}, b',"temperature":0.7}', id="temperature"),
        pytest.param({"temperature": 1.0}, b',"temperature":1}', id="integral double"),
        pytest.param({"temperature": 0.0}, b',"temperature":0}', id="a zero that is set"),
        pytest.param({"temperature": -0.0}, b',"temperature":0}', id="negative zero"),
        pytest.param({"top_p": 0.1}, b',"top_p":0.1}', id="top_p"),
        pytest.param({"max_tokens": 64}, b',"max_tokens":64}', id="max_tokens"),
        pytest.param({"max_tokens": 0}, b"}", id="max_tokens 0"),
        pytest.param({"max_completion_tokens": 64}, b',"max_completion_tokens":64}', id="max_completion_tokens"),
        pytest.param({"max_completion_tokens": 0}, b"}", id="max_completion_tokens 0"),
        pytest.param({"n": 2}, b',"n":2}', id="n"),
        pytest.param({"n": 0}, b"}", id="n 0"),
        pytest.param({"stop": ["a"]}, b',"stop":["a"]}', id="one stop"),
        pytest.param({"stop": ["\n\n", '"', "é", "data: [DONE]"]}, b',"stop":["\\n\\n","\\"","\xc3\xa9","data: [DONE]"]}', id="four stops"),
        pytest.param({"presence_penalty": -2.0}, b',"presence_penalty":-2}', id="presence_penalty"),
        pytest.param({"frequency_penalty": 1.5}, b',"frequency_penalty":1.5}', id="frequency_penalty"),
        pytest.param({"logit_bias": {"50256": -100.0}}, b',"logit_bias":{"50256":-100}}', id="logit_bias, integral"),
        pytest.param({"logit_bias": {"7": 0.5}}, b',"logit_bias":{"7":0.5}}', id="logit_bias, fractional"),
        pytest.param({"logprobs": True, "top_logprobs": 3}, b',"logprobs":true,"top_logprobs":3}', id="logprobs"),
        pytest.param({"logprobs": False, "top_logprobs": 0}, b',"logprobs":false,"top_logprobs":0}', id="logprobs off"),
        pytest.param({"seed": -1}, b',"seed":-1}', id="negative seed"),
        pytest.param({"seed": 2**63 - 1}, b',"seed":9223372036854775807}', id="largest seed"),
        pytest.param({"parallel_tool_calls": False}, b',"parallel_tool_calls":false}', id="parallel_tool_calls"),
        pytest.param({"reasoning_effort": "xhigh"}, b',"reasoning_effort":"xhigh"}', id="reasoning_effort"),
        pytest.param({"verbosity": "low"}, b',"verbosity":"low"}', id="verbosity"),
        pytest.param({"modalities": ["text", "audio"]}, b',"modalities":["text","audio"]}', id="modalities"),
        pytest.param(
            {"audio": AudioParameters(format="mp3", voice=value("alloy"))},
            b',"audio":{"format":"mp3","voice":"alloy"}}',
            id="audio",
        ),
        pytest.param(
            {"audio": AudioParameters(format="wav", voice=value({"id": "v-1"}))},
            b',"audio":{"format":"wav","voice":{"id":"v-1"}}}',
            id="audio with a voice of the caller's",
        ),
        pytest.param(
            {"prediction": Prediction(type="content", content=value("def f():\n"))},
            b',"prediction":{"type":"content","content":"def f():\\n"}}',
            id="prediction",
        ),
        pytest.param(
            {"web_search_options": json_object({"search_context_size": "low"})},
            b',"web_search_options":{"search_context_size":"low"}}',
            id="web_search_options",
        ),
        pytest.param({"web_search_options": JsonObject()}, b',"web_search_options":{}}', id="an empty object"),
        pytest.param({"service_tier": "flex"}, b',"service_tier":"flex"}', id="service_tier"),
        pytest.param({"user": "u", "safety_identifier": "s"}, b',"user":"u","safety_identifier":"s"}', id="who asks"),
        pytest.param(
            {
                "prompt_cache_key": "k",
                "prompt_cache_retention": "24h",
                "prompt_cache_options": json_object({"mode": "explicit"}),
            },
            b',"prompt_cache_key":"k","prompt_cache_retention":"24h","prompt_cache_options":{"mode":"explicit"}}',
            id="prompt cache",
        ),
        pytest.param(
            {"moderation": json_object({"model": "omni", "policy": {"input": True}})},
            b',"moderation":{"model":"omni","policy":{"input":true}}}',
            id="moderation",
        ),
        pytest.param(
            {"top_k": 0, "min_p": 0.25, "top_a": 1.0, "typical_p": 0.5, "repetition_penalty": 1.0, "min_tokens": 0},
            b',"top_k":0,"min_p":0.25,"top_a":1,"typical_p":0.5,"repetition_penalty":1,"min_tokens":0}',
            id="samplers of the dialects",
        ),
        pytest.param(
            {
                "thinking": json_object({"type": "enabled", "budget_tokens": 1024}),
                "reasoning": json_object({"effort": "high", "exclude": False}),
                "include_reasoning": False,
                "reasoning_format": "parsed",
                "enable_thinking": True,
                "thinking_budget": 1024,
            },
            b',"thinking":{"type":"enabled","budget_tokens":1024},"reasoning":{"effort":"high","exclude":false}'
            b',"include_reasoning":false,"reasoning_format":"parsed","enable_thinking":true,"thinking_budget":1024}',
            id="reasoning of the dialects",
        ),
        pytest.param(
            {
                "chat_template_kwargs": json_object({"enable_thinking": False}),
                "safe_prompt": True,
                "prompt_mode": "reasoning",
                "random_seed": 5,
                "cache_control": json_object({"type": "ephemeral"}),
                "safety_settings": [json_object({"category": "C", "threshold": "T"}), JsonObject()],
                "search_parameters": json_object({"mode": "auto"}),
            },
            b',"chat_template_kwargs":{"enable_thinking":false},"safe_prompt":true,"prompt_mode":"reasoning"'
            b',"random_seed":5,"cache_control":{"type":"ephemeral"},"safety_settings":[{"category":"C","threshold":"T"},{}]'
            b',"search_parameters":{"mode":"auto"}}',
            id="other fields of the dialects",
        ),
        pytest.param({"tool_choice": value("required")}, b',"tool_choice":"required"}', id="tool_choice by name"),
        pytest.param({"tool_choice": value(None)}, b"}", id="tool_choice null"),
        pytest.param({"function_call": value("none")}, b',"function_call":"none"}', id="function_call by name"),
        pytest.param({"function_call": value({"name": "f"})}, b',"function_call":{"name":"f"}}', id="function_call"),
        pytest.param(
            {"functions": [FunctionDefinition(name="f", description="d", parameters=JsonObject())]},
            b',"functions":[{"name":"f","description":"d","parameters":{}}]}',
            id="functions",
        ),
        pytest.param({"response_format": ResponseFormat(type="json_object")}, b',"response_format":{"type":"json_object"}}', id="JSON mode"),
        pytest.param(
            {"response_format": ResponseFormat(type="json_schema", json_schema=JsonSchemaFormat(name="s"))},
            b',"response_format":{"type":"json_schema","json_schema":{"name":"s"}}}',
            id="response_format without a schema",
        ),
        pytest.param(
            {
                "response_format": ResponseFormat(
                    type="json_schema",
                    json_schema=JsonSchemaFormat(
                        name="s", description="d", schema=json_object({"type": "object"}), strict=False
                    ),
                )
            },
            b',"response_format":{"type":"json_schema","json_schema":'
            b'{"name":"s","description":"d","schema":{"type":"object"},"strict":false}}}',
            id="response_format",
        ),
        pytest.param(
            {
                "tools": [
                    Tool(
                        function=FunctionDefinition(
                            name="weather",
                            description="Looks outside.",
                            parameters=json_object({"type": "object", "properties": {}}),
                            strict=True,
                        ),
                        cache_control=json_object({"type": "ephemeral", "ttl": "5m"}),
                    ),
                    WEATHER,
                    Tool(custom=CustomToolDefinition(name="sql")),
                    Tool(
                        type="custom",
                        custom=CustomToolDefinition(
                            name="py", description="Runs it.", format=json_object({"type": "text"})
                        ),
                    ),
                ]
            },
            b',"tools":[{"type":"function","function":{"name":"weather","description":"Looks outside.",'
            b'"parameters":{"type":"object","properties":{}},"strict":true},"cache_control":{"type":"ephemeral","ttl":"5m"}},'
            b'{"type":"function","function":{"name":"weather"}},'
            b'{"type":"custom","custom":{"name":"sql"}},'
            b'{"type":"custom","custom":{"name":"py","description":"Runs it.","format":{"type":"text"}}}]}',
            id="tools",
        ),
        pytest.param({"stream_options": StreamOptions(include_usage=True, include_obfuscation=True)}, b"}", id="stream options of no stream"),
    ],
)  # fmt: skip
def test_a_request_is_encoded_to_the_byte(fields: dict[str, Any], tail: bytes) -> None:
    assert encode(ask(**fields)) == HEAD + tail


@pytest.mark.parametrize(
    "choice",
    [
        "none",
        "auto",
        {"type": "function", "function": {"name": "weather"}},
        {"type": "custom", "custom": {"name": "sql"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]},
        },
    ],
    ids=str,
)
def test_every_form_of_tool_choice_is_handed_on(choice: Json) -> None:
    assert encoded(ask(tools=[WEATHER], tool_choice=value(choice)))["tool_choice"] == choice


@pytest.mark.parametrize(
    ("options", "middle"),
    [
        (None, b',"stream":true,"stream_options":{"include_usage":true}}'),
        (StreamOptions(), b',"stream":true,"stream_options":{"include_usage":true}}'),
        (StreamOptions(include_usage=False), b',"stream":true,"stream_options":{"include_usage":true}}'),
        (
            StreamOptions(include_usage=True, include_obfuscation=False),
            b',"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}',
        ),
        (
            StreamOptions(include_obfuscation=True),
            b',"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":true}}',
        ),
    ],
    ids=["none", "empty", "usage declined", "obfuscation declined", "obfuscation wanted"],
)
def test_a_stream_always_asks_for_usage_and_keeps_the_wish_about_obfuscation(
    options: StreamOptions | None, middle: bytes
) -> None:
    assert encode(ask(stream_options=options), stream=True) == HEAD + middle


@pytest.mark.parametrize("stream", [True, False])
def test_the_rpc_and_not_the_field_says_whether_to_stream(stream: bool) -> None:  # noqa: FBT001
    body = encoded(ask(stream=not stream), stream=stream)

    assert body.get("stream", False) is stream


def test_the_model_is_the_targets_and_not_the_callers() -> None:
    body = encode(ask(), "org/модель:free")

    assert body == '{"model":"org/модель:free","messages":[{"role":"user","content":"Hi"}]}'.encode()


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (1.0, b"1"),
        (-0.0, b"0"),
        (0.1, b"0.1"),
        (1e-7, b"1e-7"),
        (-3.0, b"-3"),
        (2.0**53 - 1, b"9007199254740991"),
        (2.0**53, b"9007199254740992"),
        (2.0**53 + 2, b"9007199254740994"),
        (-(2.0**53), b"-9007199254740992"),
        (2.0**63, b"9223372036854775808"),
        (2.0**64, b"18446744073709551616"),
        (1e21, b"1000000000000000000000"),
        (1e308, str(int(1e308)).encode()),
    ],
)
def test_integral_doubles_are_sent_as_integers(given: float, sent: bytes) -> None:
    body = encode(ask(thinking=JsonObject(fields=[entry("v", number_value=given)])))

    assert body == HEAD + b',"thinking":{"v":' + sent + b"}}"


def entry(key: str, **kind: Any) -> JsonObject.Entry:
    return JsonObject.Entry(key=key, value=JsonValue(**kind))


SHUFFLED: dict[str, Json] = {
    "type": "object",
    "required": ["zeta", "alpha"],
    "properties": {
        "zeta": {"type": "string", "enum": ["b", "a"], "description": "d"},
        "mid": {"minimum": 1, "type": "integer", "default": None},
        "alpha": {"items": {"properties": {"y": {}, "x": {"const": 1.5}}, "type": "object"}, "type": "array"},
        "0": {"type": "boolean", "default": False},
    },
    "additionalProperties": False,
    "$defs": {"b": {}, "a": {}},
}
SHUFFLED_JSON = (
    b'{"type":"object","required":["zeta","alpha"],"properties":{"zeta":{"type":"string","enum":["b","a"],'
    b'"description":"d"},"mid":{"minimum":1,"type":"integer","default":null},"alpha":{"items":{"properties":'
    b'{"y":{},"x":{"const":1.5}},"type":"object"},"type":"array"},"0":{"type":"boolean","default":false}},'
    b'"additionalProperties":false,"$defs":{"b":{},"a":{}}}'
)


def test_the_key_order_of_a_tools_schema_is_kept_at_every_depth() -> None:
    tool = Tool(type="function", function=FunctionDefinition(name="f", parameters=json_object(SHUFFLED)))

    body = encode(ask(tools=[tool]))

    expected = b',"tools":[{"type":"function","function":{"name":"f","parameters":' + SHUFFLED_JSON + b"}}]}"
    assert body == HEAD + expected


def test_the_key_order_of_a_response_schema_survives_the_wire() -> None:
    schema = JsonSchemaFormat(name="s", schema=json_object(SHUFFLED))
    request = ask(response_format=ResponseFormat(type="json_schema", json_schema=schema))
    arrived = ChatCompletionRequest.FromString(request.SerializeToString())

    body = encode(arrived)

    expected = b',"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":' + SHUFFLED_JSON + b"}}}"
    assert body == HEAD + expected


def test_extra_body_comes_last_and_keeps_its_order() -> None:
    extra = json_object({"zz": 1, "provider": {"order": ["b", "a"], "allow_fallbacks": False}, "aa": None})

    body = encode(ask(extra_body=extra, temperature=1, tool_choice=value("auto")), stream=True)

    assert body == HEAD + (
        b',"temperature":1,"tool_choice":"auto","stream":true,"stream_options":{"include_usage":true},'
        b'"zz":1,"provider":{"order":["b","a"],"allow_fallbacks":false},"aa":null}'
    )


def test_an_empty_extra_body_adds_nothing() -> None:
    assert encode(ask(extra_body=JsonObject())) == HEAD + b"}"


IMAGE_PARTS: list[Json] = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
    {"type": "file", "file": {"file_id": "file-1"}},
    {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
    {"type": "document_url", "document_url": "https://example.org/a.pdf"},
    {"type": "refusal", "refusal": "No."},
    {
        "type": "text",
        "text": "",
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "prompt_cache_breakpoint": {"mode": "explicit"},
    },
]
TYPED_PARTS = [
    ContentPart(type="text", text="What is this?"),
    ContentPart(type="image_url", image_url=ImageUrl(url="https://example.org/a.png", detail="low")),
    ContentPart(type="image_url", image_url=ImageUrl(url="data:image/png;base64,iVBORw0KGgo=")),
    ContentPart(type="input_audio", input_audio=InputAudio(data="UklGRg==", format="wav")),
    ContentPart(type="file", file=File(file_data="data:application/pdf;base64,JVBERi0=", filename="a.pdf")),
    ContentPart(type="file", file=File(file_id="file-1")),
    ContentPart(type="video_url", video_url=VideoUrl(url="https://example.org/a.mp4")),
    ContentPart(type="document_url", document_url="https://example.org/a.pdf"),
    ContentPart(type="refusal", refusal="No."),
    ContentPart(
        type="text",
        text="",
        cache_control=json_object({"type": "ephemeral", "ttl": "1h"}),
        prompt_cache_breakpoint=json_object({"mode": "explicit"}),
    ),
]


def test_parts_given_as_json_and_typed_parts_are_sent_the_same() -> None:
    expected = {"role": "user", "content": IMAGE_PARTS}

    assert encoded_message(Message(role="user", content=value(IMAGE_PARTS))) == expected
    assert encoded_message(Message(role="user", parts=TYPED_PARTS)) == expected
    assert encoded_message(Message(role="user", content=value(None), parts=TYPED_PARTS)) == expected


def test_typed_parts_cover_every_field_of_a_part() -> None:
    used = {field.name for part in TYPED_PARTS for field, _ in part.ListFields()}

    assert used == {field.name for field in ContentPart.DESCRIPTOR.fields}


def test_an_answer_with_tool_calls_is_sent_back_as_it_came() -> None:
    message = Message(
        role="assistant",
        content=Value(null_value=NULL_VALUE),
        tool_calls=[
            ToolCall(
                id="call_1",
                type="function",
                function=FunctionCall(name="weather", arguments='{"city": "Oslo"'),
                extra_content=json_object({"google": {"thought_signature": "c2ln"}}),
            ),
            ToolCall(id="call_2", function=FunctionCall(name="now")),
            ToolCall(id="call_3", type="custom", custom=CustomToolCall(name="sql", input="select 1")),
            ToolCall(id="call_4", custom=CustomToolCall(name="sql")),
        ],
        refusal="No.",
        audio=AudioReference(id="audio_1", data="UklGRg==", expires_at=5, transcript="Hello"),
        reasoning_content="first",
        reasoning="second",
        reasoning_details=[json_object({"type": "reasoning.encrypted", "data": "x"})],
        annotations=[json_object({"type": "url_citation"})],
        cache_control=json_object({"type": "ephemeral"}),
        prefix=True,
        id="msg_1",
    )

    assert encoded_message(message) == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Oslo"'},
                "extra_content": {"google": {"thought_signature": "c2ln"}},
            },
            {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": ""}},
            {"id": "call_3", "type": "custom", "custom": {"name": "sql", "input": "select 1"}},
            {"id": "call_4", "type": "custom", "custom": {"name": "sql", "input": ""}},
        ],
        "refusal": "No.",
        "audio": {"id": "audio_1"},
        "reasoning_content": "first",
        "reasoning": "second",
        "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}],
        "cache_control": {"type": "ephemeral"},
        "prefix": True,
    }


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (Message(role="assistant", content=Value(null_value=NULL_VALUE)), {"role": "assistant", "content": ""}),
        (Message(role="assistant", refusal="No."), {"role": "assistant", "refusal": "No."}),
        (Message(role="system", content=value("")), {"role": "system", "content": ""}),
        (
            Message(role="tool", content=value("72 F"), tool_call_id="call_1"),
            {"role": "tool", "content": "72 F", "tool_call_id": "call_1"},
        ),
        (
            Message(role="function", content=value("72 F"), name="weather"),
            {"role": "function", "content": "72 F", "name": "weather"},
        ),
        (
            Message(role="assistant", function_call=FunctionCall(name="weather")),
            {"role": "assistant", "function_call": {"name": "weather", "arguments": ""}},
        ),
    ],
    ids=["content null", "only a refusal", "empty text", "tool result", "function result", "function call"],
)
def test_a_message_is_sent_with_what_it_has(message: Message, sent: dict[str, Any]) -> None:
    assert encoded_message(message) == sent


@pytest.mark.parametrize(
    "text",
    [
        "data: [DONE]",
        "data: {}\n\n",
        '{"stream": true}',
        '{"error":{"message":"x"}}',
        'quotes " and \\ and / and \u2028\u2029',
        "\x00\x01\x1f\x7f",
        "emoji 👩‍👩‍👧 🇫🇷, Ω, العربية",
        "\r\n\t",
        "x" * 100_000,
    ],
    ids=["done", "empty event", "stream", "error", "quotes", "control", "emoji", "line ends", "long"],
)
def test_text_is_sent_unchanged_whatever_it_looks_like(text: str) -> None:
    assert encoded_message(Message(role="user", content=value(text))) == {"role": "user", "content": text}


def test_non_ascii_text_is_sent_as_utf_8() -> None:
    request = ChatCompletionRequest(messages=[Message(role="user", content=value("🇫🇷"))])

    assert encode(request, "m") == (
        b'{"model":"m","messages":[{"role":"user","content":"\xf0\x9f\x87\xab\xf0\x9f\x87\xb7"}]}'
    )


def with_schema(schema: JsonObject) -> ChatCompletionRequest:
    return ask(tools=[Tool(function=FunctionDefinition(name="f", parameters=schema))])


def with_format(schema: JsonObject) -> ChatCompletionRequest:
    return ask(
        response_format=ResponseFormat(type="json_schema", json_schema=JsonSchemaFormat(name="s", schema=schema))
    )


def with_message(details: JsonObject) -> ChatCompletionRequest:
    return ChatCompletionRequest(messages=[HI, Message(role="assistant", reasoning_details=[details])])


def with_part(cache_control: JsonObject) -> ChatCompletionRequest:
    return ChatCompletionRequest(messages=[Message(role="user", parts=[ContentPart(cache_control=cache_control)])])


def with_extra(extra: JsonObject) -> ChatCompletionRequest:
    return ask(extra_body=extra)


def nested(inner: JsonObject.Entry) -> JsonObject:
    return JsonObject(
        fields=[entry("a", list_value=JsonList(values=[JsonValue(struct_value=JsonObject(fields=[inner]))]))]
    )


INVALID_OBJECTS = {
    "NaN": (nested(entry("x", number_value=math.nan)), "has a number that is not finite"),
    "inf": (nested(entry("x", number_value=math.inf)), "has a number that is not finite"),
    "-inf": (JsonObject(fields=[entry("x", number_value=-math.inf)]), "has a number that is not finite"),
    "a key twice": (
        JsonObject(fields=[entry("x", bool_value=True), entry("x", bool_value=True)]),
        "has a key that occurs twice in one object",
    ),
    "a key twice within": (
        JsonObject(fields=[entry("a", struct_value=JsonObject(fields=[entry("x", bool_value=True)] * 2))]),
        "has a key that occurs twice in one object",
    ),
    "no kind": (nested(JsonObject.Entry(key="x")), "has a value without a kind"),
}


@pytest.mark.parametrize(("schema", "problem"), INVALID_OBJECTS.values(), ids=INVALID_OBJECTS)
@pytest.mark.parametrize(
    ("make", "param"),
    [
        (with_schema, "tools"),
        (with_format, "response_format"),
        (with_message, "messages[1]"),
        (with_part, "messages[0]"),
        (with_extra, "extra_body"),
    ],
)
def test_what_json_cant_say_is_refused_by_its_parameter(
    make: Callable[[JsonObject], ChatCompletionRequest], param: str, schema: JsonObject, problem: str
) -> None:
    with pytest.raises(RequestError) as raised:
        encode(make(schema))

    assert raised.value.reason is Reason.PARAMETER_INVALID
    assert raised.value.param == param
    assert raised.value.message == f"`{param}` {problem}."


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": Value(number_value=math.nan)}, "tool_choice"),
        ({"tool_choice": Value()}, "tool_choice"),
        ({"prediction": Prediction(type="content", content=Value())}, "prediction"),
        ({"audio": AudioParameters(format="wav", voice=Value(number_value=math.inf))}, "audio"),
        ({"messages": [Message(role="user", content=Value(number_value=math.inf))]}, "messages[1]"),
    ],
)
def test_a_value_that_json_cant_say_is_refused_by_its_parameter(fields: dict[str, Any], param: str) -> None:
    request = ask()
    request.MergeFrom(ChatCompletionRequest(**fields))

    with pytest.raises(RequestError) as raised:
        encode(request)

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, param)


@pytest.mark.parametrize(
    ("descriptor", "table"),
    [
        (ChatCompletionRequest.DESCRIPTOR, request_fields.FIELDS),
        (Message.DESCRIPTOR, request_messages._MESSAGE_FIELDS),
        (ContentPart.DESCRIPTOR, request_messages._PART_FIELDS),
    ],
    ids=lambda item: item.name if isinstance(item, Descriptor) else "",
)
def test_every_field_of_the_contract_stands_in_its_table(descriptor: Descriptor, table: dict[str, Any]) -> None:
    assert set(table) == {field.name for field in descriptor.fields}


NOT_SENT = {  # Parley's own.
    "stream", "stream_options", "extra_body", "drop_params", "store", "metadata", "labels", "tags",
    "max_ttft_ms", "on_disconnect",
    "session_id", "ab_campaign", "system_prompt_args", "use_tools",
}  # fmt: skip


def test_the_fields_that_are_not_sent_are_these_and_no_others() -> None:
    sent = {
        field.name for field in ChatCompletionRequest.DESCRIPTOR.fields if field.name in encoded(filled(field.name))
    }

    assert {field.name for field in ChatCompletionRequest.DESCRIPTOR.fields} - sent == NOT_SENT


def filled(name: str) -> ChatCompletionRequest:
    """A request with one field set, to something that is neither empty nor zero."""
    request = ChatCompletionRequest()
    fill(request, ChatCompletionRequest.DESCRIPTOR.fields_by_name[name])
    assert len(request.ListFields()) == 1
    return request


def fill(message: AnyMessage, field: FieldDescriptor) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        is_text = field.message_type.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING
        getattr(message, field.name)["1"] = "v" if is_text else 1
    elif field.message_type is not None:
        inner = getattr(message, field.name)
        inner = inner.add() if field.is_repeated else inner
        inner.SetInParent()
        if isinstance(inner, Value):
            inner.string_value = "v"
        elif isinstance(inner, JsonObject):
            inner.CopyFrom(json_object({"k": 1}))
        elif isinstance(inner, AudioParameters):
            inner.voice.string_value = "v"
        elif isinstance(inner, Prediction):
            inner.content.string_value = "v"
    else:
        sample: Any = {
            FieldDescriptor.TYPE_STRING: "v",
            FieldDescriptor.TYPE_BOOL: True,
            FieldDescriptor.TYPE_DOUBLE: 0.5,
        }.get(field.type, 1)
        if field.is_repeated:
            getattr(message, field.name).append(sample)
        else:
            setattr(message, field.name, sample)
