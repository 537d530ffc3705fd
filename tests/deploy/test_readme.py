"""What deploy/README.md shows to be copied does what it says."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.support.health import health_stub
from tests.support.manifests import DEPLOY, Manifests, pod_spec, render
from tests.support.quick_upstream import quick_upstream
from tests.support.stack import Stack, running, wait_for

TEXT = (DEPLOY / "README.md").read_text("utf-8")
# Where calls go to two replicas in turn, so many in a row are not all answered by one of them.
IN_A_ROW = 20


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """An overlay of all that it shows, in a folder beside this repository."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(DEPLOY, folder / "parley/deploy")
    own = folder / "own"
    own.mkdir()
    overlay, policy, patches = _blocks("yaml")
    text = f"{overlay}{patches}".replace("resources:\n", "resources:\n  - policy.yaml\n")
    (own / "kustomization.yaml").write_text(text, "utf-8")
    (own / "policy.yaml").write_text(policy, "utf-8")
    (own / "parley.yaml").write_text("models: {}\n", "utf-8")
    return render(own)


def test_the_overlay_has_its_own_images_and_configuration(copied: Manifests) -> None:
    images = {pod_spec(each)["containers"][0]["image"].partition("/")[0] for each in copied.workloads}

    assert images == {"YOUR"}
    assert copied.config == {"models": {}}


def test_the_policy_is_for_the_service_in_its_namespace(copied: Manifests) -> None:
    policy = copied.one("NetworkPolicy", "parley-models")

    assert policy["metadata"]["namespace"] == "parley"
    selected = copied.selected(policy["spec"]["podSelector"]["matchLabels"])
    assert [each["metadata"]["name"] for each in selected] == ["parley-service"]


def test_the_patch_leaves_the_autoscaler_the_cpu(copied: Manifests) -> None:
    metrics = copied.one("HorizontalPodAutoscaler", "parley-service")["spec"]["metrics"]

    assert [metric["type"] for metric in metrics] == ["Resource"]


def test_the_secrets_that_it_has_made_are_those_that_are_mounted(copied: Manifests) -> None:
    made = set(re.findall(r"create secret generic (\S+)", TEXT))
    volumes = [volume for each in copied.workloads for volume in pod_spec(each)["volumes"]]

    assert made == {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}


def test_callers_with_its_service_config_leave_a_replica_that_drains(tmp_path: Path) -> None:
    (service_config,) = _blocks("json")
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    with quick_upstream() as provider:
        config = {
            "server": {"drain_grace_s": 60},
            "providers": provider.providers(),
            "models": {"m": {"targets": [{"provider": "openai", "model": "x"}]}},
        }
        with (
            running(config, folders[0], gateway=False) as one,
            running(config, folders[1], gateway=False) as other,
            one.channel() as channel,
            _balanced([one, other], service_config) as both,
        ):
            wait_for(lambda: _is_answered(both) and all(each.service.json_lines("call") for each in (one, other)))
            call = ChatServiceStub(channel).StreamChatCompletion(_request("say:600:100:long"), timeout=60)
            next(call)
            one.service.process.send_signal(signal.SIGTERM)
            health = health_stub(channel)
            wait_for(lambda: health.Check(HealthCheckRequest()).status == HealthCheckResponse.NOT_SERVING)

            wait_for(lambda: all(_is_answered(both) for _ in range(IN_A_ROW)))

            assert one.service.process.poll() is None, "while it drains"
            next(call)
            call.cancel()


@contextmanager
def _balanced(replicas: list[Stack], service_config: str) -> Iterator[ChatServiceStub]:
    """A caller that knows the replicas as from DNS."""
    target = "ipv4:" + ",".join(each.grpc_address for each in replicas)
    with grpc.insecure_channel(target, options=[("grpc.service_config", service_config)]) as channel:
        yield ChatServiceStub(channel)


def _is_answered(chat: ChatServiceStub) -> bool:
    try:
        chat.CreateChatCompletion(_request("say:1:0:short"), timeout=10)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


def _request(text: str) -> ChatCompletionRequest:
    request = ChatCompletionRequest(model="m")
    request.messages.add(role="user").content.string_value = text
    return request
