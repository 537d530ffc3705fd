"""The Messages API as a `ChatApi`."""

from __future__ import annotations

from service.providers.anthropic.errors import error_of_answer
from service.providers.anthropic.request import encode_request
from service.providers.anthropic.response import translate_message
from service.providers.anthropic.stream import StreamTranslator
from service.providers.chat_api import ChatApi

ANTHROPIC = ChatApi(encode=encode_request, translate=translate_message, stream=StreamTranslator, error=error_of_answer)
