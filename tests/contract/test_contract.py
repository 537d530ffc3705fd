"""The contract itself: complete against OpenAI's SDK and the seeds, and one with what is made of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict, MessageToJson, Parse, ParseDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import NULL_VALUE, Struct
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from openai.types import CompletionUsage, Model
from openai.types import completion_usage as sdk_usage
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionAssistantMessageParam,
    ChatCompletionAudio,
    ChatCompletionAudioParam,
    ChatCompletionChunk,
    ChatCompletionContentPartImageParam,
    ChatCompletionContentPartInputAudioParam,
    ChatCompletionContentPartRefusalParam,
    ChatCompletionContentPartTextParam,
    ChatCompletionCustomToolParam,
    ChatCompletionDeveloperMessageParam,
    ChatCompletionFunctionMessageParam,
    ChatCompletionFunctionToolParam,
    ChatCompletionMessage,
    ChatCompletionMessageCustomToolCall,
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionPredictionContentParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionTokenLogprob,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
    chat_completion,
    chat_completion_assistant_message_param,
    chat_completion_chunk,
    chat_completion_content_part_image_param,
    chat_completion_content_part_input_audio_param,
    chat_completion_content_part_param,
    chat_completion_custom_tool_param,
    chat_completion_message,
    chat_completion_message_custom_tool_call,
    chat_completion_message_function_tool_call,
    chat_completion_token_logprob,
    completion_create_params,
)
from openai.types.shared_params import FunctionDefinition, response_format_json_schema
from pydantic import BaseModel

from service._gen.parley.v1 import (
    chat_completion_pb2,
    chat_service_pb2,
    error_reason_pb2,
    json_pb2,
    message_pb2,
    model_service_pb2,
    session_service_pb2,
    tool_pb2,
)
from service.errors import ParleyError, RateLimited, Reason, RequestError, Unavailable
from service.rpc.status import ENVOY_HTTP_STATUS, TABLE, error_chunk, trailing_metadata

ROOT = Path(__file__).resolve().parents[2]
BUF = Path(sys.executable).with_name("buf")
ENVOY_DESCRIPTORS = ROOT / "gateway/_gen/parley.binpb"


def names(descriptor: Descriptor) -> set[str]:
    return {field.name for field in descriptor.fields}


# --- (a) complete ---------------------------------------------------------------------------------


def test_every_parameter_of_openais_chat_api_is_in_the_request() -> None:
    parameters = set(typing.get_type_hints(completion_create_params.CompletionCreateParamsBase)) | {"stream"}

    assert {"model", "messages", "tools", "stream_options"} <= parameters
    assert parameters - names(chat_service_pb2.ChatCompletionRequest.DESCRIPTOR) == set()


SEED_000 = {"model", "messages", "temperature", "max_tokens", "top_p", "stream", "stop"}
SEED_001 = {
    "messages", "model", "stop", "max_tokens", "temperature", "top_p", "max_ttft_ms", "stream", "stream_options",
    "session_id", "user", "ab_campaign", "n", "labels", "metadata", "system_prompt_args", "tags", "use_tools", "tools",
    "store",
}  # fmt: skip
DIALECTS = {
    "top_k", "min_p", "repetition_penalty", "thinking", "reasoning", "cache_control", "extra_body", "drop_params",
}  # fmt: skip


@pytest.mark.parametrize("fields", [SEED_000, SEED_001, DIALECTS], ids=["seed 000", "seed 001", "dialects"])
def test_every_parameter_of_the_seeds_and_dialects_is_in_the_request(fields: set[str]) -> None:
    assert fields - names(chat_service_pb2.ChatCompletionRequest.DESCRIPTOR) == set()


@pytest.mark.parametrize(
    ("fields", "descriptor"),
    [
        ({"content", "role", "name", "completion_id", "metadata"}, message_pb2.Message.DESCRIPTOR),
        ({"id", "enabled"}, tool_pb2.Tool.DESCRIPTOR),
        ({"include_usage"}, chat_service_pb2.StreamOptions.DESCRIPTOR),
        ({"id", "created", "choices", "session_id", "usage"}, chat_completion_pb2.ChatCompletion.DESCRIPTOR),
        ({"index", "message", "completion_id", "model", "finish_reason"}, chat_completion_pb2.Choice.DESCRIPTOR),
        ({"index", "delta", "completion_id", "model", "finish_reason"}, chat_completion_pb2.ChunkChoice.DESCRIPTOR),
        ({"id", "role", "content"}, chat_completion_pb2.AssistantMessage.DESCRIPTOR),
        ({"completion_tokens", "prompt_tokens", "total_tokens"}, chat_completion_pb2.Usage.DESCRIPTOR),
    ],
    ids=lambda item: item.name if isinstance(item, Descriptor) else "",
)
def test_every_field_of_seed_001_has_its_place(fields: set[str], descriptor: Descriptor) -> None:
    assert fields - names(descriptor) == set()


@pytest.mark.parametrize(
    ("params", "descriptor"),
    [
        (ChatCompletionSystemMessageParam, message_pb2.Message.DESCRIPTOR),
        (ChatCompletionDeveloperMessageParam, message_pb2.Message.DESCRIPTOR),
        (ChatCompletionUserMessageParam, message_pb2.Message.DESCRIPTOR),
        (ChatCompletionAssistantMessageParam, message_pb2.Message.DESCRIPTOR),
        (ChatCompletionToolMessageParam, message_pb2.Message.DESCRIPTOR),
        (ChatCompletionFunctionMessageParam, message_pb2.Message.DESCRIPTOR),
        (chat_completion_assistant_message_param.Audio, message_pb2.AudioReference.DESCRIPTOR),
        (chat_completion_assistant_message_param.FunctionCall, tool_pb2.FunctionCall.DESCRIPTOR),
        (ChatCompletionContentPartTextParam, message_pb2.ContentPart.DESCRIPTOR),
        (ChatCompletionContentPartImageParam, message_pb2.ContentPart.DESCRIPTOR),
        (ChatCompletionContentPartInputAudioParam, message_pb2.ContentPart.DESCRIPTOR),
        (ChatCompletionContentPartRefusalParam, message_pb2.ContentPart.DESCRIPTOR),
        (chat_completion_content_part_param.File, message_pb2.ContentPart.DESCRIPTOR),
        (chat_completion_content_part_param.FileFile, message_pb2.File.DESCRIPTOR),
        (chat_completion_content_part_image_param.ImageURL, message_pb2.ImageUrl.DESCRIPTOR),
        (chat_completion_content_part_input_audio_param.InputAudio, message_pb2.InputAudio.DESCRIPTOR),
        (ChatCompletionFunctionToolParam, tool_pb2.Tool.DESCRIPTOR),
        (ChatCompletionCustomToolParam, tool_pb2.Tool.DESCRIPTOR),
        (chat_completion_custom_tool_param.Custom, tool_pb2.CustomToolDefinition.DESCRIPTOR),
        (FunctionDefinition, tool_pb2.FunctionDefinition.DESCRIPTOR),
        (completion_create_params.Function, tool_pb2.FunctionDefinition.DESCRIPTOR),
        (ChatCompletionStreamOptionsParam, chat_service_pb2.StreamOptions.DESCRIPTOR),
        (ChatCompletionAudioParam, chat_service_pb2.AudioParameters.DESCRIPTOR),
        (ChatCompletionPredictionContentParam, chat_service_pb2.Prediction.DESCRIPTOR),
        (response_format_json_schema.ResponseFormatJSONSchema, chat_service_pb2.ResponseFormat.DESCRIPTOR),
        (response_format_json_schema.JSONSchema, chat_service_pb2.JsonSchemaFormat.DESCRIPTOR),
    ],
    ids=lambda item: item.__name__ if isinstance(item, type) else "",
)
def test_every_parameter_within_the_request_is_in_the_contract(params: type, descriptor: Descriptor) -> None:
    parameters = set(typing.get_type_hints(params))

    assert parameters != set()
    assert parameters - names(descriptor) == set()


NOT_OURS: dict[str, set[str]] = {
    # Padding against eavesdroppers; it ends at the service (StreamOptions.include_obfuscation).
    "ChatCompletionChunk": {"obfuscation"},
    # Of stored completions, which OpenAI returns only from its own store.
    "ChatCompletion": {"metadata"},
    # OpenAI's own plans for its models.
    "Model": {"shutdown_date"},
}


@pytest.mark.parametrize(
    ("model", "descriptor"),
    [
        (ChatCompletion, chat_completion_pb2.ChatCompletion.DESCRIPTOR),
        (chat_completion.Choice, chat_completion_pb2.Choice.DESCRIPTOR),
        (chat_completion.ChoiceLogprobs, chat_completion_pb2.Logprobs.DESCRIPTOR),
        (ChatCompletionTokenLogprob, chat_completion_pb2.TokenLogprob.DESCRIPTOR),
        (chat_completion_token_logprob.TopLogprob, chat_completion_pb2.TopLogprob.DESCRIPTOR),
        (ChatCompletionMessage, chat_completion_pb2.AssistantMessage.DESCRIPTOR),
        (ChatCompletionAudio, chat_completion_pb2.AudioOutput.DESCRIPTOR),
        (chat_completion_message.FunctionCall, tool_pb2.FunctionCall.DESCRIPTOR),
        (ChatCompletionMessageFunctionToolCall, tool_pb2.ToolCall.DESCRIPTOR),
        (chat_completion_message_function_tool_call.Function, tool_pb2.FunctionCall.DESCRIPTOR),
        (ChatCompletionMessageCustomToolCall, tool_pb2.ToolCall.DESCRIPTOR),
        (chat_completion_message_custom_tool_call.Custom, tool_pb2.CustomToolCall.DESCRIPTOR),
        (ChatCompletionChunk, chat_completion_pb2.ChatCompletionChunk.DESCRIPTOR),
        (chat_completion_chunk.Choice, chat_completion_pb2.ChunkChoice.DESCRIPTOR),
        (chat_completion_chunk.ChoiceLogprobs, chat_completion_pb2.Logprobs.DESCRIPTOR),
        (chat_completion_chunk.ChoiceDelta, chat_completion_pb2.Delta.DESCRIPTOR),
        (chat_completion_chunk.ChoiceDeltaAudio, chat_completion_pb2.AudioOutput.DESCRIPTOR),
        (chat_completion_chunk.ChoiceDeltaFunctionCall, tool_pb2.FunctionCall.DESCRIPTOR),
        (chat_completion_chunk.ChoiceDeltaToolCall, tool_pb2.ToolCallDelta.DESCRIPTOR),
        (chat_completion_chunk.ChoiceDeltaToolCallFunction, tool_pb2.FunctionCall.DESCRIPTOR),
        (CompletionUsage, chat_completion_pb2.Usage.DESCRIPTOR),
        (sdk_usage.PromptTokensDetails, chat_completion_pb2.PromptTokensDetails.DESCRIPTOR),
        (sdk_usage.CompletionTokensDetails, chat_completion_pb2.CompletionTokensDetails.DESCRIPTOR),
        (Model, model_service_pb2.Model.DESCRIPTOR),
    ],
    ids=lambda item: item.__name__ if isinstance(item, type) else "",
)
def test_every_field_of_openais_answers_is_in_ours(model: type[BaseModel], descriptor: Descriptor) -> None:
    assert set(model.model_fields) - names(descriptor) == NOT_OURS.get(model.__name__, set())


def test_every_field_of_an_answers_message_can_be_sent_back() -> None:
    assert names(chat_completion_pb2.AssistantMessage.DESCRIPTOR) - names(message_pb2.Message.DESCRIPTOR) == set()
    assert names(chat_completion_pb2.AudioOutput.DESCRIPTOR) == names(message_pb2.AudioReference.DESCRIPTOR)


# --- (b) printable as OpenAI's JSON ---------------------------------------------------------------


def reachable(descriptor: Descriptor, seen: set[str] | None = None) -> Iterator[FieldDescriptor]:
    """All fields of a message and of the messages within it."""
    seen = set() if seen is None else seen
    if descriptor.full_name in seen:
        return
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        yield field
        if field.message_type is not None:
            yield from reachable(field.message_type, seen)


ANSWERS = (
    chat_completion_pb2.ChatCompletion.DESCRIPTOR,
    chat_completion_pb2.ChatCompletionChunk.DESCRIPTOR,
    model_service_pb2.Model.DESCRIPTOR,
    model_service_pb2.ListModelsResponse.DESCRIPTOR,
)
PRINTED_AS_STRINGS = {
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_SINT64,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_SFIXED64,
    FieldDescriptor.TYPE_BYTES,
}


@pytest.mark.parametrize("descriptor", ANSWERS, ids=lambda item: str(item.name))
def test_no_field_of_an_answer_prints_otherwise_than_openai_prints_it(descriptor: Descriptor) -> None:
    """ProtoJSON prints 64-bit integers as strings, enums by their names, and bytes in base64."""
    fields = list(reachable(descriptor))

    assert fields
    assert [field.full_name for field in fields if field.type in PRINTED_AS_STRINGS] == []
    assert {field.enum_type.full_name for field in fields if field.enum_type} <= {"google.protobuf.NullValue"}


def test_what_has_to_print_when_it_is_zero_tells_set_from_absent() -> None:
    for descriptor in ANSWERS:
        for field in reachable(descriptor):
            if field.containing_type is not None and field.containing_type.GetOptions().map_entry:
                continue  # printed whatever its value
            is_number = field.cpp_type not in {FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_MESSAGE}
            if is_number and not field.is_repeated:
                assert field.has_presence, field.full_name


# --- (c) the errors -------------------------------------------------------------------------------


def documented() -> dict[str, tuple[str, int, str, str]]:
    """Code, HTTP status, type and code of every reason, as error_reason.proto documents them."""
    text = (ROOT / "protos/parley/v1/error_reason.proto").read_text("utf-8")
    values = re.findall(r"((?:^  //.*\n)+)^  ERROR_REASON_(\w+) = \d+;", text, re.MULTILINE)
    table = {}
    for comment, name in values:
        prose = " ".join(line.strip().removeprefix("//").strip() for line in comment.splitlines())
        if match := re.search(r"([A-Z_]+), (\d{3}); (\w+), (\w+)\.$", prose):
            table[name] = (match[1], int(match[2]), match[3], match[4])
    return table


def test_the_reasons_are_those_of_the_contract() -> None:
    contract = [name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()]  # noqa: SIM118

    assert contract[0] == "UNSPECIFIED"
    assert contract[1:] == [reason.value for reason in Reason]
    assert [reason.name for reason in Reason] == [reason.value for reason in Reason]


def test_every_reason_has_its_row() -> None:
    assert set(TABLE) == set(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_a_row_is_what_the_contract_documents(reason: Reason) -> None:
    row = TABLE[reason]

    assert (row.code.name, row.http_status, row.type, row.error_code) == documented()[reason.value]


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_that_is_not_to_be_retried_says_so(reason: Reason) -> None:
    """OpenAI's SDKs retry 408, 409, 429 and 5xx by themselves."""
    text = (ROOT / "protos/parley/v1/error_reason.proto").read_text("utf-8")
    comment = re.search(rf"((?:^  //.*\n)+)^  ERROR_REASON_{reason.value} = ", text, re.MULTILINE)
    assert comment is not None
    is_hopeless = any(says in comment[1].lower() for says in ("retry can't help", "told not to retry"))
    row = TABLE[reason]

    if is_hopeless and (row.http_status in {408, 409, 429} or row.http_status >= 500):
        assert row.should_retry is False
    else:
        assert row.should_retry is not True
        assert is_hopeless or row.should_retry is None


