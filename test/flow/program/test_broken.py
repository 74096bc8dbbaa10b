"""Our own corruption is loud: the program ends with exit code 1 and says what is wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.conftest import Tables
    from test.flow.program.conftest import MakeProgram, Program, Simulate


async def collecting(
    program: Program, tables: Tables, url: str, eventually: Eventually
) -> asyncio.subprocess.Process:
    await tables.add_tracks("snow")
    await program.add_source(url)
    await program.start()

    async def some_stored() -> bool:
        return await tables.stored() > 0

    await eventually(some_stored)
    assert program.process is not None
    return program.process


@pytest.mark.parametrize("wrong", ["position + 1", "1000000000000"])
async def test_a_position_that_nobody_here_wrote_ends_the_program(
    wrong: str,
    make_program: MakeProgram,
    database: str,
    tables: Tables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    """Another writer of the same journal, or a restored backup: going on would lose or double."""
    program = make_program("main", database)
    async with simulate(rate=200) as server:
        process = await collecting(program, tables, server.url, eventually)
        await tables.rows(f"UPDATE positions SET position = {wrong}")
        async with asyncio.timeout(10):
            assert await process.wait() == 1
    assert "Something that must never happen has happened: position of journal" in (
        program.log.read_text()
    )


async def test_a_damaged_journal_ends_the_program(
    make_program: MakeProgram,
    database: str,
    tables: Tables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    """Not the tail, which a crash may tear, but a sealed segment that was not stored yet."""
    journal = {"segment_bytes": 1 << 16, "min_free_bytes": 0, "min_free_percent": 0}
    program = make_program("main", database, journal=journal)
    async with simulate(rate=200) as server:
        await collecting(program, tables, server.url, eventually)
        await eventually(lambda: [*program.journal.glob("*.zst")])
        await program.kill()
    await tables.rows("UPDATE positions SET position = 0")
    segment = min(program.journal.glob("*.zst"))
    with segment.open("r+b") as file:
        file.seek(segment.stat().st_size // 2)
        file.write(b"\0" * 100)
    await program.start()
    assert program.process is not None
    async with asyncio.timeout(10):
        assert await program.process.wait() == 1
    said = program.log.read_text()
    assert "Something that must never happen has happened" in said
    assert segment.name in said
