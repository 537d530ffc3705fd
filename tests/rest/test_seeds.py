"""References 000 and 002 of those that the product satisfies: what they print is run as they print it.

Only hosts, keys and placeholders are filled in. Reference 001 has test_seed_001.py; the Node.js snippet of reference
002 is run by test_openai_node.py.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.conftest import KEY, SEED_MODELS, stack_config
from tests.support.sessions import pieces_without_session, without_session
from tests.support.stack import Stack, running
from tests.support.upstream import FakeUpstream, Script, chunk, completion

USER = {"role": "user", "content": "Hello"}
UUID = "3c90c3cc-0d44-4b50-8888-8dd25736052a"

# Reference 000, as printed.

BASIC = r"""
curl -X POST https://api.consus.io/v1/chat/completions \
-H "x-api-key: YOUR_API_KEY" \
-H "Content-Type: application/json" \
-d '{
"model": "claude-3-7-sonnet",
"messages": [
{"role": "user", "content": "What is FedRAMP?"}
]
}'
"""
WITH_SYSTEM_PROMPT_AND_PARAMETERS = r"""
curl -X POST https://api.consus.io/v1/chat/completions \
-H "x-api-key: YOUR_API_KEY" \
-H "Content-Type: application/json" \
-d '{
"model": "claude-4-5-sonnet",
"messages": [
{"role": "system", "content": "You are a helpful government compliance assistant."},
{"role": "user", "content": "Summarize CMMC Level 2 requirements."}
],
"temperature": 0.3,
"max_tokens": 2048
}'
"""
MULTI_TURN = r"""
curl -X POST https://api.consus.io/v1/chat/completions \
-H "x-api-key: YOUR_API_KEY" \
-H "Content-Type: application/json" \
-d '{
"model": "claude-3-7-sonnet",
"messages": [
{"role": "user", "content": "What is an ATO?"},
{"role": "assistant", "content": "An ATO (Authority to Operate) is a formal authorization..."},
{"role": "user", "content": "How long does it typically take to get one?"}
]
}'
"""

# Reference 002, as printed.

TEMPLATE = r"""
curl --request POST \
  --url https://api.example.com/v1/chat/completions \
  --header 'Content-Type: application/json' \
  --data '
{
  "model": "<string>",
  "messages": [
    {}
  ],
  "stream": true,
  "temperature": 123,
  "max_tokens": 123,
  "top_p": 123,
  "stop": {}
}
'
"""
EXAMPLE = r"""
curl https://api.modelstack.cc/v1/chat/completions \
  -H "Authorization: Bearer your_api_key" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "claude-sonnet-4-5",
    "messages": [
      {"role": "system", "content": "You are a helpful assistant."},
      {"role": "user", "content": "Explain quantum computing in simple terms."}
    ],
    "temperature": 0.7,
    "max_tokens": 500
  }'
"""
STREAMING = r"""
curl https://api.modelstack.cc/v1/chat/completions \
  -H "Authorization: Bearer your_api_key" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "claude-sonnet-4-5",
    "messages": [{"role": "user", "content": "Write a haiku about coding."}],
    "stream": true
  }'
