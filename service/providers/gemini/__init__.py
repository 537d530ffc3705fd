"""Gemini's API: generateContent and streamGenerateContent."""

from __future__ import annotations

from typing import Final

from service.providers.chat_api import ChatApi
from service.providers.gemini.errors import error_of_answer
from service.providers.gemini.request import encode_request
from service.providers.gemini.response import translate_completion
from service.providers.gemini.stream import StreamTranslator

GEMINI: Final = ChatApi(
    encode=encode_request,
    translate=translate_completion,
    stream=StreamTranslator,
    error=error_of_answer,
)
"""The translators."""
