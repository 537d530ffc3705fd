"""The README, the example configuration and the example client say what is so."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc_testing
import msgspec
import pytest
import yaml

from examples.grpc_client import ask
from gateway.config import GatewaySection
from gateway.config import load_config as load_gateway_config
from service import config, limits, project_settings, telemetry_settings
from service._gen.parley.v1 import chat_service_pb2
from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service.providers.anthropic.reasoning import BUDGETS as ANTHROPIC_BUDGETS
from service.providers.gemini.reasoning import _BUDGETS as GEMINI_BUDGETS
from service.providers.gemini.reasoning import _LEVELS as GEMINI_LEVELS
from service.providers.openai.dialects import DIALECTS
from service.rpc.status import TABLE
from service.storage import settings as storage_settings
from service.telemetry import definitions as metrics
from tests.conftest import KEY
from tests.support.envoy import ROOT
from tests.support.stack import Stack, wait_for

README = (ROOT / "README.md").read_text("utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text("utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
PROVIDERS = (ROOT / "docs" / "providers.md").read_text("utf-8")
EXAMPLE = ROOT / "examples" / "parley.yaml"


def test_the_error_table_is_the_services() -> None:
    rows = re.findall(r"^\| ([A-Z_]+) \| ([A-Z_]+) \| (\d+) \| (\w+) \| (\w+) \|$", README, re.MULTILINE)

    assert [tuple(row) for row in rows] == [
        (reason.value, row.code.name, str(row.http_status), row.type, row.error_code) for reason, row in TABLE.items()
    ]


SECTIONS: dict[str, Any] = {
    "server": config.Server,
    "gateway": GatewaySection,
    "auth": config.Auth,
}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_configuration_table_has_every_key_with_its_default(section: str) -> None:
    rows = dict(re.findall(rf"^\| `{section}\.(\w+)` \| ([^|]+) \|", CONFIGURATION, re.MULTILINE))
    fields = msgspec.structs.fields(SECTIONS[section])

    assert set(rows) == {field.name for field in fields}
    for field in fields:
        if isinstance(field.default, str | int | float) and not isinstance(field.default, bool):
            assert rows[field.name].strip().strip("`") in {str(field.default), str(field.default).removesuffix(".0")}


@pytest.mark.parametrize(
    "kind",
    [
        config.OpenAIProvider,
        config.AnthropicProvider,
        config.GeminiProvider,
        config.CohereProvider,
        config.EmbeddedProvider,
    ],
)
def test_the_configuration_table_has_every_key_of_a_provider(kind: Any) -> None:
    for field in msgspec.structs.fields(kind):
        if field.name != "api_key":
            assert f"`….{field.name}`" in CONFIGURATION


def test_the_configuration_table_has_every_key_of_a_model() -> None:
    for field in msgspec.structs.fields(config.Model):
        assert f"| `models.ID.{field.name}` |" in CONFIGURATION


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("retries", limits.Retries),
        ("hedge", limits.Hedge),
        ("breaker", limits.Breaker),
        ("concurrency", limits.Concurrency),
        ("on_disconnect", limits.OnDisconnect),
    ],
)
def test_the_configuration_table_has_every_limit_with_its_default(name: str, section: Any) -> None:
    rows = dict(re.findall(rf"^\| `….{name}\.(\w+)` \| ([^|]+) \|", CONFIGURATION, re.MULTILINE))
    fields = msgspec.structs.fields(section)

    assert list(rows) == [field.name for field in fields]
    for field in fields:
        if field.default is not None:
            assert rows[field.name].strip().strip("`") == str(field.default).removesuffix(".0")


@pytest.mark.parametrize(
    ("beginning", "section", "elsewhere"),
    [
        ("storage.", storage_settings.Storage, {"url"}),
        ("projects.NAME.", project_settings.Project, set()),
        ("….system_prompt.", project_settings.SystemPrompt, set()),
        ("….tools.SERVER.", project_settings.ToolServer, {"api_key", "environment"}),
        ("….tool_limits.", project_settings.ToolLimits, set()),
        ("….campaigns.KEY.", project_settings.Campaign, set()),
        ("….arms.ARM.", project_settings.Arm, set()),
        ("….keys[].", config.Key, {"name", "sha256"}),
        ("telemetry.", telemetry_settings.Telemetry, set()),
        ("….otlp.", telemetry_settings.Otlp, {"headers"}),
        ("….metrics.", telemetry_settings.Metrics, set()),
        ("….traces.", telemetry_settings.Traces, set()),
    ],
)
def test_the_configuration_table_has_every_key_of_other_sections_with_its_default(
    beginning: str, section: Any, elsewhere: set[str]
) -> None:
    rows = re.findall(rf"^\| (`{re.escape(beginning)}[^|]+) \|([^|]*)\|", CONFIGURATION, re.MULTILINE)
    told = {name: default for names, default in rows for name in re.findall(r"(\w+)`", names)}
    fields = {field.name: field for field in msgspec.structs.fields(section)}

    assert set(told) == fields.keys() - elsewhere
    for name, default in told.items():
        value = fields[name].default
        if isinstance(value, str | bool | int | float):
            assert default.strip().strip("`") == str(value).lower().removesuffix(".0")


def test_the_short_example_is_taken_by_both_parts(tmp_path: Path) -> None:
    example = re.findall(r"```yaml\n(.+?)```", README, re.DOTALL)[0]
    key = tmp_path / "key"
    key.write_text("sk-1")
    file = tmp_path / "parley.yaml"
    file.write_text(example.replace("…", "0" * 64).replace("/run/secrets/anthropic", str(key)))

    loaded = config.load_config({"PARLEY_CONFIG": str(file), "OPENAI_API_KEY": "sk-2"})
    load_gateway_config({"PARLEY_CONFIG": str(file)})

    assert len(loaded.models["fast"].targets) == 2


def test_the_table_of_metrics_is_the_services() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \| ([^|]+) \|$", OPERATIONS, re.MULTILINE)

    assert [(name, kind, tuple(re.findall(r"\w+", labels)), told) for name, kind, labels, told in rows] == [
        (metric.name, metric.kind, metric.labels, metric.help) for metric in metrics.ALL
    ]


def test_every_alert_is_explained() -> None:
    rules = "".join(file.read_text("utf-8") for file in (ROOT / "deploy" / "observability" / "rules").glob("*.yaml"))
    links = set(re.findall(r"runbook_url: docs/operations.md#(\w+)", rules))

    assert len(links) > 20
    assert links == {name.lower() for name in re.findall(r"^### (Parley\w+)$", OPERATIONS, re.MULTILINE)}


def test_the_table_of_dialects_is_the_services() -> None:
    section = PROVIDERS.partition("\n## Dialects of OpenAI\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (?:`([^`|]+)` )?\|", section, re.MULTILINE)

    assert rows == [(name, dialect.base_url or "") for name, dialect in DIALECTS.items()]


def test_the_table_of_efforts_is_the_services() -> None:
    rows = dict(re.findall(r"^\| ([^|]+: `\w[\w.]+`|`reasoning_effort`) \| (.+) \|$", PROVIDERS, re.MULTILINE))
    table = {name: [cell.strip().replace(",", "") for cell in cells.split("|")] for name, cells in rows.items()}
    efforts = table["`reasoning_effort`"]

    budgets = {"none": "off"} | {effort: str(tokens) for effort, tokens in ANTHROPIC_BUDGETS.items()}
    assert table["Anthropic, models with a budget: `budget_tokens`"] == [budgets[effort] for effort in efforts]
    assert table["Gemini 2.5: `thinkingBudget`"] == [str(GEMINI_BUDGETS[effort]) for effort in efforts]
    assert table["Gemini 3 and later: `thinkingLevel`"] == [GEMINI_LEVELS.get(effort, "\u2013") for effort in efforts]


def test_the_configurations_on_the_page_of_providers_are_taken(tmp_path: Path) -> None:
    blocks = [
        yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", PROVIDERS, re.MULTILINE | re.DOTALL)
    ]
    merged = {"providers": blocks[0]["providers"], "models": blocks[0]["models"] | blocks[1]["models"]}
    file = tmp_path / "parley.yaml"
    file.write_text(yaml.safe_dump(merged))
    token = tmp_path / "token"
    token.write_text("ya29.test")
    file.write_text(file.read_text().replace("/run/secrets/vertex-token", str(token)))
    names = ["OPENAI_API_KEY", "AZURE_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "COHERE_API_KEY"]

    service = config.load_config({"PARLEY_CONFIG": str(file)} | dict.fromkeys(names, "sk-test"))

    known = service.models["my-model"].capabilities
    assert all(value is not None for name, value in msgspec.structs.asdict(known).items() if name != "mid_system")


def test_the_example_configuration_is_taken_by_both_parts(tmp_path: Path) -> None:
    key = tmp_path / "groq"
    key.write_text("sk-groq")
    file = tmp_path / "parley.yaml"
    file.write_text(EXAMPLE.read_text("utf-8").replace("/run/secrets/groq", str(key)))
    keys = dict.fromkeys(["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"], "sk-test")
    environ = {"PARLEY_CONFIG": str(file), **keys}

    service = config.load_config(environ)
    gateway = load_gateway_config(environ)

    assert list(service.models) == [
        *("smollm2", "gpt-4o", "openai/gpt-oss-120b", "claude-sonnet-4-5", "gemini-2.5-flash"),
    ]
    assert service.auth.keys[0].sha256 == hashlib.sha256(b"change-me").hexdigest()
    assert service.auth.keys[1].sha256 == hashlib.sha256(b"change-me-too").hexdigest()
    assert list(service.projects) == service.auth.keys[1].projects == ["support"]
    assert service.storage is not None
    assert (gateway.has_keys, gateway.first_model) == (True, "smollm2")
    sections = yaml.safe_load(file.read_text())
    assert set(sections) == {"server", "gateway", *(field.name for field in msgspec.structs.fields(config.Config))}


def test_the_example_client_prints_what_a_fake_channel_sends(capsys: pytest.CaptureFixture[str]) -> None:
    service = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"]
    channel = grpc_testing.channel([service], grpc_testing.strict_fake_time(0))
    chunks = [ChatCompletionChunk(id="x") for _ in range(3)]
    for chunk, text in zip(chunks, ("Paris", " it", " is."), strict=True):
        chunk.choices.add(index=0).delta.content = text

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, ChatServiceStub(channel), "Which?", (("x-api-key", "k"),))
        metadata, request, call = channel.take_unary_stream(service.methods_by_name["StreamChatCompletion"])
        call.send_initial_metadata(())
        for chunk in chunks:
            call.send_response(chunk)
        call.terminate((), grpc.StatusCode.OK, "")

        assert answer.result(10) == "Paris it is."
    assert ("x-api-key", "k") in metadata
    assert request.messages[0].content.string_value == "Which?"
    assert capsys.readouterr().out == "Paris it is.\n"


def test_the_example_client_runs_as_the_readme_says(stack: Stack) -> None:
    command = [sys.executable, "examples/grpc_client.py", stack.grpc_address, KEY]

    def answered() -> str:
        done = subprocess.run(
            command, cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0 or "starting" in done.stderr, done.stderr
        return done.stdout

    # The stack is ready before its embedded model is.
    assert "Paris" in wait_for(answered, 60)
    assert f"{command[1]}\n" in README


def test_the_example_client_tells_of_a_failure(stack: Stack) -> None:
    command = [sys.executable, "examples/grpc_client.py", stack.grpc_address, "wrong"]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (1, "UNAUTHENTICATED: The API key is not known here.\n")


def test_stubs_are_made_as_the_readme_says(tmp_path: Path) -> None:
    line = next(line for line in README.splitlines() if "grpc_tools.protoc" in line)
    arguments = line.removeprefix("python ").replace("=.", f"={tmp_path}").split()
    protos = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "protos").glob("parley/v1/*.proto"))
    subprocess.run([sys.executable, *arguments[:-1], *protos], cwd=ROOT, check=True, timeout=60)

    assert (tmp_path / "parley/v1/chat_service_pb2_grpc.py").exists()


def test_links_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = document.read_text("utf-8")
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", text):
            file = document.parent / target if target else document
            assert file.exists(), target
            assert not anchor or anchor in _anchors(file), f"{target}#{anchor}"


def _anchors(document: Path) -> set[str]:
    """The headings, as links name them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
