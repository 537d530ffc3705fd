"""A key that stands in a file: replaced while the service runs, and never lost to a bad file."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from service import config, key_file
from service.errors import ConfigError
from service.key_file import KeyFile
from service.provider_factory import http_provider
from service.providers.http import HttpChatProvider
from service.secret_reading import read_key_file
from service.settings import Secret


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_file, "_LOOK_AFTER_S", 0.0)


def opened(path: Path, key: str) -> KeyFile:
    path.write_text(key)
    return KeyFile(path, key, lambda file: read_key_file(file).reveal())


def test_a_new_key_is_taken_from_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = opened(tmp_path / "key", "first")
    assert file.current() == "first"

    (tmp_path / "key").write_text("second\n")
    with caplog.at_level(logging.INFO):
        assert file.current() == "second"

    assert "took the key anew" in caplog.text
    assert "second" not in caplog.text


def test_a_mounted_secret_that_is_replaced_by_a_link_is_taken(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "key"
    link.symlink_to(tmp_path / "first")
    file = KeyFile(link, "first", lambda path: read_key_file(path).reveal())

    other = tmp_path / "other"
    other.symlink_to(tmp_path / "second")
    other.replace(link)

    assert file.current() == "second"


@pytest.mark.parametrize("content", [None, "", "  \n", "kéy", b"\xff\xff"])
def test_a_file_without_a_key_leaves_the_last_one_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | bytes | None
) -> None:
    path = tmp_path / "key"
    file = opened(path, "first")
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    assert [file.current(), file.current()] == ["first", "first"]
    assert caplog.text.count("the last key stays") == 1

    path.write_text("second")
    assert file.current() == "second"


def test_between_two_looks_the_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(tmp_path / "key", "first")
    monkeypatch.setattr(key_file, "_LOOK_AFTER_S", 60.0)
    (tmp_path / "key").write_text("second")

    assert file.current() == "first"


@pytest.mark.parametrize(
    ("section", "header", "value"),
    [
        (config.OpenAIProvider(dialect="openai"), "authorization", "Bearer {}"),
        (config.OpenAIProvider(dialect="azure", base_url="https://x.openai.azure.com"), "api-key", "{}"),
        (config.AnthropicProvider(), "x-api-key", "{}"),
        (config.GeminiProvider(), "x-goog-api-key", "{}"),
        (config.GeminiProvider(auth="bearer"), "authorization", "Bearer {}"),
        (config.CohereProvider(), "authorization", "Bearer {}"),
    ],
)
@pytest.mark.parametrize("from_file", [False, True])
async def test_each_provider_is_sent_its_key_in_its_own_header(
    tmp_path: Path,
    section: config.HttpProviderConfig,
    header: str,
    value: str,
    from_file: bool,  # noqa: FBT001 - a column of the table
) -> None:
    path = tmp_path / "key"
    path.write_text("first")
    with_key = msgspec.structs.replace(section, api_key=Secret("first"), api_key_file=str(path) if from_file else None)
    async with AsyncExitStack() as stack:
        provider = http_provider("p", with_key, stack)
        assert isinstance(provider, HttpChatProvider)
        assert provider._endpoint()[1][header] == value.format("first")
        path.write_text("second")
        assert provider._endpoint()[1][header] == value.format("second" if from_file else "first")


async def test_a_provider_without_a_key_is_sent_none() -> None:
    async with AsyncExitStack() as stack:
        provider = http_provider("p", config.OpenAIProvider(base_url="http://127.0.0.1:9/v1"), stack)
        assert isinstance(provider, HttpChatProvider)
        assert provider._endpoint()[1] == {}


def test_a_file_that_is_not_there_is_told_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        read_key_file(tmp_path / "none")
