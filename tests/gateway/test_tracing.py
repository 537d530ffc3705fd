"""Spans of the gateway at a real receiver, and the context that callers and replicas see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
import yaml

from gateway.config import ConfigError, load_config
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.gateway.answers import CHAT
from tests.gateway.scratch import Gateway, Scratch, Service, running_gateway, wait_until, wait_until_ready
from tests.support.certificates import make_certificates
from tests.support.otlp import Receiver, receiving

PARENT = "00f067aa0ba902b7"
SECRETS = ("secret-of-a-query", "secret-id", "secret-key", "secret-prompt")


@dataclass(frozen=True)
class Traced:
    """A gateway that traces no call of its own accord, and who gets its spans."""

    gateway: Gateway
    receiver: Receiver

    @property
    def url(self) -> str:
        """The gateway's base URL."""
        return f"http://{self.gateway.address}"


def _config(folder: Path, receiver: Receiver, ratio: float) -> dict[str, str]:
    path = folder / "parley.yaml"
    path.write_text(yaml.safe_dump({"telemetry": {"otlp": _otlp(receiver), "traces": {"sample_ratio": ratio}}}))
    return {"PARLEY_CONFIG": str(path)}


def _otlp(receiver: Receiver) -> dict[str, str]:
    return {"endpoint": receiver.endpoint}


