"""From the parts of a message's content to the blocks of the Messages API. Pure.

Source: https://platform.claude.com/docs/en/api/messages (2026-11-22, by anthropic-sdk-python 2.12),
…/build-with-claude/vision, …/build-with-claude/pdf-support, …/build-with-claude/citations.
"""

from __future__ import annotations

import base64
from typing import Any, Final
from urllib.parse import urlsplit

from service._gen.parley.v1.message_pb2 import ContentPart, File, ImageUrl, Message
from service.errors import invalid, missing
from service.json_values import Json
from service.providers.content import Data, object_at, parts_of, read_data_url
from service.providers.omissions import Omissions

Block = dict[str, Any]

_IMAGE_ENDINGS: Final = (".png", ".jpg", ".jpeg", ".gif", ".webp")
_IMAGE_TYPES: Final = {
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",  # no registered type, and common
    "image/png": "image/png",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
}
"""What the API calls them, by what callers do."""
_MARKS: Final = ("cache_control", "prompt_cache_breakpoint")
_NOT_READ: Final = {"input_audio": "hears no audio", "video_url": "watches no video"}
_A_DATA_URL: Final = "a data: URL in base64"
_AN_ADDRESS: Final = "an https: address, or a data: URL in base64"


class PartEncoder:
    """Encodes the parts of one message.

    Args:
        path: Where the message stands, such as `messages[0]`.
        omissions: Takes what the provider can't follow.
    """

    __slots__ = ("_omissions", "_path")

    def __init__(self, path: str, omissions: Omissions) -> None:
        self._path = path
        self._omissions = omissions

    def blocks(self, message: Message) -> list[Block]:
        """The content as blocks, without texts that say nothing.

        The API refuses an empty text, and one of white space where the message has no other text. Source:
        https://github.com/LibreChat-AI/agents/pull/124 (2026-11-22), where it was tried.

        Raises:
            RequestError: A part can't be sent to this provider, or a user's message is nothing but white space.
        """
        field = "parts" if message.parts else "content"
        parts = parts_of(self._path, message)
        texts = [part.text or part.refusal for part in parts if part.type in {"text", "refusal"}]
        keeps_blank = message.role == "tool" or not all(map(_is_blank, texts))
        if message.role == "user" and any(texts) and not keeps_blank and len(texts) == len(parts):
            raise invalid(f"{self._path}.{field}", "more than white space")
        blocks = []
        for index, part in enumerate(parts):
            place = f"{self._path}.{field}[{index}]"
            block = self._block(place, part)
            if block["type"] == "text" and _is_blank(block["text"], keeps_blank=keeps_blank):
                self._omit_marks(place, part)
                continue
            if (cache_control := _cache_control(place, part)) is not None:
                block["cache_control"] = cache_control
            blocks.append(block)
        return blocks

    def texts(self, message: Message) -> list[Block]:
        """As `blocks`, where the role allows only text."""
        blocks = self.blocks(message)
        if any(block["type"] != "text" for block in blocks):
            field = "parts" if message.parts else "content"
            self._omissions.refuse(f"{self._path}.{field}", f'takes only text in messages of role "{message.role}"')
        return blocks

    def _omit_marks(self, place: str, part: ContentPart) -> None:
        for name in _MARKS:
            if part.HasField(name):
                self._omissions.omit(f"{place}.{name}", "marks for its cache no text that says nothing")

    def _block(self, place: str, part: ContentPart) -> Block:
        if part.type in _NOT_READ:
            self._omissions.refuse(f"{place}.type", _NOT_READ[part.type])
        match part.type:
            case "text":
                return {"type": "text", "text": part.text}
            case "refusal":
                return {"type": "text", "text": part.refusal}
            case "image_url":
                return self._image(f"{place}.image_url", part.image_url)
            case "file":
                return self._file(f"{place}.file", part.file)
            case _:  # document_url: those are all
                return self._document_of_url(f"{place}.document_url", part.document_url)

    def _image(self, path: str, image: ImageUrl) -> Block:
        if image.detail not in {"", "auto"}:
            self._omissions.omit(f"{path}.detail", "looks at every image as closely as it can")
        data = read_data_url(image.url)
        if data is None:
            return {"type": "image", "source": _url_source(f"{path}.url", image.url)}
        if not data.media_type.startswith("image/"):
            raise invalid(f"{path}.url", "an https: address, or a data: URL whose media type is that of an image")
        return self._image_of_data(f"{path}.url", data)

    def _image_of_data(self, path: str, data: Data) -> Block:
        return {"type": "image", "source": _base64_source(self._image_type(path, data.media_type), data.base64)}

    def _image_type(self, path: str, media_type: str) -> str:
        if media_type not in _IMAGE_TYPES:
            self._omissions.refuse(path, "reads only images of type JPEG, PNG, GIF and WebP")
        return _IMAGE_TYPES[media_type]

    def _file(self, path: str, file: File) -> Block:
        given = [name for name in ("file_data", "file_id", "file_url") if getattr(file, name)]
        if not given:
            raise missing(path, "an object with `file_data`, `file_id` or `file_url`")
        if len(given) > 1:
            raise invalid(f"{path}.{given[1]}", f"left out where `{given[0]}` is given")
        if file.mime_type.startswith("image/"):
            self._image_type(f"{path}.mime_type", file.mime_type)
        if file.file_data:
            block = self._file_of_data(f"{path}.file_data", file.file_data)
        elif file.file_id:
            is_image = file.mime_type.startswith("image/")
            block = {"type": "image" if is_image else "document", "source": {"type": "file", "file_id": file.file_id}}
        else:
            source = _url_source(f"{path}.file_url", file.file_url)
            block = {"type": "image" if _is_image(file) else "document", "source": source}
        if block["type"] == "document":
            block |= {"title": file.filename} if file.filename else {}
            block |= {"citations": {"enabled": True}} if file.citations else {}
            return block
        if file.filename:
            self._omissions.omit(f"{path}.filename", "has no place for the name of an image")
        if file.citations:
            self._omissions.omit(f"{path}.citations", "cites documents, not images")
        return block

    def _document_of_url(self, path: str, url: str) -> Block:
        if url.startswith("data:"):
            return self._file_of_data(path, url)
        return {"type": "document", "source": _url_source(path, url)}

    def _file_of_data(self, path: str, url: str) -> Block:
        data = read_data_url(url)
        if data is None:
            raise invalid(path, _A_DATA_URL)
        if data.media_type.startswith("image/"):
            return self._image_of_data(path, data)
        if data.media_type == "application/pdf":
            return {"type": "document", "source": _base64_source(data.media_type, data.base64)}
        if not data.media_type.startswith("text/"):
            self._omissions.refuse(path, "reads only PDF, text and images")
        # The one media type of text sources; what a text is of, its name may tell.
        source = {"type": "text", "media_type": "text/plain", "data": _decoded_text(path, data.base64)}
        return {"type": "document", "source": source}