def test_the_status_that_envoy_makes_is_known_for_every_code_in_use() -> None:
    assert set(ENVOY_HTTP_STATUS) == {row.code for row in TABLE.values()}


def details_of(error: ParleyError) -> tuple[Status, dict[str, str], list[Message]]:
    """Status, other metadata, and unpacked details of an error."""
    pairs = trailing_metadata(error)
    metadata: dict[str, Any] = dict(pairs)
    assert len(metadata) == len(pairs), "a key twice"
    status = Status.FromString(metadata.pop("grpc-status-details-bin"))
    kinds = {kind.DESCRIPTOR.full_name: kind for kind in (ErrorInfo, BadRequest, RetryInfo)}
    details: list[Message] = [kinds[packed.TypeName()].FromString(packed.value) for packed in status.details]
    return status, metadata, details


RETRY: dict[Reason, list[RetryInfo]] = {Reason.SHUTTING_DOWN: [RetryInfo(retry_delay=Duration(seconds=1))]}
"""What comes with a reason whatever the error says: another replica may answer, or this one's successor."""


@pytest.mark.parametrize("reason", Reason)
def test_trailing_metadata_tells_the_reason_on_both_faces(reason: Reason) -> None:
    row = TABLE[reason]
    error = ParleyError(reason, "Something is wrong.", metadata={"provider": "acme", "upstream_status": "418"})

    status, metadata, details = details_of(error)

    assert (status.code, status.message) == (row.code.value[0], "Something is wrong.")
    info, *more = details
    assert MessageToDict(info) == {
        "reason": reason.value,
        "domain": "parley",
        "metadata": {"provider": "acme", "upstream_status": "418"},
    }
    assert more == RETRY.get(reason, [])
    expected = {"x-error-type": row.type, "x-error-code": row.error_code}
    derived = {"INVALID_ARGUMENT": 400, "UNAUTHENTICATED": 401, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429}
    derived |= {"INTERNAL": 500, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}
    if derived[row.code.name] != row.http_status:
        expected["x-error-status"] = str(row.http_status)
    if row.should_retry is False:
        expected["x-should-retry"] = "false"
    if reason in RETRY:
        expected |= {"retry-after": "1", "retry-after-ms": "1000"}
    assert metadata == expected