@pytest.fixture(scope="module")
def traced(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    with (
        receiving() as receiver,
        running_gateway(folder, service.address, **_config(folder, receiver, 0)) as gateway,
    ):
        wait_until_ready(gateway)
        yield Traced(gateway, receiver)


def _parent(trace_id: str, *, sampled: bool = True) -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-{PARENT}-0{int(sampled)}", "tracestate": "a=b"}


def _trace_id(number: int) -> str:
    return f"{number:032x}"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("request_id", [{}, {"x-request-id": "no-uuid"}])
def test_a_callers_trace_goes_on_to_the_service(
    traced: Traced, script: Scratch, request_id: dict[str, str], *, stream: bool
) -> None:
    trace_id = _trace_id(1 + 2 * bool(request_id) + stream)
    httpx.post(traced.url + CHAT, json={"stream": stream}, headers=_parent(trace_id) | request_id)
    server, client = traced.receiver.trace(trace_id, count=2)
    assert (server.name, server.kind, server.parent_id) == ("POST /v1/chat/completions", "SERVER", PARENT)
    assert (client.kind, client.parent_id) == ("CLIENT", server.span_id)
    assert server.service == client.service == "parley-gateway"
    assert script.metadata["traceparent"] == f"00-{trace_id}-{client.span_id}-01"
    assert script.metadata["tracestate"] == "a=b"


def test_grpc_calls_are_traced_as_well(traced: Traced, script: Scratch) -> None:
    trace_id = _trace_id(10)
    with grpc.insecure_channel(traced.gateway.address) as channel:
        ChatServiceStub(channel).CreateChatCompletion(
            ChatCompletionRequest(model="m"), metadata=tuple(_parent(trace_id).items())
        )
    server, client = traced.receiver.trace(trace_id, count=2)
    assert (server.name, client.parent_id) == ("grpc", server.span_id)


def test_what_is_not_to_be_traced_is_not(traced: Traced, script: Scratch) -> None:
    """Nor are probes, nor calls without a trace (here their share is 0), nor those who ask for it in other ways."""
    url, chosen, skipped = traced.url, _trace_id(20), _trace_id(21)
    httpx.get(f"{url}/healthz", headers=_parent(skipped))
    httpx.get(f"{url}/readyz", headers=_parent(skipped))
    httpx.get(f"http://{traced.gateway.operations}/readyz", headers=_parent(skipped))
    httpx.get(f"http://{traced.gateway.operations}/metrics", headers=_parent(skipped))
    httpx.post(url + CHAT, json={}, headers=_parent(skipped, sampled=False))
    assert script.metadata["traceparent"].startswith(f"00-{skipped}-")
    assert script.metadata["traceparent"].endswith("-00")
    for header in ("x-client-trace-id", "x-envoy-force-trace"):
        httpx.post(url + CHAT, json={}, headers={header: "1"})
        assert script.metadata["traceparent"].endswith("-00")
    httpx.post(url + CHAT, json={}, headers=_parent(chosen))
    traced.receiver.trace(chosen, count=2)
    assert {span.trace_id for span in traced.receiver.spans} <= {_trace_id(number) for number in range(21)}


def test_spans_tell_nothing_of_queries_ids_keys_and_prompts(traced: Traced, script: Scratch) -> None:
    trace_id = _trace_id(11)
    headers = _parent(trace_id) | {"authorization": "Bearer secret-key", "x-api-key": "secret-key"}
    httpx.get(f"{traced.url}{CHAT}?limit=1&metadata[a]=secret-of-a-query", headers=headers)
    httpx.get(f"{traced.url}/v1/models?key=secret-of-a-query", headers=headers)
    httpx.get(f"{traced.url}{CHAT}/secret-id/messages", headers=headers)
    httpx.get(f"{traced.url}/nowhere/secret-id?key=secret-of-a-query", headers=headers)
    httpx.post(traced.url + CHAT, json={"messages": [{"role": "user", "content": "secret-prompt"}]}, headers=headers)
    httpx.post(traced.url + CHAT, content=b'{"model": secret-prompt', headers=headers)
    traced.receiver.trace(trace_id, count=9)
    exported = b"".join(traced.receiver.raw)
    assert not [secret for secret in SECRETS if secret.encode() in exported]


def test_nobody_makes_spans_large(traced: Traced, script: Scratch) -> None:
    """A batch that a receiver refuses would take others' spans with it."""
    trace_id, long = _trace_id(13), "a" * 1000
    headers = _parent(trace_id) | {"tracestate": f"a={long}", "user-agent": long, "x-request-id": long}
    httpx.post(traced.url + CHAT, json={}, headers=headers | {"host": long})
    httpx.post(f"{traced.url}/{long}?secret-of-a-query", headers=headers | {"content-type": f"application/grpc+{long}"})
    spans = traced.receiver.trace(trace_id, count=4)
    texts = [text for span in spans for text in (span.name, span.trace_state, *span.attributes.values())]
    assert max(len(str(text)) for text in texts) <= 512
    assert not [text for text in texts if "secret" in str(text)]
    assert script.metadata["tracestate"] == f"a={long}"[:512]


def test_the_access_log_has_the_trace(traced: Traced) -> None:
    trace_id = _trace_id(12)
    httpx.post(traced.url + CHAT, json={}, headers=_parent(trace_id))
    wait_until(lambda: any(line["trace_id"] == trace_id for line in traced.gateway.access_log()))


def test_calls_without_a_trace_begin_one(service: Service, script: Scratch, tmp_path: Path) -> None:
    with (
        receiving() as receiver,
        running_gateway(tmp_path, service.address, **_config(tmp_path, receiver, 1)) as gateway,
    ):
        wait_until_ready(gateway)
        httpx.post(f"http://{gateway.address}{CHAT}", json={})
        version, trace_id, span_id, flags = script.metadata["traceparent"].split("-")
        server, client = receiver.trace(trace_id, count=2)
        assert (version, flags) == ("00", "01")
        assert (server.parent_id, client.span_id) == ("", span_id)


def test_a_receiver_that_is_away_costs_no_call(service: Service, script: Scratch, tmp_path: Path) -> None:
    gone = Receiver(endpoint="http://127.0.0.1:1")
    with running_gateway(tmp_path, service.address, **_config(tmp_path, gone, 1)) as gateway:
        wait_until_ready(gateway)
        with httpx.Client(base_url=f"http://{gateway.address}", timeout=20) as client:
            assert [client.post(CHAT, json={}).status_code for _ in range(20)] == [200] * 20


def test_spans_go_over_tls_where_the_endpoint_says_so(service: Service, script: Scratch, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    with receiving(certificates) as receiver:
        environ = _config(tmp_path, receiver, 1)
        path = Path(environ["PARLEY_CONFIG"])
        tree = yaml.safe_load(path.read_text())
        tree["telemetry"]["otlp"]["ca_file"] = str(certificates.ca)
        path.write_text(yaml.safe_dump(tree))
        with running_gateway(tmp_path, service.address, **environ) as gateway:
            wait_until_ready(gateway)
            httpx.post(f"http://{gateway.address}{CHAT}", json={})
            receiver.trace(script.metadata["traceparent"].split("-")[1], count=2)


def test_without_tracing_the_context_passes_untouched(gateway: Gateway, rest: httpx.Client, script: Scratch) -> None:
    headers = _parent(_trace_id(30))
    rest.post(CHAT, json={}, headers=headers)
    assert {name: script.metadata[name] for name in headers} == headers
    rest.post(CHAT, json={})
    assert "traceparent" not in script.metadata
    wait_until(lambda: any(line["traceparent"] == headers["traceparent"] for line in gateway.access_log()))
    rest.post(CHAT, json={}, headers={"traceparent": "x" * 60, "x-request-id": "long"})
    (line,) = _lines(gateway, "long")
    assert line["traceparent"] == "x" * 55


def _lines(gateway: Gateway, request_id: str) -> list[dict[str, object]]:
    def find() -> list[dict[str, object]]:
        return [line for line in gateway.access_log() if line["request_id"] == request_id]

    wait_until(lambda: bool(find()))
    return find()


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{traces: {}}", "telemetry.traces: needs `telemetry.otlp`"),
        ("{traces: {}, otlp: {endpoint: 'collector:4317'}}", "telemetry.otlp.endpoint: expected a URL"),
        ("{traces: {}, otlp: {endpoint: 'http://collector:port'}}", "telemetry.otlp.endpoint: expected a URL"),
        ("{traces: {sample_ratio: 2}}", "telemetry.traces.sample_ratio: expected `float` <= 1"),
    ],
)
def test_a_wrong_section_is_told(tmp_path: Path, section: str, expected: str) -> None:
    (tmp_path / "parley.yaml").write_text(f"telemetry: {section}")
    with pytest.raises(ConfigError) as caught:
        load_config({"PARLEY_CONFIG": str(tmp_path / "parley.yaml")})
    assert expected in str(caught.value)


def test_keys_of_the_service_are_left_to_it(tmp_path: Path) -> None:
    (tmp_path / "parley.yaml").write_text(
        "telemetry: {otlp: {endpoint: 'https://collector', headers_env: X}, traces: {content: true}, metrics: {}}"
    )
    tracing = load_config({"PARLEY_CONFIG": str(tmp_path / "parley.yaml")}).tracing
    assert tracing is not None
    assert (str(tracing.collector), tracing.has_tls, tracing.sample_ratio) == ("collector:4317", True, 0.05)
