"""Read messages of the bus in batches, by their numbers (Direct Get, NATS ADR-31)."""

import json
from collections.abc import Mapping, Sequence

from nats.aio.client import Client
from nats.aio.subscription import Subscription

from stream.bus.calls import call
from stream.bus.messages import BLOCK, PART, READ_BLOCKS, BusMessage, read_block_header
from stream.errors import BusAway

READ_TIMEOUT = 2.0  # seconds without another message of a batch
BATCH_TIMEOUT = 30.0  # seconds for all of a batch
READ_BYTES = 4 << 20  # of one batch, at most, beyond its first message
DIRECT_GET = "$JS.API.DIRECT.GET"


class BatchReader:
    """Asks for messages of one lane, one batch after the other."""

    def __init__(
        self, client: Client, stream: str, subject: str, inbox: str, answers: Subscription
    ) -> None:
        self._client = client
        self._request = f"{DIRECT_GET}.{stream}"
        self._subject = subject
        self._inbox = inbox
        self._answers = answers
        self._number = 0

    async def next(self, sequence: int) -> Sequence[BusMessage]:
        """The next messages from this number on; [] when there are none now."""
        self._number += 1
        reply = f"{self._inbox}.{self._number}"  # of an earlier batch there may be late answers
        asked = {
            "seq": sequence,
            "next_by_subj": self._subject,
            "batch": READ_BLOCKS,
            "max_bytes": READ_BYTES,
        }
        found: list[BusMessage] = []
        async with call(BATCH_TIMEOUT):
            await self._client.publish(self._request, json.dumps(asked).encode(), reply=reply)
            while True:
                answer = await self._answers.next_msg(READ_TIMEOUT)
                if answer.subject != reply:
                    continue
                headers = answer.headers or {}
                if is_end(headers):
                    return found
                part, _, parts = headers.get(PART, "0/1").partition("/")
                sequence = int(headers["Nats-Sequence"])
                journal, end = read_block_header(headers.get(BLOCK, ""))
                found.append(BusMessage(sequence, answer.data, int(part), int(parts), journal, end))


def is_end(headers: Mapping[str, str]) -> bool:
    """Whether this answer ends a batch, or says that there is no such message; BusAway."""
    status = headers.get("Status")
    if status not in (None, "204", "404"):
        raise BusAway(f"the bus answers {status} {headers.get('Description', '')}")
    return status is not None
