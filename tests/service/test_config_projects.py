"""Projects and storage in the configuration, and keys that are bound to them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.config import Config, load_config
from service.errors import ConfigError
from service.project_settings import Arm, Campaign, Project, SystemPrompt, ToolLimits, ToolServer
from service.settings import Secret
from service.storage.settings import Storage

CANARY = "sk-c4n4ry"
SHA = "0123456789abcdef" * 4
ID = "0b8f6f0e-6a53-4c39-8d1c-3f1c9f5a7c21"
SHORT = "expected 1 to 64 letters, digits, `.`, `_` and `-`, the first a letter or digit"
ZONE = "expected a time with its zone, such as 2026-12-01T00:00:00Z"

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a file with models `small`, `large` and what is given, under an environment."""

    def load_sections(sections: dict[str, Any] | str, **environ: str) -> Config:
        target = {"provider": "local", "model": "x"}
        models = {name: {"targets": [target]} for name in ("small", "large")}
        least = yaml.safe_dump({"providers": {"local": {"kind": "embedded"}}, "models": models})
        text = sections if isinstance(sections, str) else "".join(yaml.safe_dump({k: v}) for k, v in sections.items())
        (tmp_path / "parley.yaml").write_text(f"{least}\n{text}", "utf-8")
        return load_config({"PARLEY_CONFIG": str(tmp_path / "parley.yaml"), **environ})

    return load_sections


def project(**fields: Any) -> dict[str, Any]:
    """A file's section with one project `p`."""
    return {"projects": {"p": {"default_model": "fast", "models": {"fast": "small", "smart": "large"}, **fields}}}


def tool(**fields: Any) -> dict[str, Any]:
    return project(tools={"t": fields})


def campaign(**fields: Any) -> dict[str, Any]:
    return project(campaigns={"c": {"arms": {"a": {"model": "fast"}}, **fields}})


