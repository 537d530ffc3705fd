"""When the configuration is read anew, and what of a bad one is told; the file and its reader alone."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from service.config import Config, load_config
from service.errors import ConfigError
from service.reload import ConfigFile, Reloader

OLD = "models: {a: {targets: [{provider: p, model: x}]}}\nproviders: {p: {kind: embedded}}\n"
NEW = OLD.replace("{a:", "{b:")


def opened(path: Path, content: str = OLD) -> ConfigFile:
    path.write_text(content)
    file = ConfigFile(path, lambda: load_config({"PARLEY_CONFIG": str(path)}))
    file.load()
    return file


def test_a_file_that_stays_as_it_is_has_not_changed(tmp_path: Path) -> None:
    file = opened(tmp_path / "c.yaml")

    assert [file.has_changed() for _ in range(3)] == [False, False, False]


def test_a_change_counts_once_it_was_seen_twice_and_until_it_is_read(tmp_path: Path) -> None:
    file = opened(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text(NEW)
    assert [file.has_changed() for _ in range(3)] == [False, True, True]

    assert list(file.load().models) == ["b"]
    assert [file.has_changed() for _ in range(2)] == [False, False]


def test_a_file_that_is_still_written_is_left_alone(tmp_path: Path) -> None:
    file = opened(tmp_path / "c.yaml")
    seen = []
    for length in (10, 20, 30, len(NEW)):
        (tmp_path / "c.yaml").write_text(NEW[:length])
        seen.append(file.has_changed())

    assert seen == [False, False, False, False]
    assert file.has_changed()


def _swap_link_of_the_folder(folder: Path) -> Path:
    """As Kubernetes mounts a ConfigMap: the file is a link into a folder that is a link as well."""
    for name, content in (("1", OLD), ("2", NEW)):
        (folder / name).mkdir()
        (folder / name / "c.yaml").write_text(content)
    (folder / "..data").symlink_to("1")
    (folder / "c.yaml").symlink_to("..data/c.yaml")
    return folder / "c.yaml"


def test_a_config_map_that_is_replaced_is_seen(tmp_path: Path) -> None:
    path = _swap_link_of_the_folder(tmp_path)
    file = ConfigFile(path, lambda: load_config({"PARLEY_CONFIG": str(path)}))
    assert list(file.load().models) == ["a"]

    (tmp_path / "..tmp").symlink_to("2")
    (tmp_path / "..tmp").replace(tmp_path / "..data")

    assert [file.has_changed(), file.has_changed()] == [False, True]
    assert list(file.load().models) == ["b"]


def test_another_file_in_its_place_is_seen_though_its_size_and_time_are_the_same(tmp_path: Path) -> None:
    file = opened(tmp_path / "c.yaml")
    found = (tmp_path / "c.yaml").stat()
    (tmp_path / "other").write_text(NEW)
    os.utime(tmp_path / "other", ns=(found.st_atime_ns, found.st_mtime_ns))
    (tmp_path / "other").replace(tmp_path / "c.yaml")

    assert [file.has_changed(), file.has_changed()] == [False, True]


def test_what_is_written_while_it_is_read_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(OLD)

    def read() -> Config:
        config = load_config({"PARLEY_CONFIG": str(path)})
        path.write_text(NEW + "\n")
        return config

    file = ConfigFile(path, read)
    file.load()

    assert [file.has_changed(), file.has_changed()] == [False, True]


class Adopting:
    """Takes configurations, or fails as it is told to."""

    def __init__(self) -> None:
        self.taken: list[list[str]] = []
        self.given_up: list[list[str]] = []
        self.error: Exception | None = None
        self.wait_for: asyncio.Event | None = None

    async def adopt(self, settings: Config) -> None:
        self.taken.append(list(settings.models))
        if self.wait_for is not None:
            try:
                await self.wait_for.wait()
            except asyncio.CancelledError:
                self.given_up.append(list(settings.models))
                raise
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def reloading(file: ConfigFile, adopting: Adopting, look_every_s: float = 0.01) -> AsyncIterator[Reloader]:
    reloader = Reloader(file, adopting.adopt, look_every_s)
    task = asyncio.create_task(reloader.run())
    try:
        yield reloader
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.001)


async def test_a_changed_file_is_adopted_without_being_asked_and_once(tmp_path: Path) -> None:
    adopting = Adopting()
    async with reloading(opened(tmp_path / "c.yaml"), adopting):
        (tmp_path / "c.yaml").write_text(NEW)
        await _until(lambda: bool(adopting.taken))
        await asyncio.sleep(0.1)  # for some further looks

    assert adopting.taken == [["b"]]


async def test_a_file_is_adopted_at_once_when_asked_even_if_it_is_as_it_was(tmp_path: Path) -> None:
    adopting = Adopting()
    async with reloading(opened(tmp_path / "c.yaml"), adopting, look_every_s=60) as reloader:
        reloader.ask()
        await _until(lambda: adopting.taken == [["a"]])
        (tmp_path / "c.yaml").write_text(NEW)
        reloader.ask()
        await _until(lambda: adopting.taken == [["a"], ["b"]])


async def test_a_bad_file_is_told_once_and_read_again_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adopting = Adopting()
    with caplog.at_level(logging.INFO, "service"):
        async with reloading(opened(tmp_path / "c.yaml"), adopting):
            (tmp_path / "c.yaml").write_text(NEW[:30])
            await _until(lambda: bool(caplog.records))
            await asyncio.sleep(0.1)  # for some further looks
            told = [(record.levelname, record.getMessage()) for record in caplog.records]
            (tmp_path / "c.yaml").write_text(NEW)
            await _until(lambda: adopting.taken == [["b"]])

    ((level, message),) = told
    assert level == "ERROR"
    assert message.startswith("the new configuration can't be used, the last one stays in force: ")
    assert "c.yaml: no valid YAML at line 1" in message


async def test_a_file_that_is_gone_is_told_once_and_taken_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adopting = Adopting()
    async with reloading(opened(tmp_path / "c.yaml"), adopting):
        (tmp_path / "c.yaml").unlink()
        await _until(lambda: bool(caplog.records))
        await asyncio.sleep(0.1)  # for some further looks
        assert len(caplog.records) == 1
        assert "can't be read" in caplog.text
        (tmp_path / "c.yaml").write_text(NEW)
        await _until(lambda: adopting.taken == [["b"]])


@pytest.mark.parametrize("error", [ConfigError("models.m: no"), RuntimeError("text of a fault")])
async def test_a_failure_to_adopt_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    adopting = Adopting()
    adopting.error = error
    async with reloading(opened(tmp_path / "c.yaml"), adopting, look_every_s=60) as reloader:
        reloader.ask()
        await _until(lambda: bool(caplog.records))
        adopting.error = None
        reloader.ask()
        await _until(lambda: len(adopting.taken) == 2)

    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "the last one stays in force" in record.getMessage()
    assert "text of a fault" not in record.getMessage()


async def test_one_that_is_still_waited_for_gives_way_to_a_newer_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An embedded model may take minutes to load, or never do it; a key may have to go meanwhile."""
    adopting = Adopting()
    adopting.wait_for = asyncio.Event()
    with caplog.at_level(logging.INFO, "service"):
        async with reloading(opened(tmp_path / "c.yaml"), adopting) as reloader:
            reloader.ask()
            await _until(lambda: adopting.taken == [["a"]])
            adopting.wait_for = None
            (tmp_path / "c.yaml").write_text(NEW)
            await _until(lambda: adopting.taken == [["a"], ["b"]])

    assert adopting.given_up == [["a"]]
    assert "the file has changed again" in caplog.text


