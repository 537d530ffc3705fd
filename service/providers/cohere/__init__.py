"""Adapter of Cohere's chat API, version 2; the README's example of how small an adapter is."""

from __future__ import annotations

from service.providers.chat_api import ChatApi
from service.providers.cohere.errors import error_of_answer
from service.providers.cohere.request import encode_request
from service.providers.cohere.response import translate_answer
from service.providers.cohere.stream import StreamTranslator

COHERE = ChatApi(encode=encode_request, translate=translate_answer, stream=StreamTranslator, error=error_of_answer)
