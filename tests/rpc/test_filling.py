"""Messages that stand for stored answers: filled in with all that those said, or refused by name."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from service._gen.parley.v1.chat_completion_pb2 import AssistantMessage, AudioOutput, ChatCompletion
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.message_pb2 import Message
from service._gen.parley.v1.tool_pb2 import FunctionCall, ToolCall, ToolEvent
from service.answers.ids import choice_id, completion_name, message_name, new_id
from service.errors import ParleyError, Reason
from service.json_values import json_object
from service.rpc.filling import filled
from service.rpc.validation import validate
from service.storage.record import Record
from tests.support.json_form import json_of, to_proto
from tests.support.shelf import Shelf

USER = {"role": "user", "content": "And then?"}
TENANT = "acme"


def record_of(*messages: AssistantMessage, tenant: str = TENANT) -> Record:
    completion = ChatCompletion()
    for index, message in enumerate(messages):
        completion.choices.add(index=index, message=message)
    request = ChatCompletionRequest(model="m")
    return Record(
        id=new_id(), tenant=tenant, created=1, model="m", session_id=UUID(int=1), completion=completion, request=request
    )


def saying(text: str) -> AssistantMessage:
    return AssistantMessage(role="assistant", content=text, id="msg_of_its_own")


def request_of(*messages: dict[str, Any]) -> ChatCompletionRequest:
    request = to_proto({"model": "m", "messages": [USER, *messages, USER]})
    validate(request, stream=False)
    return request


def reference(record: Record, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "completion_id": str(choice_id(record.id, index)), **fields}


async def refusal(request: ChatCompletionRequest, shelf: Shelf | None) -> ParleyError:
    with pytest.raises(ParleyError) as caught:
        await filled(request, shelf, TENANT)
    return caught.value


async def test_a_message_is_filled_by_the_id_of_the_choice() -> None:
    record = record_of(saying("Once"), saying("Twice"))
    request = request_of(reference(record, 1, name="bard", metadata={"a": 1}))
    before = request.SerializeToString()

    done = await filled(request, Shelf(kept=[record]), TENANT)

    assert [json_of(message) for message in done.messages] == [
        USER,
        {**reference(record, 1, name="bard", metadata={"a": 1}), "content": "Twice"},
        USER,
    ]
    assert request.SerializeToString() == before


@pytest.mark.parametrize("content", [None, ""])
async def test_an_empty_content_is_filled(content: str | None) -> None:
    record = record_of(saying("Once"))

    done = await filled(request_of(reference(record, content=content)), Shelf(kept=[record]), TENANT)

    assert done.messages[1].content.string_value == "Once"


async def test_a_message_is_filled_by_its_own_id() -> None:
    record = record_of(saying("Once"), saying("Twice"))
    message = {"role": "assistant", "id": message_name(record.id, 1)}

    done = await filled(request_of(message), Shelf(kept=[record]), TENANT)

    assert done.messages[1].content.string_value == "Twice"


EVERYTHING = AssistantMessage(
    role="assistant",
    content="text",
    refusal="no",
    tool_calls=[
        ToolCall(
            id="call_1",
            type="function",
            function=FunctionCall(name="f", arguments="{}"),
            extra_content=json_object({"google": {"thought_signature": "s"}}),
        )
    ],
    function_call=FunctionCall(name="f", arguments="{}"),
    annotations=[json_object({"type": "url_citation"})],
    audio=AudioOutput(id="audio_1", data="AAAA", expires_at=9, transcript="text"),
    reasoning_content="hm",
    reasoning_details=[json_object({"type": "reasoning.text", "text": "hm", "index": 0})],
    id="msg",
    provider_content=[json_object({"format": "f", "block": {"text_length": 4}})],
    tool_events=[ToolEvent(index=0, id="call_0", tool="files__read", result="r", turn=0, duration_ms=1)],
)


async def test_everything_that_an_answer_has_is_filled_in() -> None:
    assert {field.name for field in AssistantMessage.DESCRIPTOR.fields} == {
        field.name for field, _ in EVERYTHING.ListFields()
    }, "the test has every field"
    record = record_of(EVERYTHING)

    done = await filled(request_of(reference(record)), Shelf(kept=[record]), TENANT)

    told = json_of(done.messages[1])
    assert told.pop("completion_id") == str(choice_id(record.id, 0))
    assert told == {name: value for name, value in json_of(EVERYTHING).items() if name != "id"}


async def test_a_filled_message_may_be_asked_again() -> None:
    record = record_of(EVERYTHING)
    done = await filled(request_of(reference(record)), Shelf(kept=[record]), TENANT)

    validate(done, stream=False)
    assert await filled(done, Shelf(), TENANT) is done


SAYS: dict[str, dict[str, Any]] = {
    "content": {"content": "mine"},
    "parts": {"content": [{"type": "text", "text": "mine"}]},
    "a call": {"tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]},
    "a refusal": {"refusal": "no"},
    "reasoning": {"reasoning_content": "hm"},
}


@pytest.mark.parametrize("case", SAYS)
async def test_a_message_that_says_something_is_left_as_it_is(case: str) -> None:
    shelf = Shelf()
    unknown = {"completion_id": str(choice_id(new_id(), 0)), "id": "msg_1"}
    request = request_of({"role": "assistant", **unknown, **SAYS[case]})

    assert await filled(request, shelf, TENANT) is request
    assert await filled(request, None, TENANT) is request
    assert shelf.reads == []


async def test_an_id_beside_an_empty_text_is_not_looked_at() -> None:
    request = request_of({"role": "assistant", "id": "msg_of_another_provider", "content": ""})

    assert await filled(request, None, TENANT) is request


async def test_a_request_without_such_messages_is_not_copied() -> None:
    request = request_of({"role": "assistant", "content": "mine"})

    assert await filled(request, Shelf(), TENANT) is request


UNKNOWN: dict[str, dict[str, str]] = {
    "no completion of that id": {"completion_id": str(choice_id(new_id(), 0))},
    "a UUID that is none of a choice": {"completion_id": "3c90c3cc-0d44-4b50-8888-8dd25736052a"},
    "no message of that id": {"id": message_name(new_id(), 0)},
    "an id of another provider's": {"id": "msg_01XFDUDYJgAACzvnptvVoYEL"},
    "the name of a whole completion": {"id": completion_name(new_id())},
}


@pytest.mark.parametrize("case", UNKNOWN)
async def test_an_unknown_answer_is_refused_by_name(case: str) -> None:
    error = await refusal(request_of({"role": "assistant", **UNKNOWN[case]}), Shelf(kept=[record_of(saying("x"))]))

    assert (error.reason, error.param) == (Reason.COMPLETION_NOT_FOUND, f"messages[1].{next(iter(UNKNOWN[case]))}")
    assert next(iter(UNKNOWN[case].values())) not in error.message


async def test_an_answer_of_another_tenant_is_refused_as_one_that_is_not_there() -> None:
    record = record_of(saying("x"), tenant="other")
    theirs = await refusal(request_of(reference(record)), Shelf(kept=[record]))
    nobodys = await refusal(request_of(reference(record)), Shelf())

    assert (theirs.reason, theirs.message, theirs.param) == (nobodys.reason, nobodys.message, nobodys.param)
    assert theirs.reason is Reason.COMPLETION_NOT_FOUND


async def test_a_choice_that_the_completion_does_not_have_is_refused() -> None:
    record = record_of(saying("x"))
    error = await refusal(request_of(reference(record, 1)), Shelf(kept=[record]))

    assert error.reason is Reason.COMPLETION_NOT_FOUND


async def test_an_answer_without_any_content_is_refused() -> None:
    record = record_of(AssistantMessage(role="assistant"))
    error = await refusal(request_of(reference(record)), Shelf(kept=[record]))

    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, "messages[1].completion_id")
    assert "broke off" in error.message


async def test_each_completion_is_asked_for_once() -> None:
    one, other = record_of(saying("a"), saying("b")), record_of(saying("c"))
    references = [reference(one), reference(one, 1), reference(other), reference(one)]
    shelf = Shelf(kept=[one, other])

    done = await filled(request_of(*references), shelf, TENANT)

    assert [message.content.string_value for message in done.messages[1:-1]] == ["a", "b", "c", "a"]
    assert shelf.reads == [one.id, other.id]


async def test_a_request_may_stand_on_a_hundred_answers() -> None:
    records = [record_of(saying("x")) for _ in range(101)]
    shelf = Shelf(kept=records)

    done = await filled(request_of(*map(reference, records[:100])), shelf, TENANT)
    assert len(done.messages) == 102
    error = await refusal(request_of(*map(reference, records)), shelf)
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, "messages")


async def test_what_is_filled_in_has_the_size_of_a_request_at_most() -> None:
    large, other = record_of(saying("x" * 2**23), saying("y" * 2**26)), record_of(saying("z" * 2**23))
    shelf = Shelf(kept=[large, other])

    done = await filled(request_of(reference(large), reference(large), reference(other)), shelf, TENANT)
    assert done.ByteSize() > 3 * 2**23
    for messages in ([large] * 4, [large, other, large, other], [other, large, large, large]):
        error = await refusal(request_of(*map(reference, messages)), shelf)
        assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, "messages")
        assert "32 MiB" in error.message


async def test_where_nothing_is_stored_nothing_is_filled_in() -> None:
    error = await refusal(request_of(reference(record_of(saying("x")))), None)

    assert (error.reason, error.param) == (Reason.PARAMETER_UNSUPPORTED, "messages[1].completion_id")


async def test_where_the_database_is_down_the_call_fails() -> None:
    error = await refusal(request_of(reference(record_of(saying("x")))), Shelf(is_down=True))

    assert error.reason is Reason.STORAGE_UNAVAILABLE


def test_a_stored_answer_can_be_taken_over_by_every_field_of_a_message() -> None:
    """Where an answer's message gets a field, a request's has to have it, too."""
    assert {field.name for field in AssistantMessage.DESCRIPTOR.fields} <= set(Message.DESCRIPTOR.fields_by_name)