def _is_blank(text: str, *, keeps_blank: bool = False) -> bool:
    return not text or (text.isspace() and not keeps_blank)


def _base64_source(media_type: str, data: str) -> Block:
    return {"type": "base64", "media_type": media_type, "data": data}


def _url_source(path: str, url: str) -> Block:
    if not url.startswith(("https://", "http://")):
        raise invalid(path, _AN_ADDRESS)
    try:
        urlsplit(url)
    except ValueError:  # such as a bracket that is never closed
        raise invalid(path, _AN_ADDRESS) from None
    return {"type": "url", "url": url}


def _is_image(file: File) -> bool:
    if file.mime_type:
        return file.mime_type.startswith("image/")
    return urlsplit(file.file_url).path.lower().endswith(_IMAGE_ENDINGS)


def _decoded_text(path: str, data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode("utf-8")
    except ValueError:  # no base64, not even ASCII, or not UTF-8
        raise invalid(path, f"{_A_DATA_URL}, of a text in UTF-8") from None


def _cache_control(place: str, part: ContentPart) -> dict[str, Json] | None:
    """The mark as the caller gave it; OpenAI's mark says no more than that there is one."""
    if part.HasField("cache_control"):
        return object_at(f"{place}.cache_control", part.cache_control)
    return {"type": "ephemeral"} if part.HasField("prompt_cache_breakpoint") else None
