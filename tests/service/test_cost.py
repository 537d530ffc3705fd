"""What completions cost; the numbers are worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from service._gen.parley.v1.chat_completion_pb2 import Usage
from service.catalogue import LongContextPrices, Prices, find_capabilities
from service.cost import cost_usd

ALL = Prices(
    input=3,
    cached_input=0.3,
    cache_write=3.75,
    cache_write_1h=6,
    audio_input=40,
    output=15,
    audio_output=80,
    long_context=LongContextPrices(
        above_tokens=200_000, input=6, cached_input=0.6, cache_write=7.5, cache_write_1h=12, output=22.5
    ),
)
TEXT = Prices(input=3, output=15)
ONE_PRICE = Prices(
    input=2,
    cached_input=0.2,
    audio_input=2,
    output=12,
    long_context=LongContextPrices(above_tokens=200_000, input=4, cached_input=0.4, output=18),
)
FREE = Prices(input=0, output=0)


def usage(prompt: int = 1_000, completion: int = 0, prompt_details: Any = None, **others: Any) -> Usage:
    details = {"prompt_tokens_details": prompt_details} if prompt_details else {}
    return ParseDict({"prompt_tokens": prompt, "completion_tokens": completion, **details, **others}, Usage())


@pytest.mark.parametrize(
    ("used", "prices", "dollars"),
    [
        pytest.param(usage(1_000), TEXT, 0.003, id="prompt"),
        pytest.param(usage(1_000, 100), TEXT, 0.0045, id="prompt and answer"),
        pytest.param(usage(1, 1), TEXT, 0.000018, id="one token each"),
        pytest.param(usage(0, 0), TEXT, 0.0, id="nothing"),
        pytest.param(usage(0, 0), Prices(), 0.0, id="nothing, without prices"),
        pytest.param(usage(1_000, 100), FREE, 0.0, id="a price of 0 is one"),
        pytest.param(usage(100_000, 100_000), Prices(input=0.1, output=0.3), 0.04, id="sums without dust"),
        # 100 * 3 + 900 * 0.3 = 570
        pytest.param(usage(1_000, 0, {"cached_tokens": 900}), ALL, 0.00057, id="cached"),
        # 2 * 3 + 1,590 * 3.75 + 4 * 15 = 6,028.5
        pytest.param(usage(1_592, 4, {"cache_write_tokens": 1_590}), ALL, 0.0060285, id="written"),
        # 100 * 3 + 300 * 0.3 + 200 * 3.75 + 400 * 6 = 3,540
        pytest.param(
            usage(1_000, 0, {"cached_tokens": 300, "cache_write_tokens": 600, "cache_write_1h_tokens": 400}),
            ALL,
            0.00354,
            id="cached and written for five minutes and an hour",
        ),
        # 20 * 3 + 44 * 40 + 9 * 15 = 1,955
        pytest.param(usage(64, 9, {"audio_tokens": 44}), ALL, 0.001955, id="sound heard"),
        # 10 * 3 + 100 * 15 + 50 * 80 = 5,530
        pytest.param(usage(10, 150, completion_tokens_details={"audio_tokens": 50}), ALL, 0.00553, id="sound answered"),
        # 100 * 2 + 900 * 0.2 = 380: sound costs what text costs, cached or not
        pytest.param(
            usage(1_000, 0, {"audio_tokens": 500, "cached_tokens": 900}), ONE_PRICE, 0.00038, id="sound as text"
        ),
        pytest.param(
            usage(1_000, 100, completion_tokens_details={"reasoning_tokens": 90}), TEXT, 0.0045, id="reasoning"
        ),
        pytest.param(usage(1_000, 0, {"image_tokens": 600, "video_tokens": 400}), TEXT, 0.003, id="images and video"),
        pytest.param(usage(200_000, 1_000), ALL, 0.615, id="not yet a long prompt"),
        # 200,001 * 6 + 1,000 * 22.5 = 1,222,506
        pytest.param(usage(200_001, 1_000), ALL, 1.222506, id="a long prompt"),
        # 1 * 6 + 100,000 * 0.6 + 50,000 * 7.5 + 50,000 * 12 = 1,035,006
        pytest.param(
            usage(
                200_001,
                0,
                {"cached_tokens": 100_000, "cache_write_tokens": 100_000, "cache_write_1h_tokens": 50_000},
            ),
            ALL,
            1.035006,
            id="a long prompt, cached and written",
        ),
        # 200,000 * 4 + 1,000 * 4: the long prompt's price for sound as text, too
        pytest.param(usage(201_000, 0, {"audio_tokens": 1_000}), ONE_PRICE, 0.804, id="a long prompt, sound as text"),
        # 200,000 * 6 + 1,000 * 40: a price of its own holds for long prompts, too
        pytest.param(usage(201_000, 0, {"audio_tokens": 1_000}), ALL, 1.24, id="a long prompt, sound"),
        pytest.param(usage(1_000, server_tool_use={"web_search_requests": 0}), TEXT, 0.003, id="no search made"),
    ],
)
def test_cost_is_the_sum_of_the_parts(used: Usage, prices: Prices, dollars: float) -> None:
    assert cost_usd(used, prices, None) == dollars


@pytest.mark.parametrize(
    ("used", "prices"),
    [
        pytest.param(Usage(), ALL, id="nothing counted"),
        pytest.param(Usage(prompt_tokens=1), ALL, id="answer not counted"),
        pytest.param(Usage(completion_tokens=1), ALL, id="prompt not counted"),
        pytest.param(usage(1), Prices(output=1), id="no price of the prompt"),
        pytest.param(usage(1, 1), Prices(input=1), id="no price of the answer"),
        pytest.param(usage(9, 0, {"cached_tokens": 1}), TEXT, id="no price of cached tokens"),
        pytest.param(usage(9, 0, {"cache_write_tokens": 1}), TEXT, id="no price of cache writes"),
        pytest.param(
            usage(9, 0, {"cache_write_tokens": 1, "cache_write_1h_tokens": 1}),
            Prices(input=1, cache_write=1, output=1),
            id="no price of cache writes for an hour",
        ),
        pytest.param(usage(9, 0, {"audio_tokens": 1}), TEXT, id="no price of sound heard"),
        pytest.param(usage(9, 9, completion_tokens_details={"audio_tokens": 1}), TEXT, id="no price of sound answered"),
        pytest.param(usage(9, 9, completion_tokens_details={"image_tokens": 1}), ALL, id="images made"),
        pytest.param(usage(9, 0, {"audio_tokens": 1, "cached_tokens": 1}), ALL, id="perhaps cached sound"),
        pytest.param(usage(9, 0, {"audio_tokens": 1, "cache_write_tokens": 1}), ALL, id="perhaps written sound"),
        pytest.param(usage(9, 0, {"tool_use_tokens": 1}), ALL, id="tokens that a tool found"),
        pytest.param(usage(9, server_tool_use={"web_search_requests": 1}), ALL, id="a search made"),
        pytest.param(
            usage(11, 0),
            Prices(input=1, output=1, long_context=LongContextPrices(above_tokens=10, output=1)),
            id="no price of a long prompt",
        ),
        pytest.param(usage(9, 0, {"cached_tokens": 10}), ALL, id="more cached than there is"),
        pytest.param(
            usage(9, 0, {"cache_write_tokens": 1, "cache_write_1h_tokens": 2}), ALL, id="more for an hour than written"
        ),
        pytest.param(usage(9, 1, completion_tokens_details={"audio_tokens": 2}), ALL, id="more sound than answer"),
    ],
)
def test_cost_is_unknown_where_a_part_of_it_is(used: Usage, prices: Prices) -> None:
    assert cost_usd(used, prices, None) is None


@pytest.mark.parametrize("tier", [None, "auto", "default", "standard", "on_demand", "ON_DEMAND", "unspecified"])
def test_standard_classes_cost_the_list_price(tier: str | None) -> None:
    assert cost_usd(usage(), TEXT, tier) == 0.003


@pytest.mark.parametrize("tier", ["flex", "priority", "fast", "scale", "batch", "ON_DEMAND_FLEX", "some_new_one", ""])
def test_other_classes_have_prices_that_are_not_known(tier: str) -> None:
    assert cost_usd(usage(), TEXT, tier) is None


@pytest.mark.parametrize(
    ("vendor", "model", "used", "dollars"),
    [
        # test_inline_system_prompt_cache_prefix_is_reused: 2 * 5 + 1,590 * 6.25 + 4 * 25
        ("anthropic", "claude-opus-4-8", usage(1_592, 4, {"cache_write_tokens": 1_590}), 0.0100475),
        # The same once more, read from the cache: 2 * 5 + 1,590 * 0.5 + 4 * 25 millionths
        ("anthropic", "claude-opus-4-8", usage(1_592, 4, {"cached_tokens": 1_590}), 0.000905),
        # As in test_mistral_history_uses_prompt_cache: 44 * 0.5 + 224 * 0.05 + 5 * 1.5
        ("mistral", "mistral-large-latest", usage(268, 5, {"cached_tokens": 224}), 0.0000407),
    ],
)
def test_recorded_usage_costs_by_the_catalogue(vendor: str, model: str, used: Usage, dollars: float) -> None:
    prices = find_capabilities(vendor, model).prices
    assert prices is not None
    assert cost_usd(used, prices, "standard") == dollars
