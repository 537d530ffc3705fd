"""What the metrics tell of the service itself, in each of its states; and that all that is promised is there."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service.telemetry import definitions
from service.telemetry.pulse import _StoragePulse
from service.version import VERSION
from tests.conftest import KEY, stack_config
from tests.support.envoy import ROOT
from tests.support.faces import ask
from tests.support.json_form import to_proto
from tests.support.scraping import Scrape, scraped, wait_for_value
from tests.support.stack import running, wait_for
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk

METADATA = (("authorization", f"Bearer {KEY}"),)
ADOPTED = "parley_config_last_adopted_timestamp_seconds"


def body(script: Script, **fields: Any) -> dict[str, Any]:
    return {"model": script.model, "messages": [{"role": "user", "content": "Hi"}], "user": script.user, **fields}


@pytest.fixture
def config(upstream: FakeUpstream, tmp_path: Path) -> dict[str, Any]:
    config = stack_config(upstream, drain_grace_s=20)
    config["storage"] = {"data_dir": str(tmp_path / "data"), "policy": "best_effort"}
    return config


PROCESS = [
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_start_time_seconds",
    "python_gc_collections_total",
]


def test_a_service_that_has_just_begun_tells_of_every_metric(config: dict[str, Any], tmp_path: Path) -> None:
    """Those with labels by their family alone, until something has happened."""
    with running(config, tmp_path, gateway=False) as stack:
        found = scraped(stack)

    expected = {each.name.removesuffix("_total"): each.kind for each in definitions.ALL}
    assert {name: kind for name, kind in found.kinds.items() if name in expected} == expected
    assert not [name for name in PROCESS if not found.labels(name)]
    assert {name for name in found.kinds if not name.startswith(("process_", "python_gc_"))} == set(expected)
    for each in definitions.ALL:
        for labels in found.labels(each.name):
            assert sorted(labels) == sorted(each.labels), each.name
    assert found.labels("parley_build_info") == [{"version": VERSION}]
    assert found.value("parley_ready") == 1
    for name in ("parley_retries_total", "parley_fallbacks_total", "parley_usage_estimated_total"):
        assert {labels["gen_ai_request_model"] for labels in found.labels(name)} == set(config["models"]), name


def test_the_version_is_the_projects() -> None:
    assert f'\nversion = "{VERSION}"\n' in (ROOT / "pyproject.toml").read_text()


def test_without_a_store_nothing_is_told_of_one(config: dict[str, Any], tmp_path: Path) -> None:
    del config["storage"]
    with running(config, tmp_path, gateway=False) as stack:
        found = scraped(stack)

    assert not [name for name, _ in found.samples if name.startswith(("parley_storage", "parley_stored"))]


def test_where_nobody_reads_them_nothing_is_listened_at(config: dict[str, Any], tmp_path: Path) -> None:
    config["telemetry"] = {"metrics": {"address": None}}
    with running(config, tmp_path, gateway=False, environ={"PARLEY_METRICS_ADDRESS": ""}) as stack:
        assert stack.metrics_address is None
        assert ask(stack, "grpc", body(Script(model="echo"))).failure is None


def test_an_address_in_use_ends_the_start(config: dict[str, Any], tmp_path: Path) -> None:
    with running(config, tmp_path, gateway=False) as stack:
        (tmp_path / "other").mkdir()
        environ = {"PARLEY_METRICS_ADDRESS": stack.metrics_address or ""}
        with (
            pytest.raises(AssertionError, match=r"telemetry\.metrics\.address: .* can't be listened at") as caught,
            running(config, tmp_path / "other", gateway=False, environ=environ),
        ):
            pass
    assert "Traceback" not in str(caught.value)


def test_the_store_is_told_of_as_it_goes_and_comes(config: dict[str, Any], tmp_path: Path) -> None:
    """Of a database that can't be opened, what waits is counted, and at the end what is lost."""
    (tmp_path / "data").write_text("a file where the folder should be")
    with running(config, tmp_path, gateway=False) as stack:
        wait_for(lambda: "not available" in "".join(stack.service.lines))
        wait_for_value(stack, 0, "parley_storage_up")
        assert ask(stack, "grpc", body(Script(model="echo"), store=True)).failure is None
        wait_for_value(stack, 1, "parley_storage_queue_depth")
        wait_for_value(stack, 1, "parley_stored_total", outcome="failed")
        assert scraped(stack).value("parley_storage_lost_total") == 0
        (tmp_path / "data").unlink()
        wait_for_value(stack, 1, "parley_storage_up")
        wait_for_value(stack, 0, "parley_storage_queue_depth")


def test_what_is_lost_is_counted() -> None:
    """By the store itself; the pulse only takes it over."""

    class Played:
        is_available, waiting, lost = True, 3, 2

    registry = CollectorRegistry()
    pulse = _StoragePulse(registry, Played())  # type: ignore[arg-type]  # all that is asked of it
    pulse.look()
    Played.lost = 5
    pulse.look()

    assert registry.get_sample_value("parley_storage_lost_total") == 5