def test_only_bad_gateways_differ_from_the_status_that_envoy_makes() -> None:
    differing = {reason for reason in Reason if "x-error-status" in dict(trailing_metadata(ParleyError(reason, "m")))}

    assert differing == {Reason.UPSTREAM_AUTH_FAILED, Reason.UPSTREAM_MALFORMED, Reason.TOOL_TURNS_EXCEEDED}


@pytest.mark.parametrize("reason", Reason)
def test_a_param_is_told_and_is_a_violation_where_the_request_is_wrong(reason: Reason) -> None:
    _, metadata, details = details_of(ParleyError(reason, "`n` must be 1.", param="messages[0].role"))

    assert metadata["x-error-param"] == "messages[0].role"
    info, *more = details
    assert isinstance(info, ErrorInfo)
    assert dict(info.metadata) == {"param": "messages[0].role"}
    is_callers = reason in {Reason.PARAMETER_INVALID, Reason.PARAMETER_MISSING, Reason.PARAMETER_UNSUPPORTED}
    violation = {"fieldViolations": [{"field": "messages[0].role", "description": "`n` must be 1."}]}
    expected = [violation] if is_callers else [MessageToDict(retry) for retry in RETRY.get(reason, [])]
    assert [MessageToDict(detail) for detail in more] == expected


