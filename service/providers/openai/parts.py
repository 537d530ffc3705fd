"""Content parts as single APIs want them: what `Dialect.parts` holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.json_values import Json
from service.providers.openai.dialect import Body, PartTranslation, RefusePart

_OPENAI_FILE: Final = ("file_data", "file_id", "filename")


def as_it_is(part: Body, _refuse: RefusePart) -> Body:
    """OpenAI's own form."""
    return part


def parts(*kinds: str, **translated: PartTranslation) -> Mapping[str, PartTranslation]:
    """A table of kinds that are read as they are, and of those that have another form."""
    return dict.fromkeys(kinds, as_it_is) | translated


def openai_file(part: Body, refuse: RefusePart) -> Body:
    """A file by its content or its id; addresses are not read.

    Source: https://platform.openai.com/docs/guides/pdf-files (2026-11-22, by openai-python 3.54).
    """
    _require_known(_file_of(part), _OPENAI_FILE, refuse)
    return part


def openrouter_file(part: Body, refuse: RefusePart) -> Body:
    """A file by its content or its address, which has the same place.

    Source: https://openrouter.ai/docs/guides/overview/multimodal/pdfs (2026-11-22).
    """
    file = _file_of(part)
    _require_known(file, ("file_data", "file_url", "filename"), refuse)
    if "file_url" not in file:
        return part
    inner = {"file_data" if name == "file_url" else name: value for name, value in file.items()}
    return part | {"file": inner}


def mistral_file(part: Body, refuse: RefusePart) -> Body:
    """A document by its address (also a data URL), or a file by its id.

    Source: https://docs.mistral.ai/capabilities/document_ai/document_qna (2026-11-22, by mistralai 3.7:
    DocumentURLChunk, FileChunk), and the recording
    test_multimodal_tool_return_matrix-tool_return_content-binary-document-mistral.
    """
    file = _file_of(part)
    _require_known(file, ("file_data", "file_url", "file_id", "filename"), refuse)
    if "file_id" in file:
        return {"type": "file", "file_id": file["file_id"]}
    document: Body = {"type": "document_url", "document_url": file.get("file_url") or file.get("file_data")}
    if "filename" in file:
        document["document_name"] = file["filename"]
    return document


def mistral_audio(part: Body, _refuse: RefusePart) -> Body:
    """The sound itself, without its format.

    Source: https://docs.mistral.ai/capabilities/audio (2026-11-22, by mistralai 3.7: AudioChunk).
    """
    audio = part.get("input_audio")
    return part | {"input_audio": audio.get("data") if isinstance(audio, dict) else audio}


def zai_file(part: Body, refuse: RefusePart) -> Body:
    """A file by its address.

    Source: https://docs.z.ai/api-reference/llm/chat-completion (2026-11-22).
    """
    file = _file_of(part)
    _require_known(file, ("file_url", "filename"), refuse)
    return {"type": "file_url", "file_url": {"url": file.get("file_url")}}


def zai_document(part: Body, _refuse: RefusePart) -> Body:
    """As `zai_file`, of Mistral's kind of part."""
    return {"type": "file_url", "file_url": {"url": part.get("document_url")}}


def _file_of(part: Body) -> Mapping[str, Json]:
    file = part.get("file")
    return file if isinstance(file, dict) else {}


def _require_known(file: Mapping[str, Json], known: tuple[str, ...], refuse: RefusePart) -> None:
    for name, value in file.items():
        if name not in known and value is not None and value is not False:
            refuse(f".file.{name}" if name.isidentifier() and name.isascii() else ".file", "reads no such member")
