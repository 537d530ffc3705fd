"""Hostile templates: each is refused, or bounded in time, memory and size, and the next prompt is rendered as ever."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from service.errors import ConfigError, Reason, RequestError
from service.json_values import Json
from service.prompts.messages import MAX_TEXT_BYTES
from service.prompts.prompt import Prompt
from service.prompts.renderer import Renderer

WITHIN_S = 60.0
"""An attack takes 1 s of processor time at most, or 3 s where it is compiled; machines with much to do are slower."""
PATH = "p"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def renderer() -> AsyncIterator[Renderer]:
    """One for all attacks: each must leave it as it was."""
    made = Renderer()
    yield made
    await made.aclose()


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__')|attr('__mro__') }}",
    "{{ ''|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ ['']|map(attribute='__class__')|list }}",
    "{{ [{'a':''}]|map(attribute='a.__class__')|list }}",
    "{{ ['']|groupby('__class__') }}",
    "{{ ['']|sum(attribute='__class__') }}",
    "{{ ['']|selectattr('__class__')|list }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{0[__class__]}'.format('') }}",
    "{{ '{x.__class__}'.format_map({'x': ''}) }}",
    "{{ ''|attr('format') }}{{ ('{0.__class__}'|attr('format'))('') }}",
    "{{ ['{0.__class__}']|map('attr', 'format')|first|string }}{{ ('{0.__class__}'.format)(1) }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ range.__globals__ }}",
    "{{ dict.mro() }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{{ lipsum.__globals__.os }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ x.__class__ }}",
    "{{ (x for x in []).gi_frame }}",
    "{% macro m() %}{% endmacro %}{{ m.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m._environment }}",
    "{% macro m() %}{{ caller.__globals__ }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% for a in [1] %}{{ loop.__class__ }}{% endfor %}",
    "{% for a in [1] %}{{ loop._iterable }}{% endfor %}",
    "{% set n = namespace() %}{% set n.__class__ = 1 %}{{ n.__class__.x }}{{ n.y }}",
    "{{ ().__class__.__bases__[0] }}",
    "{{ 1 .__class__ }}",
    "{{ true.__class__ }}",
    "{{ none.__class__ }}",
    "{{ x.append(1) }}",
    "{{ o.update({'a': 1}) }}",
    "{{ o.clear() }}",
    "{{ range.__func__ }}",
    "{{ ('a'|safe).__html__.__func__ }}",
    "{{ ('{0.__class__}'|safe).format(1) }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{{ config }}",
    "{{ request.application.__globals__ }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
    "{% from 'os' import system %}",
    "{% extends '/etc/passwd' %}",
    "{% set a = x.__class__ %}{{ a }}",
    "{% if ''.__class__ %}x{% endif %}",
    "{% with a = ''.__class__ %}{{ a }}{% endwith %}",
    "{% filter attr('__class__') %}x{% endfilter %}",
    "{{ ''.encode('utf-8').__class__ }}",
    "{{ dict(a=''.__class__) }}",
    "{{ [''.__class__]|tojson }}",
]
"""What was tried on the sandbox through the years; some are asked for names that are no arguments."""

FLOODS = [
    "{{ 'a' * 10**10 }}",
    "{{ x * n }}",
    "{{ 'a'.center(10**9) }}",
    "{{ 'a'|center(10**9) }}",
    "{{ 'a'.ljust(n) }}",
    "{{ 'a'.zfill(n) }}",
    "{{ 'a\\n'|indent(10**9) }}",
    "{{ ('a\\n' * 10**4)|indent(10**6) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d'|format(n, 1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:>{w}}'.format(1, w=n) }}",
    "{{ '{0:.1000000000f}'.format(1.5) }}",
    "{{ ('a' * 10**5).replace('a', 'b' * 10**5) }}",
    "{{ ('a' * 10**5)|replace('a', 'b' * 10**5) }}",
    "{{ ('b' * 10**5).join('a' * 10**5) }}",
    "{{ ('a' * 10**5)|join('b' * 10**5) }}",
    "{{ ('a\\t' * 10**5).expandtabs(10**6) }}",
    "{{ ('a\\t' * 10**4).expandtabs(n) }}",
    "{{ [0] * 10**9 }}",
    "{{ (1, 2) * n }}",
    "{{ range(100000)|list * 1000 }}",
    "{% set ns = namespace(t='a') %}{% for i in range(64) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
    "{% set ns = namespace(t=['a']) %}{% for i in range(64) %}{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t }}",
    "{% set ns = namespace(t='a') %}{% for i in range(64) %}{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.t }}",
    "{% for i in range(100000) %}{{ i }}{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
    "{% macro m() %}{% for i in range(100000) %}xxxxxxxx{% endfor %}{% endmacro %}{{ [m(), m(), m()] * 1000 }}",
    "{{ 'a'|urlize(trim_url_limit=1) * 10**9 }}",
    "{{ range(100000)|batch(10**9, 'x')|list }}",
    "{{ range(10)|slice(10**8)|list }}",
    "{{ {'a': 'b' * 10**5}|tojson(indent=10**9) }}",
    "{{ ('a ' * 10**5)|wordwrap(1, wrapstring='b' * 10**5) }}",
    "{{ 'a'.encode('utf-32') * 10**9 }}",
    "{{ range(n) }}{{ range(10**9) }}",
]
"""Small templates that grow large. `n` is 10**9."""

LOOPS = [
    "{{ 10 ** (10 ** 8) }}",
    "{{ 7 ** n }}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for i in range(100000) recursive %}{{ loop(range(100000)) }}{% endfor %}",
    "{% set r = range(100000)|list %}{% if r|reject('in', r)|list %}{% endif %}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(64) }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{% macro k() %}{% call m() %}{{ k() }}{% endcall %}{% endmacro %}{{ k() }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}",
    "{% set ns = namespace(x=1) %}{% for i in range(100000) %}{% set ns.x = ns.x * 3 ** 1000 %}{% endfor %}{{ ns.x }}",
    "{{ ('<' * 60000 ~ 'a@b.c ' * 10000)|urlize|length }}{{ ('(' * 10**6)|urlize }}",
    "{{ ('<!--' * 10**6)|striptags }}",
    "{{ ('a' * 10**6)|wordwrap(1) }}",
    "{{ (10 ** (10 ** 7))|string }}",
    "{% autoescape 10 ** (10 ** 8) %}{% endautoescape %}",
]
"""Small templates that take long, or go deep."""

FORMS = [
    "{{" + "(" * 30_000 + ")" * 30_000 + "}}",
    "{{" + "[" * 30_000 + "]" * 30_000 + "}}",
    "{{" + "-" * 60_000 + "1}}",
    "{{" + "not " * 15_000 + "1}}",
    "{{" + "+".join("a" * 30_000) + "}}",
    "{{ x" + "|e" * 30_000 + "}}",
    "{{ x" + ".a" * 30_000 + "}}",
    "{{ x" + "[0]" * 20_000 + "}}",
    "{{" + "1 if 1 else " * 5_000 + "1}}",
    "{%if 1%}" * 3_900 + "{%endif%}" * 3_900,
    "{%for a in b%}" * 2_500 + "{%endfor%}" * 2_500,
    "{%macro a()%}" * 2_500 + "{%endmacro%}" * 2_500,
    "{{" + "9" * 60_000 + "}}",
    "{{ 0x" + "9" * 60_000 + "}}",
    "{{" + "1_" * 30_000 + "}}",
    "{{ '" + "\\" * 60_001 + "' }}",
    "{{ '" + "a" * 60_000,
    "{%" * 30_000,
    "{#" * 30_000,
    "{% raw %}" * 7_000,
    "{%" + " " * 60_000 + "raw",
    "{{ '\\ud800' }}",
    "{{ x[" + ":" * 60_000 + "] }}",
]
"""Templates of a hostile form, up to the largest that are taken."""


async def rendered(renderer: Renderer, prompt: Prompt, args: dict[str, Json]) -> str:
    await renderer.check({PATH: prompt})
    return await renderer.render(prompt, args)


@pytest.mark.parametrize("template", [*ESCAPES, *FLOODS, *LOOPS, *FORMS], ids=lambda text: text[:40])
async def test_an_attack_is_refused_within_bounds_and_harms_no_other(renderer: Renderer, template: str) -> None:
    # `args` give what the attack asks for; without defaults, it is compiled and not rendered at the start.
    prompt, args = Prompt(template), _args()
    began = time.monotonic()
    with pytest.raises((ConfigError, RequestError)) as caught:
        await rendered(renderer, prompt, args)
    assert time.monotonic() - began < WITHIN_S
    if isinstance(caught.value, RequestError):
        assert caught.value.reason in {Reason.SYSTEM_PROMPT_FAILED, Reason.PARAMETER_MISSING, Reason.PARAMETER_INVALID}
    assert await rendered(renderer, Prompt("Be {{ tone }}."), {"tone": template[:40]}) == f"Be {template[:40]}."


@pytest.mark.parametrize(
    "template",
    [
        "{{ x }}{% for i in range(n) %}{% for j in range(n) %}{% endfor %}{% endfor %}",
        "{{ x * n }}",
        "{{ 'a' ~ x|center(n) }}",
        "{% for i in range(n) %}{{ x }}{% endfor %}",
        "{{ 2 ** (n ** n) }}",
    ],
)
async def test_arguments_can_make_an_innocent_template_no_worse(renderer: Renderer, template: str) -> None:
    prompt = Prompt(template)
    await renderer.check({PATH: prompt})
    assert await renderer.render(prompt, {"x": "a", "n": 2})
    for n in (100_000, 10**9, int(1e300)):
        args: dict[str, Json] = {"x": "a" * 60_000, "n": n}
        with pytest.raises(RequestError) as caught:
            await renderer.render(prompt, args)
        assert caught.value.reason is Reason.SYSTEM_PROMPT_FAILED
    assert await renderer.render(prompt, {"x": "b", "n": 3})


def _args() -> dict[str, Json]:
    deep: Json = []
    for _ in range(20):
        deep = [deep]
    return {"x": "a", "n": 10**9, "a": 1, "b": [], "o": {}, "deep": deep, "y": "z" * (MAX_TEXT_BYTES // 2)}