@pytest.mark.parametrize(
    ("param", "header"),
    [
        ("messages[0].content", "messages[0].content"),
        ("extra_body.größe", "extra_body.gr??e"),
        ("a\r\nx-evil: 1", "a??x-evil: 1"),
        ("名前", "??"),
        ("~ \x7f\x00", "~ ??"),
        ("", ""),
    ],
)
def test_a_param_that_a_header_cant_carry_is_replaced_there_only(param: str, header: str) -> None:
    _, metadata, details = details_of(RequestError(Reason.PARAMETER_INVALID, "m", param=param))

    assert metadata["x-error-param"] == header
    info = details[0]
    assert isinstance(info, ErrorInfo)
    assert info.metadata["param"] == param


@pytest.mark.parametrize(
    ("seconds", "delay", "retry_after", "retry_after_ms"),
    [
        (0.0, "0s", "0", "0"),
        (0.25, "0.250s", "1", "250"),
        (1.5, "1.500s", "2", "1500"),
        (60.0, "60s", "60", "60000"),
        (86_399.0, "86399s", "86399", "86399000"),
    ],
)
def test_a_time_to_wait_is_told_in_every_form(
    seconds: float, delay: str, retry_after: str, retry_after_ms: str
) -> None:
    _, metadata, details = details_of(RateLimited(Reason.UPSTREAM_RATE_LIMITED, "m", retry_after_s=seconds))

    assert (metadata["retry-after"], metadata["retry-after-ms"]) == (retry_after, retry_after_ms)
    assert MessageToDict(details[1]) == {"retryDelay": delay}


