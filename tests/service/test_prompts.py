"""System prompts: which arguments they take, what becomes of them, and what is told of bad ones."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop
from jinja2.filters import FILTERS as JINJAS_FILTERS

from service.errors import ConfigError, Reason, RequestError
from service.json_values import Json
from service.prompts.cache import SizedCache
from service.prompts.messages import MAX_TEXT_BYTES
from service.prompts.prompt import Prompt
from service.prompts.renderer import Renderer

PATH = "projects.support.system_prompt"


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    made = Renderer()
    yield made
    await made.aclose()
    assert made.pids == ()


async def rendered(
    renderer: Renderer, template: str, given: dict[str, Json] | None = None, defaults: dict[str, Json] | None = None
) -> str:
    prompt = Prompt(template, defaults)
    await renderer.check({PATH: prompt})
    return await renderer.render(prompt, prompt.check_args(given or {}))


async def refused(
    renderer: Renderer, template: str, given: dict[str, Json], defaults: dict[str, Json] | None = None
) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await rendered(renderer, template, given, defaults)
    return caught.value


# Arguments


@pytest.mark.parametrize(
    ("template", "defaults", "names"),
    [
        ("{{ city }} {{ tone }}", {}, {"city", "tone"}),
        ("{{ city }}", {"tone": "dry"}, {"city", "tone"}),
        ("{{ user.name }}{{ user['age'] }}", {}, {"user"}),
        ("{% for x in items %}{{ x }}{{ loop.index }}{% endfor %}", {}, {"items"}),
        ("{% set x = city %}{{ x }}", {}, {"city"}),
        ("{% if mood is defined %}{{ mood }}{% endif %}{{ city|default('Bonn') }}", {}, {"mood", "city"}),
        ("{# {{ city }} #}{% raw %}{{ tone }}{% endraw %}{{ 1 }}", {}, set()),
        ("plain", {"tone": "dry"}, {"tone"}),
    ],
)
async def test_a_prompt_takes_what_its_template_uses_and_what_has_a_default(
    renderer: Renderer, template: str, defaults: dict[str, Json], names: set[str]
) -> None:
    prompt = Prompt(template, defaults)
    await renderer.check({PATH: prompt})
    assert prompt.names == names


@pytest.mark.parametrize(
    ("template", "given", "defaults", "text"),
    [
        ("Be {{ tone }}.", {"tone": "kind"}, {}, "Be kind."),
        ("Be {{ tone }}.", {}, {"tone": "dry"}, "Be dry."),
        ("Be {{ tone }}.", {"tone": "kind"}, {"tone": "dry"}, "Be kind."),
        ("{{ n }} {{ n + 1 }} {{ x }} {{ b }}", {"n": 1, "x": 1.5, "b": True}, {}, "1 2 1.5 True"),
        ("{{ n }}", {"n": int(1e300)}, {}, str(int(1e300))),
        ("{{ nothing }}", {"nothing": None}, {}, "None"),
        ("{% for k in o %}{{ k }}{% endfor %}", {"o": {"z": 1, "a": 2}}, {}, "za"),
        ("{{ o.list[1].x }}", {"o": {"list": [0, {"x": "deep"}]}}, {}, "deep"),
        ("{{ city|default('Bonn') }}{% if mood is defined %}!{% endif %}", {}, {}, "Bonn"),
        ("{% if lang == 'de' %}{{ de }}{% else %}{{ en }}{% endif %}", {"lang": "en", "en": "Hi"}, {}, "Hi"),
        ("{{ html }} {{ o|tojson }}", {"html": "<b>&", "o": {"a": [1]}}, {}, '<b>& {"a": [1]}'),
        ("a\n{{ x }}\n", {"x": "ü🙂\x00"}, {}, "a\nü🙂\x00\n"),
    ],
)
async def test_renders_what_the_request_gives_over_the_defaults(
    renderer: Renderer, template: str, given: dict[str, Json], defaults: dict[str, Json], text: str
) -> None:
    assert await rendered(renderer, template, given, defaults) == text


async def test_arguments_are_never_templates(renderer: Renderer) -> None:
    text = "{{ 7 * 7 }}{% if %}{{ secret }}"
    assert await rendered(renderer, "{{ x }} {{ o.k }}", {"x": text, "o": {"k": text}}) == f"{text} {text}"


async def test_text_without_jinja_is_itself_and_needs_no_process(renderer: Renderer) -> None:
    text = "You are {kind} {} %s 100 % \r\n"
    assert await rendered(renderer, text, {"tone": "dry"}, {"tone": "kind"}) == text
    assert renderer.pids == ()


@pytest.mark.parametrize(
    ("template", "given", "param"),
    [
        ("{{ city }}", {}, "system_prompt_args.city"),
        ("{{ user.name }}", {"user": {"age": 3}}, "system_prompt_args.user.name"),
        ("{{ user['name'] }}", {}, "system_prompt_args.user"),
        ("{{ o.list[1].x }}", {"o": {"list": [{"x": 1}, {}]}}, "system_prompt_args.o.list[1].x"),
        (
            "{% for u in users %}{{ u.name }}{% endfor %}",
            {"users": [{"name": 1}, {}]},
            "system_prompt_args.users[1].name",
        ),
        ("{{ city|upper }}", {}, "system_prompt_args.city"),
        ("{% for x in cities %}{{ x }}{% endfor %}", {}, "system_prompt_args.cities"),
        ("{% if city %}x{% endif %}", {}, "system_prompt_args.city"),
        ("{% if no %}{% set x = 1 %}{% endif %}{{ x }}", {"no": False}, "system_prompt_args.x"),
    ],
)
async def test_an_argument_that_is_needed_and_missing_is_named(
    renderer: Renderer, template: str, given: dict[str, Json], param: str
) -> None:
    error = await refused(renderer, template, given)
    assert (error.reason, error.param) == (Reason.PARAMETER_MISSING, param)
    assert error.message == f"`{param}` is required: {error.message.partition(': ')[2]}"


async def test_what_is_missing_by_a_name_among_the_arguments_is_not_told(renderer: Renderer) -> None:
    error = await refused(renderer, "{{ cities[city] }}", {"cities": {}, "city": "private"})
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, "system_prompt_args.cities")
    assert "private" not in error.message


@pytest.mark.parametrize(
    ("template", "given"),
    [
        ("{{ city.mayor }}", {"city": "private"}),  # of text, whose place among the arguments is not known
        ("{% macro m(city) %}{{ city }}{% endmacro %}{{ m() }}{{ city }}", {"city": "private"}),
        ("{{ 'private' + n }}", {"n": 1}),
        ("{{ 1 / n }}", {"n": 0}),
        ("{{ text % n }}", {"text": "private", "n": 99}),
    ],
)
async def test_other_failures_name_the_line_and_quote_nothing(
    renderer: Renderer, template: str, given: dict[str, Json]
) -> None:
    error = await refused(renderer, f"first\n{template}", given)
    assert (error.reason, error.param) == (Reason.SYSTEM_PROMPT_FAILED, "system_prompt_args")
    assert error.message == "The project's system prompt can't be rendered with these arguments: it fails in line 2."


@pytest.mark.parametrize(
    ("name", "param"),
    [
        ("toen", "system_prompt_args.toen"),
        ("self", "system_prompt_args.self"),
        ("range", "system_prompt_args.range"),
        ("n" * 64, "system_prompt_args." + "n" * 64),
        ("n" * 65, "system_prompt_args"),
        ("", "system_prompt_args"),
        ("two words", "system_prompt_args"),
        ("line\nbreak", "system_prompt_args"),
        ("tön", "system_prompt_args"),
    ],
)
async def test_an_unexpected_argument_is_named_where_that_is_safe(renderer: Renderer, name: str, param: str) -> None:
    error = await refused(renderer, "{{ tone }} {{ city }}", {"tone": 1, "city": 2, name: 3})
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, param)
    assert "takes `city`, `tone`" in error.message
    if param == "system_prompt_args" and name:
        assert name not in error.message


async def test_arguments_are_bounded_as_json(renderer: Renderer) -> None:
    error = await refused(renderer, "{{ x|length }}", {"x": "a" * MAX_TEXT_BYTES})
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, "system_prompt_args")
    most = MAX_TEXT_BYTES - len('{"x":""}')
    assert await rendered(renderer, "{{ x|length }}", {"x": "a" * most}) == str(most)


@pytest.mark.parametrize("character", ["a", "ü", "🙂", "\x00"])
async def test_the_text_is_bounded_in_bytes(renderer: Renderer, character: str) -> None:
    template = "{% for i in range(n) %}{{ c }}{% endfor %}"
    most = MAX_TEXT_BYTES // len(character.encode())
    assert await rendered(renderer, template, {"n": most, "c": character}) == character * most
    error = await refused(renderer, template, {"n": most + 1, "c": character})
    assert (error.reason, error.param) == (Reason.SYSTEM_PROMPT_FAILED, "system_prompt_args")
    assert "beyond 65536 bytes" in error.message


async def test_what_was_rendered_before_is_kept(renderer: Renderer) -> None:
    template = "{% for k in o %}{{ k }}{% endfor %}"
    assert await rendered(renderer, template, {"o": {"a": 1, "b": 2}}) == "ab"
    await renderer.aclose()
    prompt = Prompt(template)
    prompt.learn(("o",))
    assert await renderer.render(prompt, {"o": {"a": 1, "b": 2}}) == "ab"
    assert renderer.pids == ()
    # Other arguments, also where only the order is another, are rendered anew.
    assert await renderer.render(prompt, {"o": {"b": 2, "a": 1}}) == "ba"
    assert len(renderer.pids) == 1


def test_a_prompt_prints_without_its_text() -> None:
    assert "private" not in repr(Prompt("private {{ x }}", {"x": "private"}))


# Checks at the start


@pytest.mark.parametrize(
    ("template", "defaults", "told"),
    [
        ("one\n{{ two", {}, ".template: line 2: "),
        ("{% if %}", {}, ".template: line 1: Expected an expression"),
        ("{% for x in y %}", {}, ".template: line 1: Unexpected end of template"),
        ("{{ x|nope }}", {}, ".template: line 1: No filter named 'nope'"),
        ("{{ x is nope }}", {}, ".template: line 1: No test named 'nope'"),
        ("{{ x|random }}", {}, ".template: line 1: No filter named 'random'"),
        ("\n{% include 'x' %}", {}, ".template: line 2: there are no other templates"),
        ("{% extends 'x' %}", {}, ".template: line 1: there are no other templates"),
        ("{% import 'x' as x %}", {}, ".template: line 1: there are no other templates"),
        ("{% from 'x' import y %}", {}, ".template: line 1: there are no other templates"),
        ("\n\n{{ 1 + 'x' }}", {}, ".template: line 3: unsupported operand"),
        ("{{ x + 1 }}", {"x": "text"}, ".template: line 1: can only concatenate str"),
        ("{{ user.name }}", {"user": {}}, ".template: needs `user.name`, which the defaults do not have"),
        ("x" * (MAX_TEXT_BYTES + 1), {}, ".template: must have at most 65536 bytes"),
        ("{{ x }}", {"x": "x" * MAX_TEXT_BYTES}, ".args: must have at most 65536 bytes"),
        ("{{ x }}", {"x": dt.date(2026, 1, 1)}, ".args.x: must be what JSON has"),
        ("{{ x }}", {"x": float("inf")}, ".args.x: must be what JSON has"),
        ("plain", {"x": [{1: "x"}]}, ".args.x: must be what JSON has"),
    ],
)
async def test_a_bad_prompt_is_found_at_the_start(
    renderer: Renderer, template: str, defaults: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        await renderer.check({"projects.a.system_prompt": Prompt("fine {{ x }}"), PATH: Prompt(template, defaults)})
    assert str(caught.value).startswith(PATH + told)
    assert "\n" not in str(caught.value)


async def test_a_prompt_that_lacks_defaults_is_only_compiled(renderer: Renderer) -> None:
    prompt = Prompt("{{ x + y }}", {"x": "text"})
    await renderer.check({PATH: prompt})
    assert prompt.is_checked
    with pytest.raises(RuntimeError):
        _ = Prompt("{{ x }}").names


# Everything that Jinja has works in a process that can open no file.

FILTERS: dict[str, str] = {
    "abs": "{{ -1|abs }}",
    "attr": "{{ x|attr('real') }}",
    "batch": "{{ [1,2,3]|batch(2,0)|list }}",
    "capitalize": "{{ 'ab'|capitalize }}",
    "center": "{{ 'a'|center(5) }}",
    "count": "{{ 'ab'|count }}",
    "d": "{{ y|d(1) }}",
    "default": "{{ y|default(1) }}",
    "dictsort": "{{ {'b':1,'a':2}|dictsort }}",
    "e": "{{ '<'|e }}",
    "escape": "{{ '<'|escape }}",
    "filesizeformat": "{{ 13000|filesizeformat }}",
    "first": "{{ [1]|first }}",
    "float": "{{ '1.5'|float }}",
    "forceescape": "{{ '<'|forceescape }}",
    "format": "{{ '%s'|format(1) }}",
    "groupby": "{% for k, v in [{'a':1},{'a':2}]|groupby('a') %}{{ k }}{% endfor %}",
    "indent": "{{ 'a\nb'|indent(2) }}",
    "int": "{{ '7'|int }}",
    "items": "{{ {'a':1}|items|list }}",
    "join": "{{ [1,2]|join(', ') }}",
    "last": "{{ [1]|last }}",
    "length": "{{ 'ab'|length }}",
    "list": "{{ 'ab'|list }}",
    "lower": "{{ 'AB'|lower }}",
    "map": "{{ [{'a':1}]|map(attribute='a')|list }}",
    "max": "{{ [1,2]|max }}",
    "min": "{{ [1,2]|min }}",
    "pprint": "{{ {'a':[1]}|pprint }}",
    "reject": "{{ [1,2]|reject('odd')|list }}",
    "rejectattr": "{{ [{'a':1}]|rejectattr('a')|list }}",
    "replace": "{{ 'a'|replace('a','b') }}",
    "reverse": "{{ [1,2]|reverse|list }}",
    "round": "{{ 1.5|round }}",
    "safe": "{{ '<'|safe }}",
    "select": "{{ [1,2]|select('odd')|list }}",
    "selectattr": "{{ [{'a':1}]|selectattr('a')|list }}",
    "slice": "{{ [1,2,3]|slice(2)|list }}",
    "sort": "{{ [2,1]|sort }}",
    "string": "{{ 1|string }}",
    "striptags": "{{ '<b>a</b>'|striptags }}",
    "sum": "{{ [1,2]|sum }}",
    "title": "{{ 'ab'|title }}",
    "tojson": "{{ {'a':[1,'<']}|tojson }}",
    "trim": "{{ ' a '|trim }}",
    "truncate": "{{ 'ab cd ef'|truncate(4) }}",
    "unique": "{{ [1,1]|unique|list }}",
    "upper": "{{ 'ab'|upper }}",
    "urlencode": "{{ 'a b'|urlencode }}",
    "urlize": "{{ 'see http://a.example.com now'|urlize }}",
    "wordcount": "{{ 'a b'|wordcount }}",
    "wordwrap": "{{ 'aa bb'|wordwrap(2) }}",
    "xmlattr": "{{ {'a':1}|xmlattr }}",
}


def test_every_filter_is_tried() -> None:
    assert FILTERS.keys() == JINJAS_FILTERS.keys() - {"random"}


async def test_every_filter_works_where_no_file_can_be_opened(renderer: Renderer) -> None:
    for template in FILTERS.values():
        assert await rendered(renderer, template, {"x": 1, "y": 2} if "y|" in template else None, {"x": 1})


async def test_works_on_the_loop_that_the_service_runs_on() -> None:
    async def check() -> tuple[str, ...]:
        made = Renderer()
        try:
            return tuple(await asyncio.gather(*(rendered(made, "{{ x }}", {"x": n}) for n in range(5))))
        finally:
            await made.aclose()

    def run() -> tuple[str, ...]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(check())

    assert await asyncio.to_thread(run) == ("0", "1", "2", "3", "4")


# The cache


def test_the_cache_keeps_what_was_used_last_within_its_size() -> None:
    cache: SizedCache[str, int] = SizedCache(10)
    cache.put("a", 1, 4)
    cache.put("b", 2, 4)
    assert cache.get("a") == 1
    cache.put("c", 3, 4)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    cache.put("a", 4, 6)
    assert (cache.get("a"), cache.get("c")) == (4, 3)
    cache.put("d", 5, 11)
    assert (cache.get("d"), len(cache)) == (None, 2)
