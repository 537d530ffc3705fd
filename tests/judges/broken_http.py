"""HTTP requests that are broken in one way or several, or now and then in none; each made from a number alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.conftest import KEY
from tests.judges.asked import BODIES, MODELS, SESSION, URLS
from tests.judges.fuzzing import SEED
from tests.judges.stored_ids import ANSWER_PLACE, CHOICE_PLACE, COMPLETION_PLACE

_NASTY: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1.5, 1e308, -1e308, 2**31, 2**53 + 1, 2**64, 10**400, "", " ", "\x00", "\ud800", "é" * 300,
    "NaN", "Infinity", "1", "null", [], [[]], {}, {"": {}}, [None], [1, "a", {}], {"type": "object"}, "data:,", "http://[",
    "x" * 70_000, "../../etc/passwd", "%00", "${jndi:x}", {"a": {"b": {"c": [[[[]]]]}}},
    "support", "size", "shop__echo", "{{ 7 * 7 }}", SESSION, COMPLETION_PLACE, CHOICE_PLACE, ANSWER_PLACE, "call:shop__hang+shop__nope",
)  # fmt: skip
_METHODS: Final = (
    b"GET", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"post", b"PO ST", b"", b"\x00", b"P" * 9000,
)  # fmt: skip
_PATHS: Final = (
    b"/", b"*", b"", b"//", b"/v1/models", b"/v1/models/a%2Fb", b"/v1/models/%ff%fe", b"/v1/models/%", b"/v1/models/%00",
    b"/v1/chat/completions:stream", b"/v1/chat/completions?a=b", b"/v1/chat/completions?model=openai&model=x",
    b"/v1/chat/completions#x", b"/v1/../v1/chat/completions", b"/v1/./chat//completions", b"/v1/chat/completions%00",
    b"/v1\\chat\\completions", b"http://other/v1/chat/completions", b"/api/v1/chat/completions", b"/v1/chat/completions/",
    b"/parley.v1.ChatService/CreateChatCompletion", b"/grpc.health.v1.Health/Check", b"/readyz", b"/" + b"a" * 70_000,
    b"/v1/models?pageSize=1", b"/v1/models/" + b"x/" * 2000, b"/%u0041", b"/v1/chat/completions?%", b"/\xff\xfe",
    b"/v1/sessions", b"/api/v1/sessions/", b"/v1/sessions/a/b", b"/v1/chat/completions/a/messages/b", b"/v1/chat/completions//messages",
    b"/parley.v1.SessionService/ListSessions", b"/v1/chat/completions:list", b"/v1/chat/completions/x:stream",
)  # fmt: skip
_QUERIES: Final = (
    b"limit=0", b"limit=101", b"limit=-1", b"limit=99999999999999999999", b"limit=1.5", b"limit=1e1", b"limit=", b"limit=1&limit=2", b"limit[]=1",
    b"limit=%00", b"order=up", b"order=", b"order=asc&order=desc", b"after=", b"after=%00", b"after=x", b"after=%ff", b"model=", b"model=%zz",
    b"model=%2F&model", b"metadata", b"metadata[", b"metadata[]=", b"metadata[a", b"metadata[a]", b"metadata[%00]=%00", b"metadata[a]=b&metadata[a]=c",
    b"metadata[a][b]=c", b"metadata=a", b"metadata.a=b", b"labels[" + b"k" * 70 + b"]=" + b"v" * 600, b"labels[%ff]=%fe", b"labels[a]=%ED%A0%80",
    b"&".join(b"metadata[k%d]=v" % number for number in range(20)), b"tags=", b"tags[]=a&tags[7]=b", b"&".join([b"tags=t"] * 100), b"tags=" + b"t" * 70,
    b"tags[a]=b", b"user=" + b"u" * 300, b"user=%F0%9F%98%80", b"user=' OR 1=1 --", b"user=%25", b"session_id=x", b"session_id=", b"label_pairs=a%3Db",
    b"labelPairs=a", b"completion_id=x", b"sessionId=x", b"request.model=x", b"a=b", b"=", b"&&&", b"?", b"#", b"%", b"+", b"=&=", b"x" * 9000,
)  # fmt: skip
_IDS: Final = (
    b"", b".", b"..", b"%2e%2e", b"%2F", b"a%2Fb", b"%00", b"%ff", b"%", b"%zz", b"chatcmpl-", b"chatcmpl-x", b"chatcmpl-" + b"0" * 32, b"msg_" + b"f" * 32,
    b"chatcmpl-" + b"f" * 31, b"00000000-0000-0000-0000-000000000000", SESSION.upper().encode(), b"*", b":stream", b"x:y", b"a" * 5000, b"' OR 1=1 --", b"\xc3\xa9",
)  # fmt: skip
_HEADERS: Final = (
    b"content-type: text/plain", b"content-type: application/grpc", b"content-type: application/grpc-web+proto", b"content-type:",
    b"content-type: application/json; charset=\xff", b"content-length: 0", b"content-length: -1", b"content-length: 5, 5",
    b"content-length: 99999999999999999999", b"content-length: 1\r\ncontent-length: 2", b"transfer-encoding: chunked",
    b"transfer-encoding: gzip, chunked", b"transfer-encoding: identity", b"transfer-encoding: chunked, chunked", b"expect: 100-continue",
    b"expect: 200-ok", b"upgrade: websocket\r\nconnection: upgrade", b"upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQAAP__",
    b"connection: close", b"connection: x-api-key", b"te: trailers", b"x-parley-sse: 1", b"x-parley-target: a", b"grpc-timeout: 1n",
    b"grpc-timeout: abc", b"x-request-timeout-ms: 1", b"x-request-timeout-ms: -5", b"x-request-timeout-ms: 99999999999999999999",
    b"x-request-timeout-ms: abc", b"x-request-id: " + b"i" * 5000, b"x-request-id: \xff", b"x-envoy-upstream-rq-timeout-ms: 1",
    b"x-envoy-retry-on: 5xx", b"x-envoy-max-retries: 100", b"foo-bin: !!!", b"grpc-status: 0", b":path: /x", b"no colon here", b" folded: x",
    b"x: a\r\n folded", b"name with space: x", b"x-nul: a\x00b", b"x-cr: a\rb", b"x-big: " + b"y" * 50_000, b"x-big: " + b"y" * 70_000,
    b"\r\n".join(b"x-many-%d: 1" % number for number in range(150)), b"host: other", b"cookie: " + b"c=1;" * 500, b"content-encoding: gzip",
    b"accept-encoding: gzip", b"accept: text/html", b"range: bytes=0-1", b"authorization: Bearer", b"authorization: Basic \xff", b"x-api-key: wrong",
    b"origin: null", b"access-control-request-method: POST", b"x-forwarded-for: " + b"1.1.1.1, " * 100, b"forwarded: for=_x", b"keep-alive: 1", b"x+y: 1", b"x!#$%&'*^`|~y: 1",
)  # fmt: skip
_H2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def broken_request(number: int) -> bytes:
    """The request of that number; the same for the same seed."""
    chance = random.Random(f"{SEED}-{number}")
    if chance.random() < 0.01:
        return _H2_PREFACE + chance.randbytes(chance.randrange(200))
    request = _whole(chance)
    breaks = chance.choice((0, 1, 1, 1, 2, 3))  # some are right, so that there is something stored
    for _ in range(breaks):
        _break_a_part(chance, request)
    match chance.randrange(10) if breaks else None:
        case 0:
            return _framed(chance, request)
        case 1:
            return _cut(chance, request.joined())
        case 2:
            return _other_bytes(chance, request.joined(), at_most=6)
        case _:
            return request.joined()


@dataclass
class _Request:
    method: bytes
    path: bytes
    headers: list[bytes]
    body: bytes

    def joined(self) -> bytes:
        """Its bytes; the length is told unless a header tells another."""
        own = any(header.startswith((b"content-length", b"transfer-encoding")) for header in self.headers)
        lengths = [] if own else [b"content-length: %d" % len(self.body)]
        return b"\r\n".join([b"%b %b HTTP/1.1" % (self.method, self.path), *self.headers, *lengths, b"", self.body])


def _break_a_part(chance: random.Random, request: _Request) -> None:
    match chance.randrange(10):
        case 0 | 1 | 2 | 3 if not request.body:
            request.path = _other_url(chance, request.path)
        case 0 | 1 | 2 | 3:
            request.body = _other_json(chance, request.body)
        case 4 | 5:
            request.body = _other_bytes(chance, request.body)
        case 6 | 7:
            request.headers.insert(chance.randrange(len(request.headers) + 1), chance.choice(_HEADERS))
        case 8:
            request.path = chance.choice(_PATHS)
        case _:
            request.method = chance.choice(_METHODS)


def _whole(chance: random.Random) -> _Request:
    headers = [b"host: x", b"content-type: application/json", b"authorization: Bearer " + KEY.encode()]
    if chance.random() < 0.4:
        method, url, asked = chance.choice(URLS)
        text = json.dumps(asked).encode() if asked is not None else b""
        return _Request(method.encode(), url.encode(), headers, text)
    body = dict(chance.choice(BODIES), model=chance.choice(MODELS), stream=chance.random() < 0.5)
    return _Request(b"POST", b"/v1/chat/completions", headers, json.dumps(body).encode())


def _other_url(chance: random.Random, url: bytes) -> bytes:
    """Another id, another query, or other bytes."""
    path, mark, query = url.partition(b"?")
    match chance.randrange(4):
        case 0:
            return path + b"?" + chance.choice(_QUERIES)
        case 1:
            return url + (b"&" if mark else b"?") + chance.choice(_QUERIES)
        case 2:
            parts = path.split(b"/")
            parts[chance.randrange(len(parts))] = chance.choice(_IDS)
            return b"/".join(parts) + mark + query
        case _:
            return _other_bytes(chance, url)


def _other_json(chance: random.Random, body: bytes) -> bytes:
    """One value, key or level of the JSON changed."""
    try:
        value = json.loads(body)
    except ValueError:
        return body
    places = list(_places(value))
    if not places:
        return json.dumps(chance.choice(_NASTY)).encode()
    holder, key = chance.choice(places)
    nasty = chance.choice(_NASTY)
    change: Callable[[], object] = chance.choice(
        (
            lambda: _put(holder, key, nasty),
            lambda: _put(holder, key, nasty),
            lambda: _put(holder, key, [holder[key]]),
            lambda: _put(holder, key, _nested(nasty, chance.choice((3, 30, 60, 99, 150)))),
            lambda: _put(holder, key, [holder[key]] * chance.choice((2, 200))),
            lambda: holder.pop(key),
            lambda: holder.update({str(nasty)[:40]: holder[key]}) if isinstance(holder, dict) else holder.reverse(),
        )
    )
    change()
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    if chance.random() < 0.1 and isinstance(key, str):  # a key twice
        text = text[:-1] + b"," + json.dumps(key).encode() + b":" + json.dumps(nasty).encode() + b"}"
    return text


def _put(holder: Any, key: Any, value: Any) -> None:
    holder[key] = value


def _nested(value: Any, levels: int) -> Any:
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def _places(value: Any) -> Any:
    """Every place within a JSON value, as its holder and key."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def _other_bytes(chance: random.Random, text: bytes, at_most: int = 3) -> bytes:
    changed = bytearray(text)
    for _ in range(chance.randint(1, at_most)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(5):
            case 0:
                changed[at : at + 1] = chance.randbytes(1)
            case 1:
                changed[at:at] = chance.choice(
                    (b"\x00", b"\xff", b'"', b"{", b"}", b"[", b",", b"\\", b"\r\n", b"\n", b"\\ud800")
                )
            case 2:
                del changed[at : at + chance.randint(1, 20)]
            case 3:
                changed[at:at] = changed[at : at + chance.randint(1, 200)]
            case _:
                changed[at:at] = chance.randbytes(chance.randint(1, 30))
    return bytes(changed)


def _cut(chance: random.Random, text: bytes) -> bytes:
    return text[: chance.randrange(len(text))]


def _framed(chance: random.Random, request: _Request) -> bytes:
    """In chunks, most of them not as they should be."""
    body = request.body
    first = b"%b %b HTTP/1.1" % (request.method, request.path)
    head = b"\r\n".join([first, *request.headers, b"transfer-encoding: chunked", b"", b""])
    size = chance.choice((1, 7, 100, 5000))
    parts = [body[at : at + size] for at in range(0, len(body), size)][:200]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    end = chance.choice((
        b"0\r\n\r\n", b"0\r\n\r\n", b"0;a=b\r\n\r\n", b"0\r\nx-trailer: 1\r\n\r\n", b"", b"0\r\n", b"g\r\n\r\n", b"-1\r\n\r\n",
        b"ffffffffffffffff\r\nx\r\n", b"5\r\nab\r\n0\r\n\r\n", b"0\n\n", b"00000000000000000000\r\n\r\n", b"0\r\ncontent-length: 5\r\n\r\n",
    ))  # fmt: skip
    return head + framed + end
