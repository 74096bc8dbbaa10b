"""The interface of networks that resend nothing, but can be asked about a gap later."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from stream.notes import MissedGap


class RefillPage(msgspec.Struct, frozen=True):
    """Messages that were read again, and how far each channel is read now.

    `read_to`: seconds since 1970, by channel.
    """

    frames: list[bytes]
    read_to: Mapping[str, float]


class DeletionLookup(Protocol):
    """Asks a server whether posts still exist that it has sent.

    Ids are texts of one length, in the order of time.
    """

    ids_max: int  # that `deleted` looks up at once

    def id_at(self, seconds: float) -> str:
        """The least id of a post of that time, in seconds since 1970."""
        ...

    def time_of(self, post_id: str) -> float:
        """When a post was written, in seconds since 1970."""
        ...

    async def deleted(self, ids: Sequence[str]) -> list[bytes]:
        """Messages of the deletions of those that no longer exist. Raises ConnectError."""
        ...


@runtime_checkable
class RefillingClient(Protocol):
    """A client that can read what was posted during a gap later, although nothing is resent."""

    @property
    def deletion_lookup(self) -> DeletionLookup | None:
        """Finds deletions that happened during a gap; None: switched off."""
        ...

    def missed(self, gaps: Sequence[MissedGap], until: float) -> AsyncIterator[RefillPage]:
        """What was posted during these gaps, page by page, up to a time in seconds since 1970.

        Raises ConnectError.
        """
        ...
