"""Content parts as single APIs want them: what `Dialect.parts` holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.json_values import Json
from service.providers.openai.dialect import Body, PartTranslation, RefusePart

_OPENAI_FILE: Final = ("file_data", "file_id", "filename")
_UNKNOWN: Final = "reads no such member"


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
    """A file by its id, its content or its address, which has the place of the content.

    Source: https://openrouter.ai/docs/guides/overview/multimodal/pdfs (2026-11-22, by openrouter 1.3:
    ChatContentFileFile).
    """
    file = _file_of(part)
    _require_known(file, ("file_data", "file_url", "file_id", "filename"), refuse)
    if not file.get("file_url"):
        return part
    _source_of(file, ("file_data", "file_url"), refuse)
    inner = {name: value for name, value in file.items() if name not in {"file_data", "file_url"}}
    return part | {"file": {"file_data": file["file_url"]} | inner}


def mistral_file(part: Body, refuse: RefusePart) -> Body:
    """A document by its address (also a data URL), or a file by its id, which has no name beside it.

    Source: https://docs.mistral.ai/capabilities/document_ai/document_qna (2026-11-22, by mistralai 3.7:
    DocumentURLChunk, FileChunk), and the recording
    test_multimodal_tool_return_matrix-tool_return_content-binary-document-mistral.
    """
    file = _file_of(part)
    _require_only(part, "file", refuse)
    _require_known(file, ("file_data", "file_url", "file_id", "filename"), refuse)
    source = _source_of(file, ("file_id", "file_url", "file_data"), refuse)
    name = file.get("filename")
    if source == "file_id":
        if name:
            refuse(".file.filename", "takes no name beside an id")
        return {"type": "file", "file_id": file[source]}
    document: Body = {"type": "document_url", "document_url": file[source]}
    return document | {"document_name": name} if name else document


def mistral_audio(part: Body, refuse: RefusePart) -> Body:
    """The sound itself, without its format.

    Source: https://docs.mistral.ai/capabilities/audio (2026-11-22, by mistralai 3.7: AudioChunk).
    """
    audio = part.get("input_audio")
    if not isinstance(audio, dict):
        return part
    _require_known(audio, ("data", "format"), refuse, "input_audio")
    return part | {"input_audio": audio.get("data")}


def zai_file(part: Body, refuse: RefusePart) -> Body:
    """A file by its address, without a name.

    Source: https://docs.z.ai/api-reference/llm/chat-completion (2026-11-22).
    """
    file = _file_of(part)
    _require_only(part, "file", refuse)
    _require_known(file, ("file_url",), refuse)
    return {"type": "file_url", "file_url": {"url": file[_source_of(file, ("file_url",), refuse)]}}


def zai_document(part: Body, refuse: RefusePart) -> Body:
    """As `zai_file`, of Mistral's kind of part."""
    _require_only(part, "document_url", refuse)
    return {"type": "file_url", "file_url": {"url": part.get("document_url")}}


def _file_of(part: Body) -> Mapping[str, Json]:
    file = part.get("file")
    return file if isinstance(file, dict) else {}


def _source_of(file: Mapping[str, Json], sources: tuple[str, ...], refuse: RefusePart) -> str:
    """The only one of the members that says where the content is."""
    given = [name for name in sources if file.get(name)]
    if not given:
        refuse(".file", "reads files by " + " or ".join(f"`{name}`" for name in sources))
    if len(given) > 1:
        refuse(f".file.{given[1]}", f"reads it only where `{given[0]}` is left out")
    return given[0]


def _require_known(
    members: Mapping[str, Json], known: tuple[str, ...], refuse: RefusePart, place: str = "file"
) -> None:
    for name, value in members.items():
        if name not in known and value is not None and value is not False:
            refuse(f".{place}.{name}" if name.isidentifier() and name.isascii() else f".{place}", _UNKNOWN)


def _require_only(part: Body, payload: str, refuse: RefusePart) -> None:
    """Refuse members of a part that its own form has no place for."""
    for name, value in part.items():
        if name not in {"type", payload} and value is not None:
            refuse(f".{name}" if name.isidentifier() and name.isascii() else "", _UNKNOWN)