def test_a_reload_is_told_and_what_it_removes_is_told_no_more(config: dict[str, Any], tmp_path: Path) -> None:
    with running(config, tmp_path, gateway=False) as stack:
        begun = scraped(stack)
        assert begun.value(ADOPTED) <= time.time()
        file = Path(tmp_path / "parley.yaml")
        good = yaml.safe_load(file.read_text())

        file.write_text("models: 7")
        stack.service.process.send_signal(signal.SIGHUP)
        wait_for_value(stack, 1, "parley_config_reloads_total", result="refused")
        assert scraped(stack).value(ADOPTED) == begun.value(ADOPTED)

        targets = good["models"]["two"]["targets"][:1]
        del good["models"]["dead"]
        good["models"]["two"]["targets"] = targets
        good["models"]["later"] = good["models"]["echo"]
        file.write_text(yaml.safe_dump(good))
        wait_for_value(stack, 1, "parley_config_reloads_total", result="adopted")
        wait_for_value(stack, 1, "parley_target_state", gen_ai_request_model="later", state="available")
        after = scraped(stack)

    assert after.value(ADOPTED) > begun.value(ADOPTED)
    for name in ("parley_target_state", "parley_target_in_flight", "parley_target_queue_depth"):
        assert "dead" in {labels["gen_ai_request_model"] for labels in begun.labels(name)}, name
        left = {(labels["gen_ai_request_model"], labels["target"]) for labels in after.labels(name)}
        assert "dead" not in {model for model, _ in left}, name
        assert {target for model, target in left if model == "two"} == {"scripted/first"}, name
    assert after.labels("parley_retries_total")


def test_a_reload_that_changes_the_section_is_told_to_take_effect_later(config: dict[str, Any], tmp_path: Path) -> None:
    with running(config, tmp_path, gateway=False) as stack:
        changed = yaml.safe_load((tmp_path / "parley.yaml").read_text()) | {"telemetry": {"service_name": "other"}}
        (tmp_path / "parley.yaml").write_text(yaml.safe_dump(changed))
        wait_for(lambda: "telemetry has changed in the file: it takes effect when" in "".join(stack.service.lines))


def test_calls_that_wait_for_a_target_are_told(config: dict[str, Any], upstream: FakeUpstream, tmp_path: Path) -> None:
    config["models"]["echo"]["concurrency"] = {"limit": 1, "queue": 5, "wait_s": 30}
    script = Script(model="echo", body=completion(), gates={})
    held = Script(model="echo", events=[chunk("Hi"), chunk(finish="stop"), usage_chunk()], gates={0: threading.Event()})
    with running(config, tmp_path, gateway=False) as stack, stack.chat() as stub:
        with upstream.scripted(script), upstream.scripted(held):
            first: Any = stub.StreamChatCompletion(to_proto(body(held, stream=True)), metadata=METADATA, timeout=30)
            assert held.began.wait(20)
            waiting = [
                stub.CreateChatCompletion.future(to_proto(body(script)), metadata=METADATA, timeout=30)
                for _ in range(2)
            ]
            wait_for_value(stack, 2, "parley_target_queue_depth", gen_ai_request_model="echo")
            wait_for_value(stack, 3, "parley_open_calls")
            wait_for_value(stack, 1, "parley_open_streams")
            held.gates[0].set()
            assert len(list(first)) > 1
            assert all(isinstance(call.result(), ChatCompletion) for call in waiting)
        wait_for_value(stack, 0, "parley_target_queue_depth")
        # What they waited for is no overhead of the service's.
        assert scraped(stack).value("parley_overhead_seconds_sum") < 5


def test_metrics_are_read_until_the_drain_is_over(
    config: dict[str, Any], upstream: FakeUpstream, tmp_path: Path
) -> None:
    script = Script(
        model="echo", events=[chunk("Hi"), chunk(finish="stop"), usage_chunk()], gates={1: threading.Event()}
    )
    with running(config, tmp_path, gateway=False) as stack, stack.chat() as stub, upstream.scripted(script):
        call: Any = stub.StreamChatCompletion(to_proto(body(script, stream=True)), metadata=METADATA, timeout=60)
        assert next(call)
        stack.service.process.send_signal(signal.SIGTERM)
        wait_for_value(stack, 0, "parley_ready")
        wait_for_value(stack, 1, "parley_open_streams")
        script.gates[1].set()
        assert len(list(call)) > 1
        assert stack.service.process.wait(20) == 0


def test_the_event_loops_lag_shows_what_has_stopped_it(config: dict[str, Any], tmp_path: Path) -> None:
    name = "parley_event_loop_lag_seconds"
    with running(config, tmp_path, gateway=False) as stack:
        wait_for(lambda: scraped(stack).value(f"{name}_count") > 10)
        before = scraped(stack)
        os.kill(stack.service.process.pid, signal.SIGSTOP)
        time.sleep(0.6)  # so long nothing of it runs
        os.kill(stack.service.process.pid, signal.SIGCONT)
        wait_for(lambda: late(scraped(stack)) > late(before))


def late(scrape: Scrape, than_s: float = 0.25) -> float:
    """How often the loop was later than that."""
    name = "parley_event_loop_lag_seconds"
    return scrape.value(f"{name}_count") - scrape.value(f"{name}_bucket", le=str(than_s))