async def test_one_that_is_waited_for_is_not_begun_anew_by_asking_again(tmp_path: Path) -> None:
    adopting = Adopting()
    adopting.wait_for = asyncio.Event()
    async with reloading(opened(tmp_path / "c.yaml"), adopting) as reloader:
        reloader.ask()
        await _until(lambda: len(adopting.taken) == 1)
        reloader.ask()
        await asyncio.sleep(0.1)  # for some looks
        assert len(adopting.taken) == 1
        adopting.wait_for.set()
        await _until(lambda: len(adopting.taken) == 2)

    assert adopting.given_up == []


async def test_the_end_gives_up_what_is_waited_for(tmp_path: Path) -> None:
    adopting = Adopting()
    adopting.wait_for = asyncio.Event()
    async with reloading(opened(tmp_path / "c.yaml"), adopting, look_every_s=60) as reloader:
        reloader.ask()
        await _until(lambda: len(adopting.taken) == 1)

    assert adopting.given_up == [["a"]]


def test_a_pipe_is_read_at_the_start_and_refused_later() -> None:
    """A shell's <(…) is one; to wait for what it never says again would keep the service from ending."""
    reading, writing = os.pipe()
    os.write(writing, OLD.encode())
    os.close(writing)
    path = Path(f"/dev/fd/{reading}")
    file = ConfigFile(path, lambda: load_config({"PARLEY_CONFIG": str(path)}))
    try:
        assert list(file.load().models) == ["a"]
        with pytest.raises(ConfigError, match="a pipe, which is read only as the service starts"):
            file.load()
    finally:
        os.close(reading)


async def test_without_a_file_there_is_nothing_to_reload(caplog: pytest.LogCaptureFixture) -> None:
    adopting = Adopting()
    file = ConfigFile(None, lambda: load_config({}))
    file.load()
    async with reloading(file, adopting, look_every_s=0.001) as reloader:
        await asyncio.sleep(0.05)  # for some looks
        assert caplog.records == []
        reloader.ask()
        await _until(lambda: bool(caplog.records))

    assert "PARLEY_CONFIG names no file" in caplog.text
    assert adopting.taken == []
