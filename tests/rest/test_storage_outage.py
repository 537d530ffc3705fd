"""The service before a database that goes away, and comes back: what is answered meanwhile, and what is stored."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import stack_config
from tests.support.faces import FACES, Face, ask
from tests.support.health import health_stub
from tests.support.json_form import to_proto
from tests.support.postgres import Postgres, running_postgres
from tests.support.stack import Stack, running, wait_for
from tests.support.storing import AUTH, Load, body, listed, loaded
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk

RECOVERY_S = 30.0
"""A look at the database every 2 s, where the machine does something else as well."""
KINDS = ["sqlite", "postgresql"]


class Database(Protocol):
    """A database that can be taken away."""

    section: dict[str, Any]
    environ: dict[str, str]

    def away(self) -> Any:
        """Have it not be there within the block."""


class Sqlite:
    """A folder that something else takes the place of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        self.section = {"data_dir": str(self.folder), "commit_timeout_s": 1}
        self.environ = {"PARLEY_DATA_DIR": str(self.folder)}

    @contextmanager
    def away(self) -> Iterator[None]:
        moved = self.folder.with_name("moved")
        if self.folder.exists():
            self.folder.rename(moved)
        self.folder.write_text("no folder")
        try:
            yield
        finally:
            self.folder.unlink()
            if moved.exists():
                moved.rename(self.folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """As another process does that writes for long."""
        with closing(sqlite3.connect(self.folder / "parley.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield


class Postgresql:
    """A server that is stopped."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self.section = {"url_env": "STORE_URL", "commit_timeout_s": 1}
        self.environ = {"STORE_URL": server.new_database()}

    @contextmanager
    def away(self) -> Iterator[None]:
        self.server.stop()
        try:
            yield
        finally:
            self.server.start()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


def database_of(kind: str, folder: Path, postgres: Postgres) -> Sqlite | Postgresql:
    return Sqlite(folder) if kind == "sqlite" else Postgresql(postgres)


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres) -> Database:
    """Of the test's own, and empty."""
    return database_of(request.param, tmp_path, postgres)


@pytest.fixture(scope="module", params=KINDS)
def shared(
    request: pytest.FixtureRequest, upstream: FakeUpstream, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, Database]]:
    """A service and Envoy; every test gives the database back."""
    folder = tmp_path_factory.mktemp(request.param)
    database = database_of(request.param, folder, postgres)
    with serving(upstream, database, folder) as stack:
        yield stack, database


@contextmanager
def serving(
    upstream: FakeUpstream, database: Database, folder: Path, *, gateway: bool = True, **storage: Any
) -> Iterator[Stack]:
    config = {**stack_config(upstream), "storage": database.section | storage}
    with running(config, folder, gateway=gateway, environ=database.environ) as stack:
        yield stack


def stores(stack: Stack, face: Face = "grpc") -> bool:
    return ask(stack, face, body(store=True)).failure is None


def become_known_as_down(stack: Stack) -> None:
    """The first call that is to be stored finds it out, or its writing does after it."""
    with stack.chat() as stub:
        wait_for(lambda: not _lists(stub), RECOVERY_S)


def _lists(stub: ChatServiceStub) -> bool:
    try:
        listed(stub)
    except grpc.RpcError:
        return False
    return True


def test_while_it_is_away_only_what_needs_it_fails_and_before_a_provider_is_asked(
    shared: tuple[Stack, Database], upstream: FakeUpstream
) -> None:
    stack, database = shared
    wait_for(lambda: stores(stack), RECOVERY_S)
    with stack.chat() as stub:
        before = listed(stub)
    with database.away():
        stores(stack)
        become_known_as_down(stack)
        with upstream.scripted(Script(body=completion())) as script:
            for face in FACES:
                for stream in (False, True):
                    refused = ask(stack, face, body(store=True, stream=stream, user=script.user))
                    assert refused.failure is not None
                    assert refused.failure.http_status == 503
                    assert refused.failure.code == "storage_unavailable"
                    assert refused.metadata["retry-after"] == "1"
                    assert refused.chunks == []
            assert script.received == []
        for face in FACES:
            for stream in (False, True):
                answer = ask(stack, face, body("all is well", stream=stream))
                assert (answer.text(), answer.is_done) == ("all is well", True)
        _check_health(stack)
        reading = httpx.get(f"{stack.url}/v1/chat/completions", headers=dict(AUTH), timeout=30)
        assert (reading.status_code, reading.headers["retry-after"]) == (503, "1")
        assert "x-should-retry" not in reading.headers or reading.headers["x-should-retry"] == "true"
        _check_retry_info(stack)
    wait_for(lambda: stores(stack, "rest"), RECOVERY_S)
    with stack.chat() as stub:
        assert listed(stub)[: len(before)] == before


def _check_health(stack: Stack) -> None:
    for path in ("readyz", "healthz"):
        assert httpx.get(f"{stack.url}/{path}", timeout=30).status_code == 200
    _check_serving(stack)


def _check_serving(stack: Stack) -> None:
    with stack.channel() as channel:
        told = health_stub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert told.status == health_pb2.HealthCheckResponse.SERVING


def _check_retry_info(stack: Stack) -> None:
    with stack.chat() as stub, pytest.raises(grpc.RpcError) as caught:
        stub.CreateChatCompletion(to_proto(body(store=True)), metadata=AUTH, timeout=30)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    retry = RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToSeconds() == 1


def test_an_answer_that_had_begun_ends_in_an_error(shared: tuple[Stack, Database], upstream: FakeUpstream) -> None:
    stack, database = shared
    wait_for(lambda: stores(stack), RECOVERY_S)
    faces: tuple[Face, Face] = ("rest", "grpc")
    with ExitStack() as opened:
        scripts = [opened.enter_context(upstream.scripted(_halting())) for _ in faces]
        pool = opened.enter_context(ThreadPoolExecutor())
        requests = [body(store=True, stream=True, user=script.user) for script in scripts]
        rest, direct = (pool.submit(ask, stack, face, request) for face, request in zip(faces, requests, strict=True))
        for script in scripts:
            assert script.began.wait(30)
        opened.enter_context(database.away())
        for script in scripts:
            script.gates[1].set()
        for stream in (rest.result(60), direct.result(60)):
            assert stream.text() == "Hello you"  # what had come has come
            assert stream.failure is not None
            assert (stream.failure.code, stream.is_done) == ("storage_unavailable", False)
    wait_for(lambda: stores(stack), RECOVERY_S)


def _halting() -> Script:
    events = [chunk("Hello"), chunk(" you"), chunk(finish="stop"), usage_chunk()]
    return Script(events=events, gates={1: threading.Event()})


def test_a_unary_answer_that_cannot_be_stored_any_more_is_not_given(
    shared: tuple[Stack, Database], upstream: FakeUpstream
) -> None:
    stack, database = shared
    wait_for(lambda: stores(stack), RECOVERY_S)
    with database.away(), upstream.scripted(Script(body=completion())) as script:  # nobody has noticed yet
        answer = ask(stack, "rest", body(store=True, user=script.user))
        assert answer.failure is not None
        assert (answer.failure.http_status, answer.failure.code) == (503, "storage_unavailable")
        assert len(script.received) == 1
    wait_for(lambda: stores(stack), RECOVERY_S)


def test_calls_go_on_through_outages_and_whoever_has_an_answer_has_it_stored(
    shared: tuple[Stack, Database],
) -> None:
    stack, database = shared
    wait_for(lambda: stores(stack), RECOVERY_S)
    with loaded(stack) as load:
        for _ in range(2):
            load.wait_for_answers(30)
            with database.away():
                load.wait_for_failures(10)
        load.wait_for_answers(30)
    assert set(load.codes) == {"storage_unavailable"}
    with stack.chat() as stub:
        check_stored(stub, load)


def check_stored(stub: ChatServiceStub, load: Load) -> None:
    """What was answered is stored, and nothing twice."""
    found = listed(stub)
    assert len({each.id for each in found}) == len(found)
    numbers = [each.metadata["number"] for each in found if each.metadata.get("load") == load.name]
    assert len(set(numbers)) == len(numbers)
    stored = {each.id: each.choices[0].message.content for each in found if each.status == "completed"}
    assert {name: stored.get(name) for name in load.texts} == load.texts


def test_sqlite_that_another_process_holds_for_long(upstream: FakeUpstream, tmp_path: Path) -> None:
    database = Sqlite(tmp_path)
    with serving(upstream, database, tmp_path, gateway=False) as stack:
        wait_for(lambda: stores(stack), RECOVERY_S)
        with database.locked():
            late = ask(stack, "grpc", body(store=True))
            assert late.failure is not None
            assert late.failure.code == "storage_unavailable"
            assert ask(stack, "grpc", body()).is_done
            become_known_as_down(stack)
        wait_for(lambda: stores(stack), RECOVERY_S)


def test_best_effort_answers_and_stores_what_it_can(database: Database, upstream: FakeUpstream, tmp_path: Path) -> None:
    with serving(upstream, database, tmp_path, gateway=False, policy="best_effort") as stack:
        wait_for(lambda: stores(stack), RECOVERY_S)
        with database.away():
            answers = [ask(stack, "grpc", body("kept", store=True, stream=stream)) for stream in (False, True)]
            assert [(answer.text(), answer.is_done) for answer in answers] == [("kept", True)] * 2
            become_known_as_down(stack)
            told = ask(stack, "grpc", body(store=True))
            assert told.is_done
            assert stack.calls(told.metadata["x-request-id"])[0]["stored"] is False
        with stack.chat() as stub:
            wait_for(lambda: _lists(stub), RECOVERY_S)
            # There was room for those that were made meanwhile.
            wait_for(lambda: sum(each.choices[0].message.content == "kept" for each in listed(stub)) == 2)
        told = ask(stack, "grpc", body(store=True))
        assert stack.calls(told.metadata["x-request-id"])[0]["stored"] is True


def test_best_effort_tells_how_many_were_lost(upstream: FakeUpstream, tmp_path: Path) -> None:
    database = Sqlite(tmp_path)
    with database.away():
        with serving(upstream, database, tmp_path, gateway=False, policy="best_effort") as stack:
            assert [stores(stack) for _ in range(3)] == [True] * 3
        lost = [line["message"] for line in stack.service.json_lines("log") if "could not be stored" in line["message"]]
        assert lost[-1:] == ["storage: 3 completions could not be stored since the start"]


def test_the_service_starts_before_its_database(database: Database, upstream: FakeUpstream, tmp_path: Path) -> None:
    with ExitStack() as opened:
        outage = ExitStack()
        opened.enter_context(outage)
        outage.enter_context(database.away())
        stack = opened.enter_context(serving(upstream, database, tmp_path, gateway=False))
        _check_serving(stack)
        assert ask(stack, "grpc", body()).is_done
        refused = ask(stack, "grpc", body(store=True))
        assert refused.failure is not None
        assert refused.failure.code == "storage_unavailable"
        outage.close()
        wait_for(lambda: stores(stack), RECOVERY_S)


def test_a_folder_that_cannot_be_made_is_an_outage(upstream: FakeUpstream, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    database = Sqlite(tmp_path / "file")
    with serving(upstream, database, tmp_path, gateway=False) as stack:
        assert ask(stack, "grpc", body()).is_done
        assert not stores(stack)
        told = [line["message"] for line in stack.service.json_lines("log") if line["message"].startswith("storage:")]
        assert told == ["storage: the database is not available: NotADirectoryError ENOTDIR"]


@pytest.mark.timeout(180)  # ten services; 20 s where nothing else runs
def test_ten_services_start_at_once_and_each_lists_what_another_stored(
    database: Database, upstream: FakeUpstream, tmp_path: Path
) -> None:
    with ExitStack() as opened, ThreadPoolExecutor(10) as pool:
        folders = [tmp_path / str(number) for number in range(10)]
        for folder in folders:
            folder.mkdir()
        starts = [serving(upstream, database, folder, gateway=False, commit_timeout_s=30) for folder in folders]
        stacks = list(pool.map(opened.enter_context, starts))
        answers = list(pool.map(lambda stack: ask(stack, "grpc", body(store=True)), stacks))
        assert [answer.failure for answer in answers] == [None] * 10
        ids = {str((answer.answer or {})["id"]) for answer in answers}
        for stack in stacks:
            with stack.chat() as stub:
                assert {each.id for each in listed(stub)} == ids


@pytest.mark.parametrize("signal_to", ["end", "reload"])
def test_a_signal_amid_calls_loses_nothing(
    database: Database, upstream: FakeUpstream, tmp_path: Path, signal_to: str
) -> None:
    with serving(upstream, database, tmp_path, gateway=False) as stack:
        wait_for(lambda: stores(stack), RECOVERY_S)
        with loaded(stack, faces=["grpc"]) as load:
            load.wait_for_answers(30)
            if signal_to == "end":
                stack.service.process.terminate()
                assert stack.service.process.wait(30) == 0
            else:
                _reload(stack, tmp_path)
                load.wait_for_answers(30)
    with serving(upstream, database, tmp_path, gateway=False) as stack, stack.chat() as stub:
        check_stored(stub, load)
    assert set(load.codes) <= {"shutting_down", "unreachable"}
    if signal_to == "reload":
        assert not load.codes


def _reload(stack: Stack, folder: Path) -> None:
    file = folder / "parley.yaml"
    file.write_text(file.read_text().replace("commit_timeout_s: 1", "commit_timeout_s: 2"))
    wait_for(lambda: _has_logged(stack, "took the configuration anew"), RECOVERY_S)
    assert _has_logged(stack, "storage has changed in the file: it takes effect when the service is started anew")


def _has_logged(stack: Stack, text: str) -> bool:
    return any(line["message"].startswith(text) for line in stack.service.json_lines("log"))


@contextmanager
def held(database: Sqlite | Postgresql) -> Iterator[None]:
    """Have it take nothing, and break no connection."""
    with database.locked() if isinstance(database, Sqlite) else database.server.held():
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_waits_for_a_commit(kind: str, upstream: FakeUpstream, tmp_path: Path, postgres: Postgres) -> None:
    database = database_of(kind, tmp_path, postgres)
    with (
        serving(upstream, database, tmp_path, gateway=False, commit_timeout_s=30) as stack,
        ThreadPoolExecutor() as pool,
        upstream.scripted(Script(body=completion())) as script,
    ):
        wait_for(lambda: stores(stack), RECOVERY_S)
        with held(database):
            answer = pool.submit(ask, stack, "grpc", body(store=True, user=script.user))
            assert script.began.wait(30)
            stack.service.process.terminate()
            wait_for(lambda: _has_logged(stack, "draining"))
            assert not answer.done()
        name = (answer.result(60).answer or {}).get("id")
        assert stack.service.process.wait(30) == 0
    with serving(upstream, database, tmp_path, gateway=False) as stack, stack.chat() as stub:
        assert name in [each.id for each in listed(stub)]


@pytest.mark.parametrize(
    ("outage", "policy"),
    [
        ("sqlite away", "required"),
        ("sqlite held", "required"),
        ("sqlite away", "best_effort"),
        ("postgresql away", "best_effort"),
        ("postgresql held", "required"),
    ],
)
def test_the_service_ends_in_time_without_its_database(
    outage: str, policy: str, upstream: FakeUpstream, tmp_path: Path, postgres: Postgres
) -> None:
    kind, how = outage.split()
    database = database_of(kind, tmp_path, postgres)
    with serving(upstream, database, tmp_path, gateway=False, policy=policy) as stack:
        wait_for(lambda: stores(stack), RECOVERY_S)
        with held(database) if how == "held" else database.away():
            assert stores(stack) == (policy == "best_effort")
            stack.service.process.terminate()
            assert stack.service.process.wait(30) == 0
        assert not _has_logged(stack, "Task exception")


def _answers(stub: ChatServiceStub, asked: dict[str, Any]) -> bool:
    try:
        stub.CreateChatCompletion(to_proto(asked), timeout=60)
    except grpc.RpcError:  # the model is being loaded
        return False
    return True


def test_without_a_configuration_the_embedded_default_stores(tmp_path: Path, upstream: FakeUpstream) -> None:
    folder = tmp_path / "of the data"
    environ = {"PARLEY_CONFIG": "", "PARLEY_DATA_DIR": str(folder)}
    with running({}, tmp_path, gateway=False, environ=environ) as stack, stack.chat() as stub:
        asked = {"model": "smollm2", "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}], "store": True}
        wait_for(lambda: _answers(stub, {**asked, "store": False}), 60)
        answer = stub.CreateChatCompletion(to_proto(asked), timeout=60)
        assert [each.id for each in listed(stub)] == [answer.id]
    assert (folder / "parley.db").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
