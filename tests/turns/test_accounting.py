"""What a call of several turns is said to have used, also where it did not come to its end."""

from __future__ import annotations

import asyncio

import pytest

from service._gen.parley.v1.chat_completion_pb2 import Usage
from service.catalogue import Prices
from service.dispatch.call import Attempt, Journal
from service.errors import Interrupted, ParleyError, Unavailable
from service.routing import Target
from service.rpc.accounting import Account
from service.rpc.call import Call as RpcCall
from service.turns.usage import spent, summed
from tests.turns.script import Call, Scene, Turn, scene

WEATHER = Call("srv__weather")
DOLLAR = Prices(input=100_000, output=0)
"""One dollar for the ten tokens of each turn's prompt."""
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


async def accounted(stage: Scene, *, stream: bool) -> RpcCall:
    """The call, as it is when the answer is over."""
    call = RpcCall("id", "method", journal=stage.journal)
    account = Account(call, stage.request)
    is_complete = False
    try:
        answer = await stage.ask(stream=stream)
        is_complete = True
        if not stream:
            account.take_whole(answer)
    except (ParleyError, asyncio.CancelledError):
        pass
    finally:
        for chunk in stage.seen:
            account.take(chunk)
        account.settle(is_complete=is_complete)
    return call


@BOTH
async def test_the_cost_is_that_of_the_turns(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    stage = scene(Turn("One.", calls=[WEATHER]), Turn("Two."), prices=[DOLLAR])

    call = await accounted(stage, stream=stream)

    assert call.usage is not None
    assert (call.usage.total_tokens, call.usage.cost_usd) == (30, 2)
    assert (call.is_usage_estimated, call.is_complete, call.finish_reason) == (False, True, "stop")


@BOTH
async def test_no_cost_is_reckoned_from_the_sum(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """The first turn's target has no prices; the second's, who answers in the end, has."""
    down = Turn(fails_with=Unavailable("down"))
    stage = scene(Turn(calls=[WEATHER]), down, others=[[Turn("Two.")]], prices=[None, DOLLAR])

    call = await accounted(stage, stream=stream)

    assert call.usage is not None
    assert call.usage.total_tokens == 30
    assert not call.usage.HasField("cost_usd")


@BOTH
async def test_what_ended_turns_used_is_known_where_no_further_one_was_asked(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    stage = scene(Turn("One.", calls=[WEATHER]), Turn("never"), prices=[DOLLAR])
    stage.journal.is_abandoned = True

    call = await accounted(stage, stream=stream)

    assert call.usage is not None
    assert (call.usage.total_tokens, call.usage.cost_usd, call.is_usage_estimated) == (15, 1, False)
    assert not call.is_complete


@BOTH
async def test_a_turn_that_could_not_be_asked_has_used_nothing(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    stage = scene(Turn("One.", calls=[WEATHER]), Turn(fails_with=Unavailable("down")), prices=[DOLLAR])

    call = await accounted(stage, stream=stream)

    assert call.usage is not None
    assert (call.usage.total_tokens, call.is_usage_estimated) == (15, False)


@BOTH
async def test_a_turn_that_broke_off_is_estimated_beside_those_before(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    stage = scene(Turn("One.", calls=[WEATHER]), Turn("Two " * 40, fails_with=Interrupted("cut")), prices=[DOLLAR])

    call = await accounted(stage, stream=stream)

    assert call.usage is not None
    assert call.is_usage_estimated
    assert call.usage.prompt_tokens > 10
    assert call.usage.completion_tokens >= (35 if stream else 5)
    assert call.usage.cost_usd > 1


@pytest.mark.parametrize(("outcome", "is_estimated"), [("HEDGED", False), ("CANCELLED", True), (None, True)])
def test_a_request_that_another_was_faster_than_is_no_turn_that_broke_off(
    outcome: str | None,
    is_estimated: bool,  # noqa: FBT001 - a column of the table
) -> None:
    target = Target("p", "m")
    attempts = [Attempt(target, 0.0, outcome="OK"), Attempt(target, 0.0, outcome=outcome)]
    used = Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
    call = RpcCall("id", "method", journal=Journal(attempts, target, turns=[used]))

    Account(call, scene(Turn()).request).settle(is_complete=False)

    assert call.usage is not None
    assert call.is_usage_estimated == is_estimated
    assert (call.usage.total_tokens > 2) == is_estimated


def test_all_counts_are_summed_up() -> None:
    one, two = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3, cost_usd=0.1), Usage(total_tokens=4)
    one.prompt_tokens_details.cached_tokens = 5
    two.prompt_tokens_details.cached_tokens = 6
    two.prompt_tokens_details.audio_tokens = 7
    two.completion_tokens_details.reasoning_tokens = 8
    one.server_tool_use["web_search_requests"] = 9
    two.server_tool_use["web_search_requests"] = 1
    two.server_tool_use["other"] = 1
    two.cost_usd = 0.2

    total = summed([one, two])

    assert (total.prompt_tokens, total.completion_tokens, total.total_tokens) == (1, 2, 7)
    assert (total.prompt_tokens_details.cached_tokens, total.prompt_tokens_details.audio_tokens) == (11, 7)
    assert not total.prompt_tokens_details.HasField("cache_write_tokens")
    assert total.completion_tokens_details.reasoning_tokens == 8
    assert dict(total.server_tool_use) == {"web_search_requests": 10, "other": 1}
    assert total.cost_usd == 0.3


def test_every_field_of_usage_is_summed_up() -> None:
    """Fails where the contract gets a count that the sum would leave out."""
    full = Usage(cost_usd=1)
    full.server_tool_use["x"] = 1
    for message in (full, full.prompt_tokens_details, full.completion_tokens_details):
        for descriptor in message.DESCRIPTOR.fields:
            if descriptor.cpp_type == descriptor.CPPTYPE_UINT32:
                setattr(message, descriptor.name, 1)

    total = summed([full, full])

    assert {field.name for field, _ in total.ListFields()} == {field.name for field in Usage.DESCRIPTOR.fields}
    for part in (total, total.prompt_tokens_details, total.completion_tokens_details):
        assert all(value == 2 for field, value in part.ListFields() if field.cpp_type == field.CPPTYPE_UINT32)


def test_a_sum_beyond_what_a_count_holds_is_the_most_that_it_holds() -> None:
    much = Usage(prompt_tokens=2**32 - 1)

    assert summed([much, much]).prompt_tokens == 2**32 - 1


def test_nothing_is_known_to_be_used_where_a_turn_does_not_tell() -> None:
    assert spent([]) is None
    assert spent([Usage(total_tokens=1), None]) is None
