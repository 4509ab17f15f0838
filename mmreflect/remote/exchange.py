"""One request over HTTP and what became of it: a completion, or a failure that says whether to ask again."""

import asyncio
import json
import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mmreflect.remote.asks import Completion
from mmreflect.remote.settings import ServerConfig, key_of

if TYPE_CHECKING:
    from httpx import AsyncClient, Response

_PASSING = (408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
_OVERLOAD = (408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
_FATAL = (301, 302, 303, 307, 308, 401, 402, 403, 404, 405)
_CONNECT_S = 30.0
_SHOWN = 300


@dataclass(slots=True)
class FailedError(Exception):
    """A request without a completion.

    Attributes:
        passing: the same request may work later.
        fatal: no request will work.
        overload: fewer requests should go out at once.
        connected: the server was reached.
        pause_s: seconds that the server asks to wait.
    """

    reason: str
    status: int | None = None
    passing: bool = False
    fatal: bool = False
    overload: bool = False
    connected: bool = True
    pause_s: float | None = None


class Exchange:
    """The connections to one server; made and used inside one event loop."""

    def __init__(self, server: ServerConfig) -> None:
        import httpx

        self._timeout_s, self._key, self._address = server.timeout_s, key_of(server), server.base_url
        self._url = f"{server.base_url}/chat/completions"
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._http: AsyncClient = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(server.timeout_s, connect=min(server.timeout_s, _CONNECT_S)),
            limits=httpx.Limits(max_connections=server.concurrency, max_keepalive_connections=server.concurrency),
            verify=server.base_url.startswith("https"),  # without TLS there is nothing to verify, and it takes 0.1 s
            trust_env=not _loopback(server.base_url),  # no proxy stands before this very machine
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def send(self, content: bytes) -> Completion:
        """Send one request and return its completion.

        Raises:
            FailedError: there is none; the reason holds the server's own words, never the key.
        """
        import httpx

        try:
            # httpx limits each read alone: a server that trickles would never time out.
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.post(self._url, content=content)
        except (TimeoutError, httpx.TimeoutException) as error:
            connected = not isinstance(error, httpx.ConnectTimeout)
            reason = f"no answer within {self._timeout_s:g} s" if connected else "no connection in time"
            raise FailedError(reason, passing=True, overload=True, connected=connected) from None
        except httpx.ConnectError as error:
            raise FailedError(f"no connection ({_words(error)})", passing=True, connected=False) from None
        except httpx.RequestError as error:
            raise FailedError(f"the connection broke ({_words(error)})", passing=True) from None
        if response.status_code >= 300:
            raise self._failure(response, response.status_code, _error_in(response.text))
        return self._completion(response)

    def _completion(self, response: "Response") -> Completion:
        try:
            data = json.loads(response.content)
        except ValueError:
            kind = response.headers.get("content-type", "no content type")
            text = self._clean(response.text)
            raise FailedError(f"no JSON came back but {kind}: {text!r}", response.status_code, passing=True) from None
        if isinstance(data, dict) and data.get("error"):  # some gateways report errors with status 200
            status = data["error"].get("code") if isinstance(data["error"], dict) else None
            raise self._failure(response, status if isinstance(status, int) else 500, data["error"])
        try:
            return replace(_read(data), address=self._address)
        except (KeyError, IndexError, TypeError, AttributeError):
            text = self._clean(response.text)
            raise FailedError(f"no completion came back but {text!r}", response.status_code, passing=True) from None

    def _failure(self, response: "Response", status: int, said: Any) -> FailedError:
        code = str(said.get("code") or said.get("type") or "") if isinstance(said, dict) else ""
        message = said.get("message", said) if isinstance(said, dict) else said
        text = self._clean(message if isinstance(message, str) else json.dumps(message))
        if status in (301, 302, 303, 307, 308):
            text = f"moved to {response.headers.get('location', 'an unknown place')}"
        spent = "insufficient_quota" in code
        return FailedError(
            f"status {status}: {text or response.reason_phrase}",
            status,
            passing=status in _PASSING and not spent,
            fatal=status in _FATAL or spent,
            overload=status in _OVERLOAD,
            pause_s=retry_after(response.headers.get("retry-after")) if status in (429, 503) else None,
        )

    def _clean(self, text: str) -> str:
        """Return a server's words on one short line, without the key."""
        if self._key:
            text = text.replace(self._key, "***")
        line = " ".join(text.split())
        return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _error_in(text: str) -> Any:
    """Return what an error's body says: OpenAI's `error`, FastAPI's `detail`, a bare `message`, or the text."""
    try:
        data = json.loads(text)
    except ValueError:
        return text
    if not isinstance(data, dict):
        return text
    return data.get("error") or data.get("detail") or data.get("message") or text


def _read(data: Any) -> Completion:
    choice = data["choices"][0]
    message, usage = choice["message"], data.get("usage") or {}
    text, refusal = message.get("content") or "", message.get("refusal")
    if isinstance(text, list):  # some servers answer in parts
        text = "".join(part.get("text", "") for part in text)
    finish = "refusal" if refusal and not text else str(choice.get("finish_reason") or "stop")
    return Completion(
        _sound(str(text or refusal or "")),
        finish,
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _sound(str(message.get("reasoning_content") or message.get("reasoning") or "")),
    )


def _sound(text: str) -> str:
    """Return a text that can be written to a file: halves of surrogate pairs without their other half are replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def retry_after(text: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header, which holds seconds or a date; None where it is neither."""
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