def message_of(load: Load, sections: dict[str, Any] | str, **environ: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load(sections, **environ)
    assert CANARY not in str(raised.value)
    assert raised.value.__cause__ is None or CANARY not in repr(raised.value.__cause__)
    return str(raised.value)


def test_a_whole_project_is_read(load: Load, tmp_path: Path) -> None:
    (tmp_path / "brief.j2").write_text("Be brief, {{ name }}.\n", "utf-8")
    (tmp_path / "key").write_text(f"{CANARY}\n", "utf-8")
    config = load(
        f"""
projects:
  support:
    default_model: fast
    models: {{fast: small, smart: large}}
    system_prompt: {{template: "Be kind to {{{{ name }}}}.", args: {{name: all, list: [1, 2.5, null, {{a: true}}]}}}}
    tools:
      files:
        command: [python3, -m, files]
        env: {{ROOT: /srv}}
        env_from: [FILES_TOKEN]
        max_result_bytes: 100
        only: [read]
        enabled: false
      web:
        url: https://mcp.example.com/mcp
        headers: {{x-team: a}}
        api_key_file: {tmp_path}/key
        connect_timeout_s: 1
        timeout_s: 2
        when_down: leave_out
    use_tools: false
    tool_limits: {{max_turns: 3, total_s: 10, parallel: 2}}
    campaigns:
      brief:
        id: {ID.upper()}
        start: 2026-11-22T10:00:00+02:00
        end: "2026-12-22T10:00:00Z"
        arms:
          as-ever: {{model: fast, weight: 90}}
          brief: {{model: smart, weight: 10, system_prompt: {{file: brief.j2, args: {{name: you}}}}}}
          kinder: {{model: fast, system_prompt: Be very kind.}}
  plain: {{default_model: only, models: {{only: small}}}}
""",
        FILES_TOKEN=f" {CANARY}-2 ",
    )

    kinder = SystemPrompt(template="Be very kind.")
    brief = SystemPrompt(template="Be brief, {{ name }}.\n", file="brief.j2", args={"name": "you"})
    assert config.projects == {
        "support": Project(
            default_model="fast",
            models={"fast": "small", "smart": "large"},
            system_prompt=SystemPrompt(
                template="Be kind to {{ name }}.", args={"name": "all", "list": [1, 2.5, None, {"a": True}]}
            ),
            tools={
                "files": ToolServer(
                    command=["python3", "-m", "files"],
                    env={"ROOT": "/srv"},
                    env_from=["FILES_TOKEN"],
                    environment={"FILES_TOKEN": Secret(f"{CANARY}-2")},
                    max_result_bytes=100,
                    only=["read"],
                    enabled=False,
                ),
                "web": ToolServer(
                    url="https://mcp.example.com/mcp",
                    headers={"x-team": "a"},
                    api_key_file=f"{tmp_path}/key",
                    api_key=Secret(CANARY),
                    connect_timeout_s=1,
                    timeout_s=2,
                    when_down="leave_out",
                ),
            },
            use_tools=False,
            tool_limits=ToolLimits(max_turns=3, total_s=10, parallel=2),
            campaigns={
                "brief": Campaign(
                    arms={
                        "as-ever": Arm(model="fast", weight=90),
                        "brief": Arm(model="smart", weight=10, system_prompt=brief),
                        "kinder": Arm(model="fast", system_prompt=kinder),
                    },
                    id=ID.upper(),
                    start=datetime(2026, 11, 22, 10, tzinfo=timezone(timedelta(hours=2))),
                    end=datetime(2026, 12, 22, 10, tzinfo=UTC),
                )
            },
        ),
        "plain": Project(default_model="only", models={"only": "small"}),
    }
    assert CANARY not in f"{config}{config!r}"
    assert repr(config).count("***") == 2


def test_the_short_form_of_a_system_prompt_is_its_template(load: Load) -> None:
    assert load(project(system_prompt="Be kind.")) == load(project(system_prompt={"template": "Be kind."}))


def test_an_argument_of_the_name_of_a_section_is_an_argument(load: Load) -> None:
    args = {"system_prompt": "x", "tools": {"models": 1}}
    prompt = load(project(system_prompt={"template": "", "args": args})).projects["p"].system_prompt

    assert prompt == SystemPrompt(template="", args=args)


@pytest.mark.parametrize("section", [{}, {"projects": None}, {"projects": {}}], ids=str)
def test_there_may_be_no_projects(load: Load, section: dict[str, Any]) -> None:
    assert load(section).projects == {}


def test_a_project_may_be_named_as_a_model_is(load: Load) -> None:
    names = {"small": {"default_model": "a", "models": {"a": "large"}}}

    assert list(load({"projects": names}).projects) == ["small"]


def test_a_templates_file_stands_beside_the_configuration_or_anywhere(load: Load, tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "a.j2").write_text("Grüße", "utf-8")
    for file in ("prompts/a.j2", str(tmp_path / "prompts" / "a.j2")):
        prompt = load(project(system_prompt={"file": file})).projects["p"].system_prompt
        assert prompt == SystemPrompt(template="Grüße", file=file)


@pytest.mark.parametrize(("size", "is_taken"), [(64 * 1024, True), (64 * 1024 + 1, False)])
@pytest.mark.parametrize("in_file", [False, True])
def test_a_template_has_64_kib_at_most(load: Load, tmp_path: Path, size: int, *, is_taken: bool, in_file: bool) -> None:
    template = "é" * (size // 2) + "e" * (size % 2)
    (tmp_path / "a.j2").write_text(template, "utf-8")
    sections = project(system_prompt={"file": "a.j2"} if in_file else template)

    if is_taken:
        assert load(sections).projects["p"].system_prompt is not None
    elif in_file:
        assert message_of(load, sections) == (
            f"projects.p.system_prompt.file: {tmp_path / 'a.j2'} is larger than 65536 bytes"
        )
    else:
        assert message_of(load, sections) == "projects.p.system_prompt.template: larger than 65536 bytes"


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_templates_file_that_cant_be_read_is_told(load: Load, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.j2").write_bytes(content)

    message = message_of(load, project(system_prompt={"file": "a.j2"}))

    assert message == f"projects.p.system_prompt.file: {tmp_path / 'a.j2'} can't be read as text in UTF-8"


PROJECTS = [
    ({"projects": []}, "projects: Expected `object`, got `array`"),
    ({"projects": {"a b": {}}}, f"projects.'a b': {SHORT}"),
    ({"projects": {"a/b": {}}}, f"projects.'a/b': {SHORT}"),
    ({"projects": {"x" * 65: {}}}, f"projects.'{'x' * 65}': {SHORT}"),
    ({"projects": {4: {}}}, "projects: Expected `str`, got `int` as a key; write it in quotes"),
    ({"projects": {"p": None}}, "projects.p: Expected `object`, got `null`"),
    ({"projects": {"p": {}}}, "projects.p: Object missing required field `default_model`"),
    (project(model="fast"), "projects.p: Object contains unknown field `model`"),
    (project(default_model="x y"), f"projects.p.default_model: {SHORT}"),
    (project(default_model="none"), "projects.p.default_model: the project has no model 'none' (its models: fast, smart)"),
    (project(default_model="small"), "projects.p.default_model: the project has no model 'small' (its models: fast, smart)"),
    (project(models={}), "projects.p.models: Expected `object` of length >= 1"),
    (project(models=["small"]), "projects.p.models: Expected `object`, got `array`"),
    (project(models={"fast": 5}), "projects.p.models.fast: Expected `str`, got `int`"),
    (project(models={"fast": "none"}), "projects.p.models.fast: there is no model 'none' in `models`"),
    (project(models={"fast": "p/smart"}), "projects.p.models.fast: there is no model 'p/smart' in `models`"),
    (project(models={"a/b": "small"}), f"projects.p.models.'a/b': {SHORT}"),
    (project(models={1: "small"}), "projects.p.models: Expected `str`, got `int` as a key; write it in quotes"),
    (project(models={str(number): "small" for number in range(257)}), "projects.p.models: Expected `object` of length <= 256"),
    (project(use_tools="yes"), "projects.p.use_tools: Expected `bool`, got `str`"),
    (project(tool_limits={"max_turns": 0}), "projects.p.tool_limits.max_turns: Expected `int` >= 2"),
]  # fmt: skip

PROMPTS = [
    (5, ": Expected `object`, got `int`"),
    ({}, ": give `template` or `file`, one of them"),
    ({"template": "a", "file": "b"}, ": give `template` or `file`, one of them"),
    ({"text": "a"}, ": Object contains unknown field `text`"),
    ({"template": 5}, ".template: Expected `str | null`, got `int`"),
    ({"template": "", "args": []}, ".args: Expected `object`, got `array`"),
    ({"template": "", "args": {1: 2}}, ".args: Expected `str`, got `int` as a key; write it in quotes"),
    ({"template": "", "args": {"a": {"b": [0, {3: 4}]}}}, ".args.a.b[1]: the key 3 is no text; write it in quotes"),
    (
        {"template": "", "args": {"a": [datetime(2026, 1, 1, tzinfo=UTC)]}},
        ".args.a[0]: a datetime that JSON does not have; write it as text, in quotes",
    ),
    (
        {"template": "", "args": {"a": float("inf")}},
        ".args.a: a float that JSON does not have; write it as text, in quotes",
    ),
]

CAMPAIGNS = [
    (project(campaigns={"a b": {}}), f"projects.p.campaigns.'a b': {SHORT}"),
    (project(campaigns={"c": {}}), "projects.p.campaigns.c: Object missing required field `arms`"),
    (campaign(arms={}), "projects.p.campaigns.c.arms: Expected `object` of length >= 1"),
    (campaign(arms={"a": {}}), "projects.p.campaigns.c.arms.a: Object missing required field `model`"),
    (campaign(arms={"é": {"model": "fast"}}), f"projects.p.campaigns.c.arms.'é': {SHORT}"),
    (campaign(arms={"a": {"model": "fast", "weight": 0}}), "projects.p.campaigns.c.arms.a.weight: Expected `float` > 0.0"),
    (
        campaign(arms={"a": {"model": "small"}}),
        "projects.p.campaigns.c.arms.a.model: the project has no model 'small' (its models: fast, smart)",
    ),
    *(
        (campaign(id=text), f"projects.p.campaigns.c.id: expected a UUID such as {ID}")
        for text in ("", "c", ID[:-1], f"{{{ID}}}", f"urn:uuid:{ID}", ID.replace("-", ""), f"{ID}\n")
    ),
    (
        project(campaigns={name: {"id": text, "arms": {"a": {"model": "fast"}}} for name, text in (("c", ID), ("d", ID.upper()))}),
        "projects.p.campaigns.d.id: 'c' is named so already",
    ),
    (
        project(campaigns={ID.upper(): {"arms": {"a": {"model": "fast"}}}, "d": {"id": ID, "arms": {"a": {"model": "fast"}}}}),
        f"projects.p.campaigns.d.id: '{ID.upper()}' is named so already",
    ),
    (campaign(start=datetime(2026, 1, 1)), f"projects.p.campaigns.c.start: {ZONE}"),  # noqa: DTZ001 - what is wrong with it
    (campaign(start=datetime(2026, 1, 1, tzinfo=UTC).date()), f"projects.p.campaigns.c.start: {ZONE}"),
    (campaign(end="2026-01-01"), f"projects.p.campaigns.c.end: {ZONE}"),
    (campaign(end="2026-01-01T00:00:00"), f"projects.p.campaigns.c.end: {ZONE}"),
    (campaign(end=5), f"projects.p.campaigns.c.end: {ZONE}"),
    *(
        (campaign(start="2026-01-01T00:00:00Z", end=end), "projects.p.campaigns.c.end: must be later than `start`")
        for end in ("2026-01-01T00:00:00Z", "2026-01-01T00:30:00+01:00")
    ),
]  # fmt: skip

SERVER = "expected up to 32 letters, digits, `-` and single `_`, the first a letter or digit and the last no `_`"
URL, COMMAND = {"url": "https://mcp.example.com/mcp"}, {"command": ["x"]}
TOOLS = [
    *(
        (project(tools={name: COMMAND}), f"projects.p.tools.{name!r}: {SERVER}")
        for name in ("a__b", "_a", "a_", "a.b", "", "a" * 33, "a\n")
    ),
    (tool(), "projects.p.tools.t: give `command` or `url`, one of them"),
    (tool(**URL, **COMMAND), "projects.p.tools.t: give `command` or `url`, one of them"),
    (tool(command="x"), "projects.p.tools.t.command: Expected `array | null`, got `str`"),
    *(
        (tool(command=command), "projects.p.tools.t.command: expected a program and its arguments, without NUL characters")
        for command in ([], [""], ["x", "a\0b"])
    ),
    (tool(**URL, env={"A": "b"}), "projects.p.tools.t.env: only with `command`"),
    (tool(**URL, env_from=["A"]), "projects.p.tools.t.env_from: only with `command`"),
    (tool(**COMMAND, headers={"a": "b"}), "projects.p.tools.t.headers: only with `url`"),
    (tool(**COMMAND, api_key_env="A"), "projects.p.tools.t.api_key_env: only with `url`"),
    (tool(**COMMAND, env={"A": 5}), "projects.p.tools.t.env.A: Expected `str`, got `int`"),
    (tool(**COMMAND, env={"A": "b\0"}), "projects.p.tools.t.env.A: no variable can hold a NUL character"),
    (tool(**COMMAND, env={CANARY: "b"}), "projects.p.tools.t.env: expected the name of an environment variable, such as OPENAI_API_KEY"),
    (tool(**COMMAND, env_from=["A"]), "projects.p.tools.t.env_from[0]: the environment variable A is not set"),
    (tool(**COMMAND, env_from=["SET", CANARY]), "projects.p.tools.t.env_from[1]: expected the name of an environment variable, such as OPENAI_API_KEY"),
    (tool(**COMMAND, env_from=["SET", "SET"]), "projects.p.tools.t.env_from[1]: SET occurs twice"),
    (tool(**COMMAND, env={"SET": "a"}, env_from=["SET"]), "projects.p.tools.t.env_from[0]: SET stands in `env` as well"),
    (tool(**COMMAND, environment={"A": CANARY}), "projects.p.tools.t.environment[...]: a secret can't stand in the file: name `env_from` instead"),
    (tool(**URL, api_key=CANARY), "projects.p.tools.t.api_key: a secret can't stand in the file: name `api_key_env` or `api_key_file` instead"),
    (tool(**URL, api_key_env="A"), "projects.p.tools.t.api_key_env: the environment variable A is not set"),
    (tool(**URL, api_key_env="SET", api_key_file="x"), "projects.p.tools.t: give `api_key_env` or `api_key_file`, not both"),
    (tool(**URL, headers={"Authorization": CANARY}), "projects.p.tools.t.headers.Authorization: credentials come from `api_key_env` or `api_key_file`"),
    (tool(**URL, headers={"a": 5}), "projects.p.tools.t.headers.a: Expected `str`, got `int`"),
    (tool(url="mcp.example.com"), "projects.p.tools.t.url: expected an http:// or https:// URL such as https://mcp.example.com/mcp"),
    (tool(url=f"https://x/mcp?key={CANARY}"), "projects.p.tools.t.url: expected no credentials, query or fragment"),
    (tool(**URL, only=[]), "projects.p.tools.t.only: name at least one tool, or leave it out for all of them"),
    (tool(**URL, only=["a", ""]), "projects.p.tools.t.only[1]: expected the name of a tool"),
    (tool(**URL, only=["a", "a"]), "projects.p.tools.t.only[1]: 'a' occurs twice"),
    (tool(**URL, when_down="stop"), "projects.p.tools.t.when_down: Invalid enum value 'stop', expected `fail` or `leave_out`"),
    (tool(**URL, timeout_s=0), "projects.p.tools.t.timeout_s: Expected `float` > 0.0"),
    (tool(**URL, max_result_bytes=2**21), "projects.p.tools.t.max_result_bytes: Expected `int` <= 1048576"),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "message"), [*PROJECTS, *CAMPAIGNS, *TOOLS])
def test_what_is_wrong_with_a_project_is_told_by_its_path(load: Load, sections: dict[str, Any], message: str) -> None:
    assert message_of(load, sections, SET="a") == message


@pytest.mark.parametrize(("prompt", "message"), PROMPTS)
def test_what_is_wrong_with_a_system_prompt_is_told_by_its_path(load: Load, prompt: object, message: str) -> None:
    assert message_of(load, project(system_prompt=prompt)) == f"projects.p.system_prompt{message}"
    assert message_of(load, campaign(arms={"a": {"model": "fast", "system_prompt": prompt}})) == (
        f"projects.p.campaigns.c.arms.a.system_prompt{message}"
    )


def test_arguments_that_hold_themselves_are_refused(load: Load) -> None:
    text = """
projects:
  p: {default_model: a, models: {a: small}, system_prompt: {template: "", args: {a: &a [*a]}}}
"""

    assert message_of(load, text).endswith(": nested more than 30 levels deep")


def test_a_secret_of_a_tool_server_may_be_the_env_of_a_variable(load: Load) -> None:
    server = load(tool(**URL, api_key_env="MCP_KEY"), MCP_KEY=CANARY).projects["p"].tools["t"]

    assert server.api_key == Secret(CANARY)


def keys(*keys: dict[str, Any], **sections: Any) -> dict[str, Any]:
    named = [{"name": f"k{index}", "sha256": f"{index:064x}", **key} for index, key in enumerate(keys)]
    return {**project(), "auth": {"keys": named}, **sections}


def test_a_key_may_have_a_tenant_and_projects(load: Load) -> None:
    found = load(keys({}, {"tenant": "shared"}, {"projects": ["p"]}, {"projects": []})).auth.keys

    assert [(key.tenant, key.projects) for key in found] == [(None, None), ("shared", None), (None, ["p"]), (None, [])]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (keys({}, {"projects": ["p", "q"]}), "auth.keys[1].projects[1]: there is no project 'q' (configured: p)"),
        (keys({"projects": ["p"]}, projects={}), "auth.keys[0].projects[0]: there is no project 'p' (configured: none)"),
        (keys({"projects": ["small"]}), "auth.keys[0].projects[0]: there is no project 'small' (configured: p)"),
        (keys({"projects": ["p", "p"]}), "auth.keys[0].projects[1]: 'p' occurs twice"),
        (keys({"projects": "p"}), "auth.keys[0].projects: Expected `array | null`, got `str`"),
        (keys({"tenant": ""}), "auth.keys[0].tenant: Expected `str` of length >= 1"),
        (keys({"tenant": "a\0b"}), "auth.keys[0].tenant: expected printable characters"),
        (
            keys({"name": "a\0b"}),
            "auth.keys[0].name: expected printable characters, or a `tenant` that has no others",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_keys_bonds_is_told_by_its_path(
    load: Load, sections: dict[str, Any], message: str
) -> None:
    assert message_of(load, sections) == message


POSTGRES = f"postgresql://user:{CANARY}@db.example.com:5432/parley"


@pytest.mark.parametrize(
    ("section", "environ", "storage"),
    [
        ({}, {}, None),
        ({"storage": None}, {}, None),
        ({"storage": None}, {"PARLEY_DATA_DIR": "/var/lib/parley"}, None),
        ({"storage": {}}, {}, Storage(data_dir="data")),
        ({"storage": {"data_dir": "/srv/p"}}, {}, Storage(data_dir="/srv/p")),
        ({"storage": {"data_dir": "/srv/p"}}, {"PARLEY_DATA_DIR": "/var/lib/p"}, Storage(data_dir="/var/lib/p")),
        ({"storage": {"data_dir": "/srv/p"}}, {"PARLEY_DATA_DIR": ""}, Storage(data_dir="/srv/p")),
        (
            {"storage": {"policy": "best_effort", "retention_days": 30, "commit_timeout_s": 2}},
            {},
            Storage(policy="best_effort", retention_days=30, commit_timeout_s=2),
        ),
        (
            {"storage": {"url_env": "DB"}},
            {"DB": f" {POSTGRES}\n", "PARLEY_DATA_DIR": "/x"},
            Storage(url_env="DB", url=Secret(POSTGRES)),
        ),
    ],
)
def test_storage_is_read(load: Load, section: dict[str, Any], environ: dict[str, str], storage: Storage | None) -> None:
    config = load(section, **environ)

    assert config.storage == storage
    assert CANARY not in repr(config)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://db",
        "postgresql://db/parley",
        "postgresql://user@[::1]:5432/parley?ssl=require",
        "postgresql://postgres:@/postgres?host=/run/postgresql",
    ],
)
def test_the_url_of_postgresql_may_stand_in_a_file(load: Load, tmp_path: Path, url: str) -> None:
    (tmp_path / "url").write_text(f"{url}\n")

    storage = load({"storage": {"url_file": str(tmp_path / "url")}}).storage

    assert storage is not None
    assert storage.url == Secret(url)


def test_without_a_file_completions_are_stored_in_the_data_directory() -> None:
    assert load_config({}).storage == Storage(data_dir="data")
    assert load_config({"PARLEY_DATA_DIR": "/var/lib/parley"}).storage == Storage(data_dir="/var/lib/parley")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ([], ": Expected `object`, got `array`"),
        ({"dir": "x"}, ": Object contains unknown field `dir`"),
        ({"data_dir": ""}, ".data_dir: expected a folder"),
        ({"data_dir": "a\0b"}, ".data_dir: expected a folder"),
        ({"policy": "x"}, ".policy: Invalid enum value 'x', expected `required` or `best_effort`"),
        ({"retention_days": 0}, ".retention_days: Expected `float` > 0.0"),
        ({"commit_timeout_s": 0}, ".commit_timeout_s: Expected `float` > 0.0"),
        ({"url": POSTGRES}, ".url: a secret can't stand in the file: name `url_env` or `url_file` instead"),
        ({"url_env": "NONE"}, ".url_env: the environment variable NONE is not set"),
        ({"url_env": POSTGRES}, ".url_env: expected the name of an environment variable, such as OPENAI_API_KEY"),
        ({"url_env": "DB", "url_file": "x"}, ": give `url_env` or `url_file`, not both"),
        ({"url_file": "/none"}, ".url_file: /none can't be read"),
        (
            {"url_env": "DB", "data_dir": "data"},
            ".data_dir: only for SQLite; leave it out, or the URL of PostgreSQL",
        ),
    ],
)
def test_what_is_wrong_with_storage_is_told_by_its_path(load: Load, section: object, message: str) -> None:
    assert message_of(load, {"storage": section}, DB=POSTGRES) == f"storage{message}"


@pytest.mark.parametrize(
    "url",
    [
        CANARY,
        f"mysql://u:{CANARY}@db/parley",
        f"postgresql+asyncpg://u:{CANARY}@db/parley",
        f"postgresql:///parley?password={CANARY}",
        f"postgresql://u:{CANARY}@/parley",
        f"postgresql://u:{CANARY}@db:port/parley",
        f"postgresql://u:{CANARY}@db:99999/parley",
        f"postgresql://u:{CANARY}@[::1/parley",
        f"postgresql://u:{CANARY}#@db/parley",
    ],
)
def test_a_url_of_another_database_is_refused_and_not_told(load: Load, url: str) -> None:
    message = message_of(load, {"storage": {"url_env": "DB"}}, DB=url)

    assert message == "storage.url_env: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
