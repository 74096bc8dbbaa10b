"""Brings what is due to people: in order, and again after a while when nobody took it."""

import logging
import time

import msgspec

from monitor.alert.channels import Channels
from monitor.alert.engine import Engine, Muted, Notice
from monitor.alert.messages import Message, parcels
from monitor.alert.safety import Safe

logger = logging.getLogger(__name__)

RETRY_FIRST, RETRY_MOST = 15.0, 900.0  # seconds between two attempts


class Teller:
    """The only one that sends messages."""

    def __init__(self, channels: Channels, safe: Safe) -> None:
        self.channels = channels
        self.safe = safe
        self._failures = 0
        self._again_at = float("-inf")  # monotonic

    async def send(self, message: Message) -> bool:
        """Whether anybody got it. It holds no credential, whatever was in it."""
        clean = msgspec.structs.replace(
            message, title=self.safe(message.title), body=self.safe(message.body)
        )
        return await self.channels.send(clean)

    async def tell(self, engine: Engine, muted: Muted, *, only: frozenset[str] | None) -> None:
        """Tell what is due; `only` of these rules, when the rest is not known well enough yet."""
        now = time.time()
        notices = engine.due(now, muted)
        told_now = [each for each in notices if only is None or each.alert.rule in only]
        if time.monotonic() < self._again_at:
            told_now = []
        engine.missed([each for each in notices if each not in told_now])
        for parcel in parcels(told_now, now):
            if not await self.send(parcel.message):
                engine.missed(told_now)
                self._put_off(told_now)
                return
            self._failures, self._again_at = 0, float("-inf")
            engine.delivered(parcel.notices, time.time())

    def _put_off(self, notices: list[Notice]) -> None:
        wait = min(RETRY_FIRST * 2.0**self._failures, RETRY_MOST)
        self._failures = min(self._failures + 1, 20)
        self._again_at = time.monotonic() + wait
        logger.warning(
            "no channel takes the alerts; they are told later",
            extra={"waiting": len(notices), "again_in": wait},
        )