@pytest.mark.parametrize("error", [RateLimited(Reason.UPSTREAM_RATE_LIMITED, "m"), Unavailable("m")])
def test_no_time_to_wait_is_not_told(error: ParleyError) -> None:
    _, metadata, details = details_of(error)

    assert not {"retry-after", "retry-after-ms"} & set(metadata)
    assert [type(detail) for detail in details] == [ErrorInfo]


@pytest.mark.parametrize("reason", Reason)
def test_metadata_is_what_grpc_can_send(reason: Reason) -> None:
    error = ParleyError(reason, "nicht größer", param="größe\n", metadata={"provider": "ü"})

    for key, value in trailing_metadata(error):
        assert re.fullmatch(r"[a-z0-9_.-]+", key)
        assert isinstance(value, bytes) == key.endswith("-bin")
        assert isinstance(value, bytes) or re.fullmatch(r"[ -~]*", value)


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("param", [None, "messages[0].größe"])
def test_the_error_chunk_has_openais_shape(reason: Reason, param: str | None) -> None:
    chunk = error_chunk(ParleyError(reason, "It broke.", param=param))

    assert MessageToDict(chunk, preserving_proto_field_name=True) == {
        "error": {
            "message": "It broke.",
            "type": TABLE[reason].type,
            "param": param,
            "code": TABLE[reason].error_code,
        }
    }


