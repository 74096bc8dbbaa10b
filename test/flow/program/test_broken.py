"""Our own corruption is loud: the program ends with exit code 1 and says what is wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.program.conftest import Collect


@pytest.mark.parametrize("wrong", ["position + 1", "1000000000000"])
async def test_an_unknown_position_ends_the_program(wrong: str, collect: Collect) -> None:
    """Another writer of the same journal, or a restored backup: going on would lose or double."""
    async with collect("snow", rate=200) as run:
        await run.stored(0)
        await run.tables.rows(f"UPDATE positions SET position = {wrong}")
        assert run.program.process is not None
        async with asyncio.timeout(60):
            assert await run.program.process.wait() == 1
    assert "Internal error, an invariant is broken: position of journal" in (
        run.program.log.read_text()
    )


@pytest.mark.parametrize("stored", [False, True])
async def test_a_damaged_journal_costs_only_the_damaged_frames(
    collect: Collect, *, stored: bool
) -> None:
    """A sealed, compressed segment, not stored yet, or stored already."""
    journal = {"segment_bytes": 1 << 16, "min_free_bytes": 0, "min_free_percent": 0}
    async with collect("snow", settings={"journal": journal}, rate=200) as run:
        program, tables = run.program, run.tables
        await run.stored(0)
        await run.eventually(lambda: [*program.journal.glob("*.zst")])
        await program.kill()
        if not stored:
            await tables.rows("UPDATE positions SET position = 0")
        segment = min(program.journal.glob("*.zst"))
        with segment.open("r+b") as file:
            file.seek(segment.stat().st_size // 2)
            file.write(b"\0" * 100)
        before = await tables.stored()
        await program.start()
        await run.stored(before)
        await program.stop()
    damaged = await tables.one("SELECT count(*) FROM rejects WHERE reason = 'damaged'")
    said = await tables.one("SELECT count(*) FROM events WHERE text LIKE '%damaged at position%'")
    assert bool(damaged) is bool(said) is not stored
    assert ("damaged at position" in program.log.read_text()) is not stored
