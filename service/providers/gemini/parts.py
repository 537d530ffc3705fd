"""From the contract's parts of content to Gemini's. Pure.

Source: https://ai.google.dev/api/caching#Part (2026-11-22).
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

from service._gen.parley.v1.message_pb2 import ContentPart, File
from service.errors import RequestError, invalid, missing
from service.providers.content import read_data_url
from service.providers.gemini.models import has_part_resolution
from service.providers.provider import ProviderCall

_NO_MARKS: Final = "reads no marks for its cache"
_FORMAT: Final = re.compile(r"[a-z0-9][a-z0-9.+-]{0,31}")
_AUDIO_TYPES: Final = {"mp3": "audio/mpeg", "pcm16": "audio/pcm"}
"""Others are called as their format. audio/mpeg as recorded in google-vertex/test_multimodal_tool_return_matrix-
direct-binary-audio-google_vertex."""
_RESOLUTIONS: Final = {
    "low": "MEDIA_RESOLUTION_LOW",
    "high": "MEDIA_RESOLUTION_HIGH",
    "original": "MEDIA_RESOLUTION_ULTRA_HIGH",
}
_FILES_API: Final = "https://generativelanguage.googleapis.com/v1beta/"
"""Files are named by address. Source: https://ai.google.dev/gemini-api/docs/files (2026-11-22)."""
_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "gif": "image/gif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "html": "text/html",
    "htm": "text/html",
    "css": "text/css",
    "csv": "text/csv",
    "xml": "text/xml",
    "json": "application/json",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "aiff": "audio/aiff",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "m4a": "audio/m4a",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "mpg": "video/mpg",
    "mov": "video/quicktime",
    "avi": "video/x-msvideo",
    "flv": "video/x-flv",
    "webm": "video/webm",
    "wmv": "video/x-ms-wmv",
    "3gp": "video/3gpp",
}
"""Media types by the ending of an address, as far as Gemini reads them. Not by the machine's own table, which
differs from one to the next."""


def encode_part(path: str, part: ContentPart, call: ProviderCall) -> dict[str, Any]:
    """The part as Gemini reads it.

    Args:
        path: Where the part stands, such as `messages[0].content[1]`.
        part: Validated.
        call: Takes what can't be followed.

    Raises:
        RequestError: It has a form that can't be told.
    """
    for mark in ("cache_control", "prompt_cache_breakpoint"):
        if part.HasField(mark):
            call.omissions.omit(f"{path}.{mark}", _NO_MARKS)
    match part.type:
        case "text":
            return {"text": part.text}
        case "refusal":
            return {"text": part.refusal}
        case "image_url":
            image = _by_address(f"{path}.image_url.url", part.image_url.url, "image/jpeg")
            return image | _resolution(f"{path}.image_url.detail", part.image_url.detail, call)
        case "input_audio":
            return _audio(f"{path}.input_audio.format", part)
        case "video_url":
            return _by_address(f"{path}.video_url.url", part.video_url.url, "video/mp4")
        case "document_url":
            return _by_address(f"{path}.document_url", part.document_url, "application/pdf")
        case "file":
            return _file(f"{path}.file", part.file, call)
        case _:
            raise invalid(f"{path}.type", "one of the contract's types")


def inline_type_of(part: dict[str, Any]) -> str | None:
    """The media type of one of Gemini's parts that holds data; None for every other."""
    media = part.get("inlineData")
    return media["mimeType"] if media else None


def _by_address(path: str, url: str, default: str, media_type: str = "") -> dict[str, Any]:
    """A part of a data: URL, or of another address whose type its ending tells."""
    data = read_data_url(url)
    if data is not None:
        return _inline(media_type or data.media_type or default, data.base64)
    if url[:5].lower() == "data:":
        raise invalid(path, "a data: URL in base64, or another address")
    try:
        ending = urlsplit(url).path.rpartition("/")[2].rpartition(".")[2].lower()
    except ValueError:  # such as a bracket that is never closed
        raise invalid(path, "a data: URL in base64, or another address") from None
    return {"fileData": {"mimeType": media_type or _TYPES.get(ending, default), "fileUri": url}}


def _inline(media_type: str, base64: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": media_type, "data": base64}}


def _resolution(path: str, detail: str, call: ProviderCall) -> dict[str, Any]:
    if detail in {"", "auto"}:
        return {}
    level = _RESOLUTIONS.get(detail)
    if level is None or not has_part_resolution(call.model):
        call.omissions.omit(path, f"has a model `{call.model}` that takes no such detail for a single image")
        return {}
    return {"mediaResolution": {"level": level}}


def _audio(path: str, part: ContentPart) -> dict[str, Any]:
    name = part.input_audio.format.lower()
    if not _FORMAT.fullmatch(name):
        raise invalid(path, 'the name of a format, such as "wav" or "mp3"')
    return _inline(_AUDIO_TYPES.get(name, f"audio/{name}"), part.input_audio.data)


def _file(path: str, file: File, call: ProviderCall) -> dict[str, Any]:
    if file.filename:
        call.omissions.omit(f"{path}.filename", "reads no names of files")
    if file.citations:
        call.omissions.omit(f"{path}.citations", "cites no documents of the conversation")
    if file.file_data:
        return _file_data(path, file)
    if file.file_url:
        return _by_address(f"{path}.file_url", file.file_url, "application/pdf", file.mime_type)
    if file.file_id:
        url = _FILES_API + file.file_id if file.file_id.startswith("files/") else file.file_id
        return {"fileData": {"mimeType": file.mime_type or "application/pdf", "fileUri": url}}
    raise _nothing(path)


def _file_data(path: str, file: File) -> dict[str, Any]:
    data = read_data_url(file.file_data)
    if data is None:
        raise invalid(f"{path}.file_data", "a data: URL in base64")
    return _inline(file.mime_type or data.media_type or "application/pdf", data.base64)


def _nothing(path: str) -> RequestError:
    return missing(f"{path}.file_data", "the document, unless `file_url` or `file_id` is given")