"""
TRANSCRIPT = """\
data: {"id":"chatcmpl-abc123","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {"id":"chatcmpl-abc123","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Lines"},"finish_reason":null}]}

data: {"id":"chatcmpl-abc123","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" of"},"finish_reason":null}]}

data: {"id":"chatcmpl-abc123","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" code"},"finish_reason":null}]}

data: {"id":"chatcmpl-abc123","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: [DONE]

"""
PYTHON = """
stream = client.chat.completions.create(
    model="claude-sonnet-4-5",
    messages=[{"role": "user", "content": "Write a haiku about coding."}],
    stream=True
)

for chunk in stream:
    if chunk.choices[0].delta.content is not None:
        print(chunk.choices[0].delta.content, end="")
"""


@pytest.fixture(scope="module")
def seeds(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Parts of their own, in which the embedded model's context is short.

    It fills the 2048 tokens that a printed request allows, in 50 s (measured, one thread).
    """
    config = stack_config(upstream)
    config["providers"]["local"] = {"kind": "embedded", "threads": 1, "context_tokens": 256}
    for name in ("smollm2", *SEED_MODELS):
        config["models"][name] = {"targets": [{"provider": "local", "model": "smollm2-135m-instruct"}]}
    with running(config, tmp_path_factory.mktemp("seeds")) as started:
        yield started


@dataclass
class Answer:
    status: int
    content_type: str
    body: bytes

    def json(self) -> dict[str, Any]:
        assert self.content_type == "application/json"
        return json.loads(self.body)  # type: ignore[no-any-return]


def _filled(stack: Stack, command: str) -> str:
    """A printed curl command with host and key filled in."""
    command = re.sub(r"https://api\.\w+\.\w+", stack.url, command.strip())
    return re.sub(r"YOUR_API_KEY|your_api_key", KEY, command)


def _run(stack: Stack, command: str) -> Answer:
    """Run a printed curl command."""
    command = _filled(stack, command)
    if shutil.which("curl") is None:
        return _run_by_httpx(command)
    told = " --silent --show-error --max-time 60 --write-out '\\n%{http_code} %{content_type}'"
    output = subprocess.run(["sh", "-c", command + told], capture_output=True, check=True).stdout
    body, _, status_line = output.rpartition(b"\n")
    status, _, content_type = status_line.decode().partition(" ")
    return Answer(int(status), content_type, body)


def _run_by_httpx(command: str) -> Answer:
    """The same request, for machines without curl."""
    _, *words = shlex.split(command.replace("\\\n", " "))
    url, body, headers = "", "", {}
    while words:
        match words.pop(0):
            case "-X" | "--request":
                assert words.pop(0) == "POST"
            case "-H" | "--header":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value
            case "-d" | "--data":
                body = words.pop(0)
            case word:
                url = words.pop(0) if word == "--url" else word
    response = httpx.post(url, content=body, headers=headers, timeout=60)
    return Answer(response.status_code, response.headers["content-type"], response.content)


def _body(command: str) -> dict[str, Any]:
    """The JSON of a printed curl command."""
    return json.loads(command[command.index("{") : command.rindex("}") + 1])  # type: ignore[no-any-return]


def _with_body(command: str, body: dict[str, Any]) -> str:
    """The command with placeholders filled in, and with the key that it leaves out."""
    filled = command[: command.index("{")] + json.dumps(body) + command[command.rindex("}") + 1 :]
    return f"{filled.strip()} --header 'Authorization: Bearer your_api_key'"


def _post(stack: Stack, body: dict[str, Any], path: str = "/v1/chat/completions") -> httpx.Response:
    return httpx.post(f"{stack.url}{path}", json=body, headers={"x-api-key": KEY}, timeout=60)


def _error(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return body["error"]  # type: ignore[no-any-return]


def _check_answer(answer: dict[str, Any], model: str) -> None:
    """The answer has the fields that references 000 and 002 document, in their order."""
    answer = without_session(answer)
    assert list(answer)[:6] == ["id", "object", "created", "model", "choices", "usage"]
    assert answer["id"].startswith("chatcmpl-")
    assert (answer["object"], answer["model"]) == ("chat.completion", model)
    assert type(answer["created"]) is int
    assert abs(answer["created"] - time.time()) < 600
    [choice] = answer["choices"]
    assert list(choice) == ["index", "message", "finish_reason"]
    assert choice["index"] == 0
    assert list(choice["message"]) == ["role", "content"]
    assert choice["message"]["role"] == "assistant"
    assert len(choice["message"]["content"]) > 10
    assert choice["finish_reason"] in {"stop", "length"}
    usage = answer["usage"]
    assert list(usage)[:3] == ["prompt_tokens", "completion_tokens", "total_tokens"]
    counts = [usage[name] for name in list(usage)[:3]]
    assert [type(count) for count in counts] == [int, int, int]
    assert min(counts) > 0
    assert counts[2] == counts[0] + counts[1]


def _check_events(body: bytes, model: str) -> str:
    """The stream is as reference 002 prints it, to its last byte; its text."""
    assert body.endswith(b"\n\ndata: [DONE]\n\n")
    assert body.count(b"\n\n") * 2 == body.count(b"\n")
    *events, done = body.decode().split("\n\n")[:-1]
    assert done == "data: [DONE]"
    chunks = []
    for event in events:
        assert re.match(r'data: \{"id":"[^"]+","object":"chat\.completion\.chunk","created":\d+,"model":"', event)
        chunks.append(json.loads(event.removeprefix("data: ")))
    chunks = pieces_without_session(chunks)
    assert len({(part["id"], part["created"], part["model"]) for part in chunks}) == 1
    assert chunks[0]["model"] == model
    assert all(list(part)[:5] == ["id", "object", "created", "model", "choices"] for part in chunks)
    choices = [part["choices"][0] for part in chunks]
    assert all(list(choice) == ["index", "delta", "finish_reason"] for choice in choices)
    assert '"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]' in events[0]
    assert '"choices":[{"index":0,"delta":{},"finish_reason":"' in events[-1]
    assert all(event.count('"finish_reason":null') == 1 for event in events[:-1])
    assert all(list(choice["delta"]) == ["content"] and choice["delta"]["content"] for choice in choices[1:-1])
    assert choices[-1]["finish_reason"] in {"stop", "length"}
    return "".join(choice["delta"]["content"] for choice in choices[:-1])


# Reference 000.


@pytest.mark.parametrize("command", [BASIC, WITH_SYSTEM_PROMPT_AND_PARAMETERS, MULTI_TURN])
def test_000_the_printed_requests_are_answered(seeds: Stack, command: str) -> None:
    answer = _run(seeds, command)

    assert answer.status == 200
    _check_answer(answer.json(), _body(command)["model"])


@pytest.mark.parametrize("command", [BASIC, EXAMPLE])
def test_without_curl_the_request_is_the_same(seeds: Stack, command: str) -> None:
    command = command.replace(_body(command)["model"], "echo")
    command = command.replace('"messages"', f'"session_id": "{UUID}", "messages"')  # else each answer has its own
    answer = _run_by_httpx(_filled(seeds, command))

    assert answer == _run(seeds, command)
    assert answer.json()["choices"][0]["message"]["content"] == _body(command)["messages"][-1]["content"]


def test_000_without_the_key_it_is_refused(seeds: Stack) -> None:
    answer = _run(seeds, BASIC.replace("YOUR_API_KEY", "wrong"))

    assert answer.status == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_000_streaming_works_though_the_reference_has_none_yet(seeds: Stack) -> None:
    command = BASIC.replace('"messages"', '"stream": true,\n"messages"')
    answer = _run(seeds, command)

    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    assert len(_check_events(answer.body, "claude-3-7-sonnet")) > 10


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 0.0},
        {"temperature": 2.0},
        {"top_p": 0.0},
        {"top_p": 1.0},
        {"stop": "END"},
        {"stop": ["END", "STOP"]},
        {"stream": False},
        {"messages": [{"role": role, "content": "x"} for role in ("system", "user", "assistant")]},
    ],
)
def test_000_documented_values_are_taken(seeds: Stack, parameters: dict[str, Any]) -> None:
    assert _post(seeds, {"model": "echo", "messages": [USER]} | parameters).status_code == 200


def test_000_a_natural_end_is_stop(seeds: Stack) -> None:
    body = {"model": "claude-3-7-sonnet", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
    [choice] = _post(seeds, body).json()["choices"]

    assert "Paris" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"


def test_000_a_stop_sequence_is_stop(seeds: Stack) -> None:
    body = {"model": "claude-3-7-sonnet", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
    [choice] = _post(seeds, body | {"stop": " "}).json()["choices"]

    assert choice["finish_reason"] == "stop"
    assert " " not in choice["message"]["content"]


@pytest.mark.parametrize("stream", [False, True])
def test_000_the_token_limit_is_length(seeds: Stack, stream: bool) -> None:  # noqa: FBT001 - a column of the table
    body = _body(BASIC) | {"max_tokens": 3, "stream": stream}
    response = _post(seeds, body)

    if stream:
        assert response.text.count('"finish_reason":"length"') == 1
        assert '"finish_reason":"length"' in response.text.split("\n\n")[-3]
    else:
        assert response.json()["choices"][0]["finish_reason"] == "length"
        assert response.json()["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("stream", [False, True])
def test_000_a_filtered_answer_is_content_filter(
    seeds: Stack,
    upstream: FakeUpstream,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    events = [chunk("I"), chunk(finish="content_filter")] if stream else None
    script = Script(body=completion({"content": "I"}, finish="content_filter"), events=events)
    with upstream.scripted(script):
        response = _post(seeds, {"model": "echo", "messages": [USER], "stream": stream, "user": script.user})

    assert response.status_code == 200
    assert response.text.count('"finish_reason":"content_filter"') == 1


# Reference 002.


def test_002_the_printed_request_is_answered(seeds: Stack) -> None:
    answer = _run(seeds, EXAMPLE)

    assert answer.status == 200
    _check_answer(answer.json(), "claude-sonnet-4-5")


def test_002_the_printed_streaming_request_is_answered(seeds: Stack) -> None:
    answer = _run(seeds, STREAMING)

    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    assert len(_check_events(answer.body, "claude-sonnet-4-5")) > 10


def test_002_the_template_is_answered_once_filled_in(seeds: Stack) -> None:
    filled = {"model": "smollm2", "messages": [USER], "temperature": 1, "max_tokens": 12, "top_p": 1, "stop": "END"}
    answer = _run(seeds, _with_body(TEMPLATE, _body(TEMPLATE) | filled))

    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    _check_events(answer.body, "smollm2")


def test_002_a_transcript_is_as_printed_byte_for_byte(seeds: Stack, upstream: FakeUpstream) -> None:
    """But for the two fields that OpenAI's clients need, and the session that reference 001 asks for."""
    events: list[Any] = [chunk(word) | {"id": "chatcmpl-abc123"} for word in ("Lines", " of", " code")]
    with upstream.scripted(Script(events=[*events, chunk(finish="stop")])) as script:
        body = {"model": "echo", "messages": [USER], "stream": True, "user": script.user, "session_id": UUID}
        response = _post(seeds, body)

    assert response.headers["content-type"] == "text/event-stream"
    needed = '"object":"chat.completion.chunk","created":1700000000,"model":"echo",'
    printed = TRANSCRIPT.replace('"object":"chat.completion.chunk",', needed)
    assert response.text == printed.replace("}]}", f'}}],"session_id":"{UUID}"}}', 1)


def test_002_the_python_snippet_runs_unchanged(seeds: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    with OpenAI(base_url=f"{seeds.url}/v1", api_key=KEY) as client:
        exec(PYTHON, {"client": client})

    assert len(capsys.readouterr().out.split()) > 3


@pytest.mark.parametrize("stop", ["END", ["a"], ["a", "b", "c", "d"]])
def test_002_up_to_four_stop_sequences_are_taken(seeds: Stack, upstream: FakeUpstream, stop: str | list[str]) -> None:
    with upstream.scripted(Script(body=completion())) as script:
        response = _post(seeds, {"model": "echo", "messages": [USER], "stop": stop, "user": script.user})

    assert response.status_code == 200
    assert script.received[0]["stop"] == ([stop] if isinstance(stop, str) else stop)


@pytest.mark.parametrize("stream", [False, True])
def test_002_five_stop_sequences_are_refused(seeds: Stack, stream: bool) -> None:  # noqa: FBT001 - a column of the table
    response = _post(seeds, {"model": "echo", "messages": [USER], "stop": list("abcde"), "stream": stream})

    assert response.status_code == 400
    assert _error(response)["param"] == "stop"


@pytest.mark.parametrize("key", ["Bearer ", "Bearer wrong", "Basic abc", KEY])
def test_002_without_the_key_it_is_refused(seeds: Stack, key: str) -> None:
    answer = _run(seeds, EXAMPLE.replace("Bearer your_api_key", key))

    assert answer.status == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
