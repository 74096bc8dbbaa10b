"""The deletions of all cells as one: each cell numbers its own."""

from collections.abc import Mapping, Sequence

import msgspec

from stream.cells.databases import Cells
from stream.db import Executor
from stream.store import deletion_log
from stream.store.deletion_log import LoggedDeletion


class MergedDeletions(msgspec.Struct, frozen=True):
    """Deletions, and the number in each cell after which a reader goes on."""

    deletions: Sequence[LoggedDeletion]
    numbers: Mapping[str, int]
    more: bool
    missing: tuple[str, ...]


async def after(
    cells: Cells, connection: Executor, numbers: Mapping[str, int], limit: int
) -> MergedDeletions:
    """The next deletions after these numbers, by cell; a cell without one begins at the start."""
    answers = await cells.ask(
        connection, lambda own, name: deletion_log.after(own, numbers.get(name, 0), limit)
    )
    # Numbers are about the time at which a deletion became known.
    found = sorted(
        ((each, name) for name, logged in answers.by_cell.items() for each in logged),
        key=lambda pair: pair[0].number,
    )
    taken = found[:limit]
    reached = dict(numbers) | {name: each.number for each, name in taken}
    more = len(found) > limit or any(len(logged) == limit for logged in answers.by_cell.values())
    return MergedDeletions([each for each, _ in taken], reached, more, answers.missing)
