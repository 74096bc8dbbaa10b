"""Sends one signed message to a receiver, whatever that does: bounded in time and bytes."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from standardwebhooks import Webhook as Signer

from stream.networks.egress import RefusedAddress, is_refusal
from stream.networks.http import user_agent
from stream.networks.http_errors import describe
from stream.sinks.webhook_address import Network, Resolver, could_be_allowed, socket_factory
from stream.store.webhook_deliveries import Try

TOTAL_TIMEOUT = 20.0  # seconds, for a whole try
CONNECT_TIMEOUT = 10.0  # seconds
KEEPALIVE = 15.0  # seconds that a connection stays open for the next message
ANSWER_TIMEOUT = 2.0  # seconds, for the body of the answer
ANSWER_BYTES = 2048  # of it that are read
ANSWER_SHOWN = 500  # characters of it that are kept
GONE = 410
_LOCATION_SHOWN = 200  # characters


class WebhookClient:
    """The HTTP client of one webhook, for one address; it follows no redirects."""

    def __init__(self, url: str, resolver: Resolver, allowed: Sequence[Network]) -> None:
        self.url = url
        self._allowed = allowed
        plain = not url.startswith("https:")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=1,
                keepalive_timeout=KEEPALIVE,
                resolver=resolver,
                use_dns_cache=False,
                socket_factory=socket_factory(allowed, plain=plain),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=TOTAL_TIMEOUT, sock_connect=CONNECT_TIMEOUT),
            headers={"User-Agent": user_agent(), "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(self, message_id: str, body: bytes, secrets: Sequence[str]) -> Try:
        """Send a message once; says what came of it."""
        began = time.monotonic()
        headers = signed(message_id, body, secrets, datetime.now(UTC))
        try:
            async with self._session.post(
                self.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = await _beginning(response)
                return Try(
                    time.monotonic() - began,
                    response.status,
                    _why_failed(response),
                    answer,
                    _retry_after(response.headers.get("Retry-After", "")),
                    is_final=response.status == GONE,
                )
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            seconds = time.monotonic() - began
            # A name may have had a wrong address for a while only.
            is_final = is_refusal(error) and not could_be_allowed(self.url, self._allowed)
            return Try(seconds, None, _explain(error), is_final=is_final)


def signed(message_id: str, body: bytes, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """The headers of Standard Webhooks, with a signature of each secret."""
    text = body.decode()
    signatures = [Signer(secret).sign(message_id, now, text) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """The beginning of the answer; a longer one is not read, and its connection is closed."""
    body = bytearray()
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(ANSWER_TIMEOUT):
            while len(body) < ANSWER_BYTES and (data := await response.content.read(ANSWER_BYTES)):
                body += data
    if not response.content.at_eof():
        response.close()
    text = bytes(body[:ANSWER_BYTES]).decode("utf-8", "replace").replace("\0", "\ufffd")
    return text[:ANSWER_SHOWN].strip()


def _why_failed(response: aiohttp.ClientResponse) -> str:
    """Why an answer is a failure; empty for a success."""
    status = response.status
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        where = response.headers.get("Location", "another address")[:_LOCATION_SHOWN]
        return (
            f"The receiver redirects to {where} (status {status}). Redirects are not followed:"
            " enter the final address."
        )
    if status == GONE:
        return "The receiver wants no more messages (status 410 Gone)."
    return f"The receiver answers with status {status}; any 2xx would be a success."


def _retry_after(text: str) -> float | None:
    """Seconds that the receiver asks to wait; None when it does not."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    with contextlib.suppress(ValueError, OverflowError):
        at = parsedate_to_datetime(text)
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return max(0.0, (at - datetime.now(UTC)).total_seconds())
    return None


def _explain(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"The receiver does not answer within {TOTAL_TIMEOUT:.0f} seconds."
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, RefusedAddress):
        return f"Nothing was sent: {cause.why}."
    return f"The receiver cannot be reached: {describe(error).rstrip('.')}."
