"""A running service takes another configuration: what calls see of it, and what they don't."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import yaml
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.model_service_pb2 import GetModelRequest, ListModelsRequest
from service.health import CHAT_SERVICE
from tests.conftest import KEY, ONCE, stack_config
from tests.support.faces import grpc_failure
from tests.support.health import health_stub
from tests.support.json_form import to_proto
from tests.support.stack import Stack, running, wait_for
from tests.support.upstream import FakeUpstream, Script, chunk, usage_chunk
from tests.support.watching import Holds, holds, settled

METADATA = (("x-api-key", KEY),)
OTHER_KEY = "test-key-of-team-b"
TAKEN = "took the configuration anew: "
REFUSED = "the new configuration can't be used, the last one stays in force: "


@dataclass
class Running:
    """A service, and the file of its configuration."""

    stack: Stack
    file: Path
    config: dict[str, Any]

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.stack.service.process.pid)

    def messages(self, beginning: str, level: str = "info") -> list[str]:
        lines = self.stack.service.json_lines("log")
        return [line["message"] for line in lines if line["level"] == level and line["message"].startswith(beginning)]

    def write(self, config: dict[str, Any] | str) -> None:
        """Put another file in the place of the one that is there, in one step."""
        text = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)
        other = self.file.with_name("new.yaml")
        other.write_text(text)
        other.replace(self.file)

    def reload(self, config: dict[str, Any] | str, told: str = TAKEN, level: str = "info") -> str:
        """Have the service read `config` now; what it tells of it."""
        before = len(self.messages(told, level))
        self.write(config)
        self.stack.service.process.send_signal(signal.SIGHUP)
        return wait_for(lambda: self.messages(told, level)[before:])[0].removeprefix(told)

    def with_models(self, **models: Any) -> dict[str, Any]:
        return {**self.config, "models": {**self.config["models"], **models}}

    def answer(self, model: str = "echo", key: str = KEY, **fields: Any) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}
        with self.stack.chat() as chat:
            answer = chat.CreateChatCompletion(to_proto(body), metadata=(("x-api-key", key),), timeout=20)
        return str(answer.choices[0].message.content)

    def failure(self, **fields: Any) -> str | None:
        with pytest.raises(grpc.RpcError) as caught:
            self.answer(**fields)
        return grpc_failure(caught.value).code


@contextmanager
def started(config: dict[str, Any], folder: Path, *, watched: bool = False) -> Iterator[Running]:
    with running(config, folder, gateway=False, watched=watched) as stack:
        yield Running(stack, folder / "parley.yaml", config)


@pytest.fixture
def service(upstream: FakeUpstream, tmp_path: Path) -> Iterator[Running]:
    with started(stack_config(upstream), tmp_path) as service:
        yield service


def _request(script: Script, model: str = "echo") -> ChatCompletionRequest:
    return to_proto({"model": model, "messages": [{"role": "user", "content": "x"}], "user": script.user})


def _held(script: Script) -> threading.Event:
    """Holds the script's stream back before its last event."""
    gate = threading.Event()
    script.events = [chunk("a"), chunk("b"), chunk(finish="stop")]
    script.gates = {1: gate}
    return gate


def test_a_model_is_added_while_a_stream_runs(service: Running, upstream: FakeUpstream) -> None:
    script = Script()
    gate = _held(script)
    with upstream.scripted(script), service.stack.chat() as chat:
        chunks = chat.StreamChatCompletion(_request(script), metadata=METADATA, timeout=30)
        next(chunks)
        assert service.failure(model="new") == "model_not_found"

        told = service.reload(service.with_models(new={"targets": [{"provider": "scripted", "model": "n"}]}))

        assert told == "models added: new"
        assert service.answer("new") == "Hello"
        gate.set()
        assert [value.choices[0].delta.content for value in chunks] == ["a", "b", ""]


def test_a_stream_of_a_model_and_provider_that_are_removed_runs_to_its_end(
    service: Running, upstream: FakeUpstream
) -> None:
    script = Script()
    gate = _held(script)
    only = {
        "providers": {"other": service.config["providers"]["scripted"]},
        "models": {"new": {"targets": [{"provider": "other", "model": "n"}]}},
    }
    with upstream.scripted(script), service.stack.chat() as chat, service.stack.models() as models:
        chunks = chat.StreamChatCompletion(_request(script), metadata=METADATA, timeout=30)
        next(chunks)

        told = service.reload({**service.config, **only})

        assert told.startswith(
            "providers added: other; providers removed: dead, impatient, scripted; models added: new;"
        )
        assert service.failure(model="echo") == "model_not_found"
        assert [model.id for model in models.ListModels(ListModelsRequest(), metadata=METADATA).data] == ["new"]
        gate.set()
        assert [value.choices[0].delta.content for value in chunks] == ["a", "b", ""]
        assert chunks.code() == grpc.StatusCode.OK
        # The connections of the provider that is gone are closed with its last call.
        port = int(upstream.base_url.split(":")[2].split("/")[0])
        wait_for(lambda: not _connections(service.process, port))
        assert service.answer("new") == "Hello"