def test_the_error_chunk_prints_null_for_no_param() -> None:
    printed = MessageToJson(
        error_chunk(Unavailable("It broke.")), preserving_proto_field_name=True, indent=None, ensure_ascii=False
    )

    assert printed == (
        '{"error": {"message": "It broke.", "type": "server_error", "param": null, "code": "upstream_unavailable"}}'
    )


def test_statuses_are_of_the_grpc_library() -> None:
    assert {row.code for row in TABLE.values()} <= set(grpc.StatusCode) - {grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN}


# --- (d, e) the checks see what they are for ------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The contract with all that is made of it, in a folder of its own."""
    for folder in ("protos", "third_party", "service/_gen", "gateway/_gen"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    return tmp_path


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=100)


def breaking(root: Path) -> subprocess.CompletedProcess[str]:
    return run(BUF, "breaking", "protos", "--against", "protos/baseline.binpb", cwd=root)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), "utf-8")


def test_the_contract_breaks_nothing_of_its_baseline() -> None:
    checked = breaking(ROOT)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("chat_service.proto", "optional double top_p = 6;", "optional double top_q = 6;", '"top_p" to "top_q"'),
        ("chat_service.proto", "optional double top_p = 6;", "optional float top_p = 6;", '"double" to "float"'),
        ("chat_service.proto", "optional double top_p = 6;", "", '"6" with name "top_p"'),
        ("model_service.proto", "rpc GetModel(", "rpc FetchModel(", '"GetModel"'),
        ("error_reason.proto", "ERROR_REASON_INTERNAL = 20;", "", '"20" on enum "ErrorReason"'),
    ],
    ids=["field renamed", "type changed", "field deleted", "method renamed", "reason deleted"],
)
def test_the_breaking_check_sees_a_break(copy: Path, file: str, old: str, new: str, told: str) -> None:
    replace(copy / "protos/parley/v1" / file, old, new)

    checked = breaking(copy)

    assert checked.returncode != 0
    assert f"protos/parley/v1/{file}:" in checked.stdout
    assert told in checked.stdout


def test_the_breaking_check_lets_an_addition_pass(copy: Path) -> None:
    replace(
        copy / "protos/parley/v1/model_service.proto",
        "message ListModelsRequest {}",
        "message ListModelsRequest {\n  // Only these.\n  string filter = 1;\n}",
    )

    assert breaking(copy).returncode == 0


def generate(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, root / "protos/generate.py", *options, cwd=root)


def test_the_generated_code_is_not_stale() -> None:
    checked = generate(ROOT, "--check")

    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_staleness_check_names_what_is_stale(copy: Path) -> None:
    assert generate(copy).returncode == 0
    assert generate(copy, "--check").returncode == 0
    replace(
        copy / "protos/parley/v1/model_service.proto",
        "message ListModelsRequest {}",
        "message ListModelsRequest {\n  // Only these.\n  string filter = 1;\n}",
    )

    checked = generate(copy, "--check")

    assert checked.returncode == 1
    assert checked.stderr.splitlines() == [
        "generated files are stale, run `make generate`:",
        "  gateway/_gen/parley.binpb",
        "  service/_gen/parley/v1/model_service_pb2.py",
        "  service/_gen/parley/v1/model_service_pb2.pyi",
    ]


def test_the_staleness_check_names_what_is_missing_or_left_over(copy: Path) -> None:
    assert generate(copy).returncode == 0
    (copy / "service/_gen/parley/v1/tool_pb2.pyi").unlink()
    (copy / "service/_gen/parley/v1/gone_pb2.py").write_text("", "utf-8")

    checked = generate(copy, "--check")

    assert checked.returncode == 1
    assert [line.strip() for line in checked.stderr.splitlines()[1:]] == [
        "service/_gen/parley/v1/gone_pb2.py",
        "service/_gen/parley/v1/tool_pb2.pyi",
    ]


