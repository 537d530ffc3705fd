"""No secret gets out: the watch over the whole suite sees one wherever it can show, and no object of the service prints one."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from service import config
from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service.rpc.auth import Keys
from tests.conftest import KEY, stack_config
from tests.support.in_process import FakeProvider, in_process
from tests.support.json_form import to_proto
from tests.support.secret_watch import KEYS
from tests.support.upstream import FakeUpstream

ROOT = Path(__file__).resolve().parents[2]
PREAMBLE = """
import asyncio, logging, subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc, httpx, httpx2, pytest
from service.errors import Reason, RequestError, invalid
from tests.support.stack import start_part
import os

KEY, TEXT = "planted-" + "secret", "planted-" + "prompt"


class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        if self.path == "/head":
            self.send_header("x-told", KEY)
        self.end_headers()
        if self.path == "/body":
            for part in ("data: planted-", "secret\\\\n\\\\n"):
                self.wfile.write(part.encode())
                self.wfile.flush()

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    server = HTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def tell(request, context):
    if request == b"initial":
        context.send_initial_metadata((("x-told", KEY),))
    if request == b"trailing":
        context.set_trailing_metadata((("x-told", TEXT),))
    if request == b"status":
        context.abort(grpc.StatusCode.INTERNAL, f"it was {TEXT}")
    return KEY.encode() if request == b"message" else TEXT.encode()


@pytest.fixture
def address():
    server = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(tell)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", {"C": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def ask(address, what):
    with grpc.insecure_channel(address) as channel:
        channel.unary_unary("/a.B/C")(what)


async def ask_async(address, what):
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.unary_unary("/a.B/C")(what)
"""
CONFTEST = """
from tests.support import secret_watch

def pytest_configure(config):
    config.pluginmanager.register(secret_watch)
"""
LEAKS = {
    "a log line of a part": """
        part = start_part("json.tool", [KEY], dict(os.environ))
        part.process.wait()
        part.stop()
    """,
    "the log": "logging.getLogger('x').warning('with %s', TEXT)",
    "a traceback in the log": """
        try:
            raise ValueError(KEY)
        except ValueError:
            logging.getLogger("x").exception("it failed")
    """,
    "the output of a program": "subprocess.run([sys.executable, '-c', f'print({KEY!r})'], capture_output=True)",
    "an error of the service": "invalid('x', TEXT)",
    "the metadata of an error": "RequestError(Reason.INTERNAL, 'x', metadata={'a': KEY})",
    "an exception": """
        with pytest.raises(KeyError):
            raise KeyError(KEY)
    """,
    "the cause of an exception": """
        with pytest.raises(KeyError):
            raise KeyError from ValueError(KEY)
    """,
    "a header": "httpx.get(f'{url}/head')",
    "a body in two pieces": "httpx.get(f'{url}/body')",
    "a header, other client": "httpx2.get(f'{url}/head')",
    "a body, other client": "httpx2.get(f'{url}/body')",
    "a body, async": """
        async def get():
            async with httpx.AsyncClient() as client:
                await client.get(f"{url}/body")
        asyncio.run(get())
    """,
    "a body, async, other client": """
        async def get():
            async with httpx2.AsyncClient() as client:
                await client.get(f"{url}/body")
        asyncio.run(get())
    """,
    "a gRPC message": "ask(address, b'message')",
    "initial metadata": "ask(address, b'initial')",
    "trailing metadata": "ask(address, b'trailing')",
    "a status": """
        with pytest.raises(grpc.RpcError):
            ask(address, b"status")
    """,
    "a gRPC message, async": "asyncio.run(ask_async(address, b'message'))",
    "initial metadata, async": "asyncio.run(ask_async(address, b'initial'))",
    "trailing metadata, async": "asyncio.run(ask_async(address, b'trailing'))",
    "a status, async": """
        with pytest.raises(grpc.RpcError):
            asyncio.run(ask_async(address, b"status"))
    """,
    "an echo is none": "ask(address, b'echo')",
}


def test_the_watch_fails_every_test_in_which_something_leaks(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    tests = "\n\n".join(
        f"def test_{number}(url, address):  # {name}\n    if True:\n        {code.strip()}"
        for number, (name, code) in enumerate(LEAKS.items())
    )
    (tmp_path / "test_leaks.py").write_text(PREAMBLE + "\n\n" + tests + "\n")

    ended = _pytest(tmp_path)

    failed = {
        line.partition(" - ")[0].rpartition("::test_")[2] for line in ended.splitlines() if line.startswith("ERROR ")
    }
    missed = [name for number, name in enumerate(LEAKS) if str(number) not in failed]
    assert missed == ["an echo is none"], ended


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["one process", "another process"])
def test_the_watch_fails_a_run_that_leaks_at_its_end(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_late.py").write_text(
        "import pytest\ndef test_file(tmp_path):\n    (tmp_path / 'envoy.log').write_text('planted-' + 'secret')\n"
    )

    ended = _pytest(tmp_path, *options)

    assert "1 passed" in ended
    assert "found behind the last test" in ended
    assert ended.endswith("exit code 1")


def _pytest(folder: Path, *options: str) -> str:
    """Run the tests of `folder` on their own; what it printed, and the exit code."""
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", f"--basetemp={folder / 'temp'}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, *options, f"--rootdir={folder}", "-c", os.devnull, str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        printed = process.stdout.read()
    shutil.rmtree(folder / "temp", ignore_errors=True)  # else the run around this one finds it, too
    return f"{printed}exit code {process.returncode}"


async def test_no_object_of_the_service_prints_a_secret(upstream: FakeUpstream, tmp_path: Path) -> None:
    """Amid a call that answers and behind one that failed, every object of the service is asked for its repr."""
    found: list[str] = []
    secret = KEY.replace("team-a", "provider")

    async def chunks(_request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk]:
        found.extend(_printing_secrets())
        yield ChatCompletionChunk()
        raise RuntimeError(KEY)

    def answer(_request: ChatCompletionRequest) -> ChatCompletion:
        raise RuntimeError(KEY)

    settings = _config(upstream, tmp_path, secret)
    keys = Keys((key.name, key.sha256) for key in settings.auth.keys)
    async with (
        in_process({"fake": FakeProvider(answer=answer, chunks=chunks)}, keys=keys) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        for stream in (False, True):
            call = _ask(ChatServiceStub(channel), stream=stream)
            assert await call.code() is grpc.StatusCode.INTERNAL
            found.extend(_printing_secrets())

    assert settings.providers
    assert found == []


def _ask(stub: Any, *, stream: bool) -> Any:
    request = to_proto({"model": "fake", "stream": stream, "messages": [{"role": "user", "content": "planted-prompt"}]})
    method = stub.StreamChatCompletion if stream else stub.CreateChatCompletion
    return method(request, metadata=(("x-api-key", KEY),))


def _config(upstream: FakeUpstream, folder: Path, secret: str) -> config.Config:
    written = stack_config(upstream)
    written["providers"]["scripted"]["api_key_env"] = "OTHER_KEY"
    (folder / "parley.yaml").write_text(yaml.safe_dump(written))
    return config.load_config({"PARLEY_CONFIG": str(folder / "parley.yaml"), "OTHER_KEY": secret})


def _printing_secrets() -> list[str]:
    """The types of the service's objects whose repr shows a key; a request's own may show the prompt."""
    return [
        type(each).__qualname__
        for each in gc.get_objects()
        if str(type(each).__module__).startswith("service.") and any(mark in repr(each) for mark in KEYS)
    ]
