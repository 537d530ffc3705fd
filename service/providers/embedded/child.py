"""The child process: `python -m service.providers.embedded.child OPTIONS_JSON`, for the supervisor only.

Protocol: the key is in the environment; once the model is loaded, or can't be, one JSON line goes to
stdout, `{"address": "http://127.0.0.1:PORT"}` or `{"error": "…"}`. The child lives until its stdin
ends, which also happens when the parent is killed, or until SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from service.errors import ConfigError
from service.providers.embedded.options import API_KEY_VARIABLE, Options, find_model_file

SYSTEM_PROMPT = "You answer in English with short, correct facts."
"""Put before conversations that have no system message of their own.

The model file's own (`You are a helpful AI assistant named SmolLM, trained by Hugging Face`) does not
survive the quantisation: with it 6 answers of 20 named Paris, many were French babble without end.
This was the best of thirteen measured over 78 answers each.
"""

# The model file's own template, but for three things: the system prompt above; `developer`, which the
# model does not know, becomes `system`; an absent content, as beside tool calls, is the empty string.
_CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- set role = 'system' if message['role'] == 'developer' else message['role'] -%}
{%- if loop.first and role != 'system' -%}
{{- '<|im_start|>system\\n<SYSTEM_PROMPT><|im_end|>\\n' -}}
{%- endif -%}
{{- '<|im_start|>' + role + '\\n' + (message['content'] or '') + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
""".replace("<SYSTEM_PROMPT>", SYSTEM_PROMPT)

# llama.cpp's default of 8 makes /health wait up to 5 s, for a keep-alive to end, when 60 requests
# come at once; with 64 it answers within 0.1 s (measured with 200). Idle threads cost next to nothing.
_HTTP_THREADS = 64

_LOG_ERRORS = 1
_MAX_LOG_BYTES = 2_000


class _LoadError(Exception):
    """The model can't be loaded; the message says why."""


def main() -> int:
    """Serves until stdin ends; the exit status is 1 when the model can't be loaded."""
    # Ctrl-C reaches the whole foreground group; the parent decides when its streams have ended.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The system's default, which works while C++ holds the interpreter too: a Python handler would wait.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = os.dup(sys.stdout.fileno())
    watch = threading.Thread(target=_exit_at_end_of_stdin, daemon=True)
    watch.start()
    try:
        server, address = _load(Options.from_json(sys.argv[1]), os.environ.pop(API_KEY_VARIABLE))
    except (ConfigError, _LoadError) as error:
        _tell(parent, {"error": str(error)})
        return 1
    _tell(parent, {"address": address})
    watch.join()
    del server  # never reached: kept alive until here
    return 0


def _load(options: Options, api_key: str) -> tuple[object, str]:
    """The running server and its address.

    While the model loads, what llama.cpp logs goes to a file, to be told when it fails. After that it
    is dropped: it holds parts of requests (measured: malformed JSON, unsupported schema patterns).
    """
    file = find_model_file(options)
    _check_magic(file)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
        try:
            server, address = _start_server(options, file, api_key)
        except RuntimeError as error:
            log.seek(0)
            text = log.read(_MAX_LOG_BYTES).decode(errors="replace").strip()
            raise _LoadError(f"{error} {text}") from error
        with Path(os.devnull).open("wb") as devnull:
            os.dup2(devnull.fileno(), sys.stdout.fileno())
            os.dup2(devnull.fileno(), sys.stderr.fileno())
    return server, address


def _start_server(options: Options, file: Path, api_key: str) -> tuple[object, str]:
    # Here: what the import prints must not reach the parent, and the signals must be set before it.
    # The package has no type stubs.
    from xllamacpp import CommonParams, Server  # type: ignore[import-untyped]  # noqa: PLC0415

    params = CommonParams()
    params.model.path = str(file)
    params.model_alias = {options.model_id}
    if options.model_file is None:
        params.chat_template = _CHAT_TEMPLATE
    params.n_parallel = options.parallel
    params.n_ctx = options.context_tokens * options.parallel  # llama.cpp divides it among the slots
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.sampling.temp = options.sampling.temperature
    params.sampling.top_p = options.sampling.top_p
    params.sampling.top_k = options.sampling.top_k
    params.sampling.min_p = options.sampling.min_p
    params.sampling.penalty_repeat = options.sampling.repeat_penalty
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [api_key]
    params.n_threads_http = _HTTP_THREADS
    params.ui = False
    params.endpoint_slots = False  # it shows prompts
    params.cache_ram_mib = 0  # else up to 8 GiB of old prompts
    params.verbosity = _LOG_ERRORS
    server = Server(params)
    return server, server.listening_address


def _check_magic(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise _LoadError(f"can't read {file}: {error.strerror}") from error
    if magic != b"GGUF":
        raise _LoadError(f"{file} is no GGUF file")


def _exit_at_end_of_stdin() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    # At once: a regular exit waits for the answers that are being generated.
    os._exit(0)


def _tell(parent: int, message: dict[str, str]) -> None:
    os.write(parent, json.dumps(message).encode() + b"\n")
    os.close(parent)


if __name__ == "__main__":
    sys.exit(main())