# --- (f, g) ordered objects and Envoy's view of them ----------------------------------------------

SAMPLE: dict[str, Any] = {
    "null": None,
    "number": 1.5,
    "integer": 3.0,
    "string": "é\x00",
    "yes": True,
    "no": False,
    "list": [None, 0.0, "", [], {}, [[1.0]]],
    "object": {"": {"a": {"b": []}}},
}


def test_a_json_object_is_read_as_a_struct() -> None:
    ordered = Parse(MessageToJson(_ordered(SAMPLE)), json_pb2.JsonObject())

    assert MessageToDict(Struct.FromString(ordered.SerializeToString())) == SAMPLE


def test_a_struct_is_read_as_a_json_object() -> None:
    struct = ParseDict(SAMPLE, Struct())

    arrived = json_pb2.JsonObject.FromString(struct.SerializeToString())

    assert _plain(arrived) == SAMPLE
    assert Struct.FromString(arrived.SerializeToString()) == struct


def test_wire_equal_messages_have_the_same_fields() -> None:
    for ours, theirs in (("JsonValue", "Value"), ("JsonList", "ListValue"), ("JsonObject", "Struct")):
        mine = json_pb2.DESCRIPTOR.message_types_by_name[ours]
        other = Struct.DESCRIPTOR.file.message_types_by_name[theirs]
        assert [(field.number, field.name, field.type, field.is_repeated) for field in mine.fields] == [
            (field.number, field.name, field.type, field.is_repeated) for field in other.fields
        ]


def _ordered(members: dict[str, Any]) -> json_pb2.JsonObject:
    """Made here by hand, so that nothing of the service stands between the two forms."""
    return json_pb2.JsonObject(
        fields=[json_pb2.JsonObject.Entry(key=key, value=_ordered_value(value)) for key, value in members.items()]
    )


def _ordered_value(value: Any) -> json_pb2.JsonValue:
    if value is None:
        return json_pb2.JsonValue(null_value=NULL_VALUE)
    if isinstance(value, bool):
        return json_pb2.JsonValue(bool_value=value)
    if isinstance(value, float):
        return json_pb2.JsonValue(number_value=value)
    if isinstance(value, str):
        return json_pb2.JsonValue(string_value=value)
    if isinstance(value, list):
        return json_pb2.JsonValue(list_value=json_pb2.JsonList(values=[_ordered_value(item) for item in value]))
    return json_pb2.JsonValue(struct_value=_ordered(value))


def _plain(members: json_pb2.JsonObject) -> dict[str, Any]:
    return {entry.key: _plain_value(entry.value) for entry in members.fields}


def _plain_value(value: json_pb2.JsonValue) -> Any:
    kind = value.WhichOneof("kind")
    assert kind is not None
    if kind == "null_value":
        return None
    if kind == "list_value":
        return [_plain_value(item) for item in value.list_value.values]
    if kind == "struct_value":
        return _plain(value.struct_value)
    return getattr(value, kind)


def envoy_files() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(ENVOY_DESCRIPTORS.read_bytes())


CONTRACT = (
    chat_completion_pb2, chat_service_pb2, error_reason_pb2, message_pb2, model_service_pb2, session_service_pb2,
    tool_pb2,
)  # fmt: skip
"""All files of the contract but json.proto."""


def own_fields(files: FileDescriptorSet) -> Iterator[tuple[str, FieldDescriptorProto]]:
    """The fields of all messages of the contract but those of json.proto, by their full names."""

    def walk(prefix: str, message: DescriptorProto) -> Iterator[tuple[str, FieldDescriptorProto]]:
        for field in message.field:
            yield f"{prefix}.{message.name}.{field.name}", field
        for nested in message.nested_type:
            yield from walk(f"{prefix}.{message.name}", nested)

    for file in files.file:
        if file.package == "parley.v1" and file.name != "parley/v1/json.proto":
            for message in file.message_type:
                yield from walk(file.package, message)