def _connections(process: psutil.Process, port: int) -> list[Any]:
    return [each for each in process.net_connections("tcp") if each.raddr[1:] == (port,)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("models: [", "{file}: no valid YAML at line 1: "),
        ("", "models: at least one model is needed"),
        ({"models": {}}, "models: at least one model is needed"),
        ({"models": {"m": {"targets": [{"provider": "gone", "model": "x"}]}}}, "models.m.targets[0].provider: there is no"),
        ({"providers": {"p": {"kind": "openai", "api_key": "sk-c4n4ry"}}}, "providers.p.api_key: a secret can't stand in"),
        ({"auth": {"keys": []}}, "auth.keys: callers need a key"),
        ({"auth": {"allow_open": True, "keys": [{"name": "a", "sha256": "sk-c4n4ry"}]}}, "auth.keys[0].sha256: expected"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_and_the_last_stays_in_force(
    service: Running, change: dict[str, Any] | str, message: str
) -> None:
    told = service.reload(change if isinstance(change, str) else service.config | change, REFUSED, "error")

    assert told.startswith(message.format(file=service.file))
    assert not any("c4n4ry" in line for line in service.stack.service.lines)
    assert service.answer() == "Hello"
    assert service.reload(service.config) == "nothing that is served has changed"


def test_a_file_of_certificates_that_cant_be_used_is_refused(service: Running, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    providers = {**service.config["providers"], "p": {"kind": "anthropic", "ca_file": str(tmp_path / "no.pem")}}

    told = service.reload({**service.config, "providers": providers}, REFUSED, "error")

    assert told.startswith("providers.p.ca_file: can't be used")


def test_keys_are_exchanged(service: Running) -> None:
    digest = hashlib.sha256(OTHER_KEY.encode()).hexdigest()
    both = [*service.config["auth"]["keys"], {"name": "team-b", "sha256": digest}]
    assert service.failure(key=OTHER_KEY) == "invalid_api_key"

    assert service.reload({**service.config, "auth": {"keys": both}}) == "keys added: team-b"
    assert (service.answer(), service.answer(key=OTHER_KEY)) == ("Hello", "Hello")

    assert service.reload({**service.config, "auth": {"keys": both[1:]}}) == "keys removed: team-a"
    assert (service.failure(), service.answer(key=OTHER_KEY)) == ("invalid_api_key", "Hello")
    wait_for(lambda: service.stack.service.json_lines("call")[-1]["key"] == "team-b")


def test_projects_and_what_keys_see_of_them_are_exchanged(service: Running) -> None:
    one, two = ({"default_model": "a", "models": {"a": model}} for model in ("echo", "org/echo"))
    key = service.config["auth"]["keys"][0]
    assert service.failure(model="support") == "model_not_found"

    config = {**service.config, "projects": {"support": one}}
    assert service.reload(config) == "projects added: support"
    assert (service.answer("support"), service.answer("echo")) == ("Hello", "Hello")

    config |= {"projects": {"support": two, "sales": one}, "auth": {"keys": [{**key, "projects": ["sales"]}]}}
    assert service.reload(config) == f"projects added: sales; projects changed: support; keys changed: {key['name']}"
    assert service.answer("sales") == "Hello"
    assert (service.failure(model="support"), service.failure(model="echo")) == ("model_not_found", "model_not_found")

    told = service.reload({**config, "projects": {"support": two}}, REFUSED, "error")
    assert told == "auth.keys[0].projects[0]: there is no project 'sales' (configured: support)"
    assert service.answer("sales") == "Hello"


def test_a_changed_file_is_taken_without_a_signal(service: Running) -> None:
    service.write(service.with_models(new={"targets": [{"provider": "scripted", "model": "n"}]}))

    wait_for(lambda: service.messages(TAKEN))
    assert service.answer("new") == "Hello"


def test_addresses_need_a_new_start_and_the_rest_is_taken(service: Running) -> None:
    server = {"grpc_address": "127.0.0.1:1", "sse_keepalive_s": 3, "drain_grace_s": 0.2}
    # The address of the environment stands over the file's, so that the file's is no change.
    told = service.reload({**service.with_models(new=service.config["models"]["echo"]), "server": server})

    assert told == "models added: new"
    assert service.messages("server.", "warning") == [
        "server.sse_keepalive_s has changed in the file: it takes effect when the service is started anew"
    ]
    assert service.answer("new") == "Hello"


def test_the_new_grace_period_counts(service: Running, upstream: FakeUpstream) -> None:
    script = Script(events=[chunk("a")], ending="hang")
    service.reload({**service.config, "server": {"drain_grace_s": 0.2}})
    with upstream.scripted(script), service.stack.chat() as chat:
        chunks = chat.StreamChatCompletion(_request(script), metadata=METADATA, timeout=60)
        next(chunks)
        service.stack.service.process.terminate()
        with pytest.raises(grpc.RpcError) as caught:
            list(chunks)

    assert grpc_failure(caught.value).code == "shutting_down"
    assert service.stack.service.process.wait(10) == 0


def test_without_a_file_a_hangup_changes_nothing(tmp_path: Path) -> None:
    with running({}, tmp_path, gateway=False, environ={"PARLEY_CONFIG": ""}) as stack:
        service = Running(stack, tmp_path, {})
        stack.service.process.send_signal(signal.SIGHUP)

        wait_for(lambda: service.messages("there is no configuration to reload", "warning"))
        assert stack.service.process.poll() is None


def test_a_call_never_fails_of_a_reload(service: Running, upstream: FakeUpstream) -> None:
    stop, numbers = threading.Event(), count()

    def call(kind: int) -> int:
        calls = 0
        with service.stack.chat() as chat:
            while not stop.is_set():
                text = f"Hello from {next(numbers)} to you"
                request = to_proto({"model": "echo", "messages": [{"role": "user", "content": text}]})
                if kind % 2:
                    answer = (
                        chat.CreateChatCompletion(request, metadata=METADATA, timeout=20).choices[0].message.content
                    )
                else:
                    chunks = chat.StreamChatCompletion(request, metadata=METADATA, timeout=20)
                    answer = "".join(each.choices[0].delta.content for each in chunks if each.choices)
                assert answer == text
                calls += 1
        return calls

    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(call, kind) for kind in range(6)]
        try:
            for number in range(20):
                provider = {**service.config["providers"]["scripted"], "headers": {"x-number": str(number)}}
                providers = {**service.config["providers"], "scripted": provider}
                assert "providers changed: scripted" in service.reload({**service.config, "providers": providers})
        finally:
            stop.set()
        done = [each.result(30) for each in calls]

    assert min(done) > 0
    assert sum(done) > 20


def test_an_answer_that_is_read_on_for_its_usage_outlives_its_provider(
    service: Running, upstream: FakeUpstream
) -> None:
    script = Script()
    gate = _held(script)
    assert script.events is not None
    script.events.append(usage_chunk(7, 5))
    service.reload(service.with_models(drained={**service.config["models"]["echo"], "on_disconnect": "drain"}))
    with upstream.scripted(script), service.stack.chat() as chat:
        chunks = chat.StreamChatCompletion(_request(script, "drained"), metadata=METADATA, timeout=30)
        next(chunks)
        chunks.cancel()
        providers = {"other": service.config["providers"]["scripted"]}
        models = {"new": {"targets": [{"provider": "other", "model": "n"}]}}
        service.reload({**service.config, "providers": providers, "models": models})
        assert service.answer("new") == "Hello"
        gate.set()

        (call,) = wait_for(
            lambda: [call for call in service.stack.service.json_lines("call") if call.get("model") == "drained"]
        )
    assert (call["status"], call["tokens_out"], call.get("usage_estimated")) == ("CANCELLED", 5, None)
    assert not script.left.is_set()


def test_two_hundred_reloads_leave_nothing_behind(upstream: FakeUpstream, tmp_path: Path) -> None:
    config = stack_config(upstream)
    scripted = config["providers"]["scripted"]
    others = [
        {**config, "providers": {**config["providers"], "scripted": {**scripted, "headers": {"n": number}}}}
        for number in "ab"
    ]
    with started(config, tmp_path, watched=True) as service:
        part = service.stack.service
        for number in range(10):
            service.reload(others[number % 2])
            service.answer()
        before = holds(part, with_tasks=True)

        for number in range(200):
            service.reload(others[number % 2])
            if not number % 4:
                service.answer()
        service.answer()

        def is_as_before(now: Holds) -> bool:
            return now.tasks <= before.tasks and now.descriptors <= before.descriptors

        after = settled(part, is_as_before, with_tasks=True)
        assert after.tasks <= before.tasks  # one more could be on its way when they were counted before
        assert after.descriptors <= before.descriptors
        # 0.1 MiB was measured; the rest is room for noise.
        assert after.rss_mib - before.rss_mib < 10


def test_an_embedded_model_is_exchanged_once_the_new_one_is_ready(tmp_path: Path, upstream: FakeUpstream) -> None:
    config = stack_config(upstream)
    local = {"kind": "embedded", "context_tokens": 512, "slots": 1}
    config["providers"]["local"] = local
    config["models"] = {"m": {"targets": [{"provider": "local", "model": "smollm2-135m-instruct"}], **ONCE}}
    with started(config, tmp_path) as service, service.stack.channel() as channel:
        watched = health_stub(channel).Watch(HealthCheckRequest(), timeout=120)
        states = (answer.status for answer in watched)
        while next(states) != HealthCheckResponse.SERVING:
            pass
        (child,) = service.process.children()

        service.reload({**config, "providers": {**config["providers"], "dead": local}})
        assert child in service.process.children(), "it is configured as before"
        service.reload(config)
        providers = {**config["providers"], "local": {**local, "slots": 2}}
        assert service.reload({**config, "providers": providers}) == "providers changed: local; models changed: m"

        assert service.answer("m", max_tokens=3)
        wait_for(lambda: len(service.process.children()) == 1)
        assert child not in service.process.children()
        watched.cancel()
        assert not [state for state in _rest(states) if state != HealthCheckResponse.SERVING]


def _rest(states: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from states
    except grpc.RpcError:  # it was cancelled
        return


def test_an_embedded_model_that_cant_start_is_refused(service: Running, tmp_path: Path) -> None:
    """It would take two minutes to be sure; a call is answered meanwhile, and the end does not wait for it."""
    (tmp_path / "no.gguf").write_text("no model")
    local = {"kind": "embedded", "model_file": str(tmp_path / "no.gguf")}
    service.write({**service.config, "providers": {**service.config["providers"], "local": local}})
    service.stack.service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: service.messages("the embedded model failed", "error"))

    assert service.answer() == "Hello"
    assert service.messages(TAKEN) == []
    service.stack.service.process.terminate()
    assert service.stack.service.process.wait(10) == 0


def test_a_model_tells_how_its_targets_do(upstream: FakeUpstream, tmp_path: Path) -> None:
    config = stack_config(upstream)
    config["models"]["fallback"]["breaker"] = {"failures": 1, "open_s": 60}
    script = Script()
    gate = _held(script)
    with started(config, tmp_path) as service, service.stack.models() as models, service.stack.chat() as chat:

        def targets() -> list[tuple[str, str, str, int]]:
            told = models.GetModel(GetModelRequest(model="fallback"), metadata=METADATA).targets
            return [(each.provider, each.model, each.state, each.in_flight) for each in told]

        assert targets() == [("dead", "dead-1", "available", 0), ("scripted", "echo-1", "available", 0)]
        assert service.answer("fallback") == "Hello"
        with upstream.scripted(script):
            chunks = chat.StreamChatCompletion(_request(script, "fallback"), metadata=METADATA, timeout=30)
            next(chunks)
            assert targets() == [("dead", "dead-1", "unavailable", 0), ("scripted", "echo-1", "available", 1)]
            gate.set()
            list(chunks)
        wait_for(lambda: targets()[1][3] == 0)
        listed = models.ListModels(ListModelsRequest(), metadata=METADATA).data
        assert not any(model.targets for model in listed)


def test_readiness_follows_the_circuits_of_all_models(upstream: FakeUpstream, tmp_path: Path) -> None:
    config = stack_config(upstream)
    breaker = {"failures": 1, "open_s": 1.5}
    config["models"] = {
        name: {**config["models"][name], "breaker": breaker, "retries": {"max_attempts": 1}}
        for name in ("dead", "echo")
    }
    script = Script(status=500, body={"error": {"message": "no"}})
    with started(config, tmp_path) as service, service.stack.channel() as channel, upstream.scripted(script):
        watched = health_stub(channel).Watch(HealthCheckRequest(service=CHAT_SERVICE), timeout=60)
        states = (answer.status for answer in watched)
        assert next(states) == HealthCheckResponse.SERVING
        for fields in ({"user": script.user}, {"model": "dead"}):
            assert service.failure(**fields) == "upstream_unavailable"

        assert next(states) == HealthCheckResponse.NOT_SERVING
        assert next(states) == HealthCheckResponse.SERVING, "the first circuit's time is over"
        assert service.answer() == "Hello"
        watched.cancel()


def test_readiness_looks_at_the_new_configuration(upstream: FakeUpstream, tmp_path: Path) -> None:
    config = stack_config(upstream)
    config["models"] = {"dead": {**config["models"]["dead"], "breaker": {"failures": 1, "open_s": 60}}}
    with started(config, tmp_path) as service, service.stack.channel() as channel:
        watched = health_stub(channel).Watch(HealthCheckRequest(service=CHAT_SERVICE), timeout=60)
        states = (answer.status for answer in watched)
        assert next(states) == HealthCheckResponse.SERVING
        assert service.failure(model="dead") == "upstream_unavailable"
        assert next(states) == HealthCheckResponse.NOT_SERVING

        service.reload(service.with_models(echo={"targets": [{"provider": "scripted", "model": "echo-1"}]}))

        assert next(states) == HealthCheckResponse.SERVING
        watched.cancel()