def test_envoy_sees_a_struct_wherever_the_contract_has_an_ordered_object() -> None:
    seen_by_envoy = {name: field.type_name for name, field in own_fields(envoy_files())}
    ordered = {
        field.full_name
        for module in CONTRACT
        for message in module.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if field.message_type is not None and field.message_type.full_name.startswith("parley.v1.Json")
        and field.message_type.name in {"JsonObject", "JsonValue", "JsonList"}
    }  # fmt: skip

    assert len(ordered) >= 25
    assert {seen_by_envoy[name] for name in ordered} == {".google.protobuf.Struct"}
    assert not [name for name, type_name in seen_by_envoy.items() if type_name in {
        ".parley.v1.JsonObject", ".parley.v1.JsonValue", ".parley.v1.JsonList",
    }]  # fmt: skip


def test_envoys_descriptors_are_the_contracts_in_all_else() -> None:
    seen_by_envoy = {
        name: (field.number, field.type, field.label, field.proto3_optional)
        for name, field in own_fields(envoy_files())
    }
    contract = FileDescriptorSet()
    for module in CONTRACT:
        file = contract.file.add()
        module.DESCRIPTOR.CopyToProto(file)

    assert seen_by_envoy == {
        name: (field.number, field.type, field.label, field.proto3_optional) for name, field in own_fields(contract)
    }


def test_envoys_descriptors_are_whole() -> None:
    """Every import is there, before what imports it, the error details included."""
    seen: set[str] = set()
    for file in envoy_files().file:
        assert set(file.dependency) <= seen, file.name
        seen.add(file.name)

    assert {"google/rpc/error_details.proto", "google/api/annotations.proto"} <= seen


def envoy_message(name: str) -> Message:
    pool = descriptor_pool.DescriptorPool()
    for file in envoy_files().file:
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(file.SerializeToString()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()


def test_an_answer_can_be_sent_back_as_rest_clients_got_it() -> None:
    """The JSON that Envoy prints of an answer's message is the JSON that it reads as a request's."""
    answer = chat_completion_pb2.AssistantMessage(
        role="assistant",
        content="x",
        refusal="no",
        tool_calls=[
            tool_pb2.ToolCall(
                id="call_1",
                type="function",
                function=tool_pb2.FunctionCall(name="f", arguments="{}"),
                extra_content=_ordered({"google": {"thought_signature": "c2ln"}}),
            )
        ],
        function_call=tool_pb2.FunctionCall(name="f", arguments="{}"),
        annotations=[_ordered({"type": "url_citation"})],
        audio=chat_completion_pb2.AudioOutput(id="a", data="UklG", expires_at=5, transcript="Hi"),
        reasoning_content="hm",
        reasoning_details=[_ordered({"type": "reasoning.encrypted"})],
        provider_content=[_ordered({"block": {"type": "x"}})],
        id="msg_1",
        tool_events=[
            tool_pb2.ToolEvent(
                index=0,
                id="call_0",
                tool="shop__echo",
                arguments='{"text": "42"}',
                status="ok",
                result="42",
                duration_ms=0,
                turn=0,
                text_length=1,
                reasoning_length=1,
                provider_content_length=1,
                beside_calls=True,
                extra_content=_ordered({"google": {"thought_signature": "c2ln"}}),
            )
        ],
    )
    assert {field.name for field, _ in answer.tool_events[0].ListFields()} == names(tool_pb2.ToolEvent.DESCRIPTOR)
    assert {field.name for field, _ in answer.ListFields()} == names(chat_completion_pb2.AssistantMessage.DESCRIPTOR)
    printed = MessageToDict(
        type(envoy_message("parley.v1.AssistantMessage")).FromString(answer.SerializeToString()),
        preserving_proto_field_name=True,
    )

    read = ParseDict(printed, envoy_message("parley.v1.Message"))

    arrived = message_pb2.Message.FromString(read.SerializeToString())
    assert printed["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    assert arrived.content.string_value == "x"
    assert arrived.tool_calls[0] == answer.tool_calls[0]
    assert arrived.function_call == answer.function_call
    assert arrived.reasoning_details[0] == answer.reasoning_details[0]
    assert arrived.provider_content[0] == answer.provider_content[0]
    assert arrived.annotations[0] == answer.annotations[0]
    assert arrived.tool_events[0] == answer.tool_events[0]
    assert MessageToDict(arrived.audio) == MessageToDict(answer.audio)
    assert (arrived.role, arrived.refusal, arrived.reasoning_content, arrived.id) == ("assistant", "no", "hm", "msg_1")
