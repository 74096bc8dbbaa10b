"""What goes wrong unexpectedly with one source leaves the others collecting."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.conftest import Tables
    from test.flow.program.conftest import MakeProgram, Simulate


async def test_a_source_that_cannot_begin_fails_alone_and_begins_when_it_can(
    make_program: MakeProgram,
    simulate: Simulate,
    database: str,
    tables: Tables,
    eventually: Eventually,
) -> None:
    """In place of its journal there is a file."""
    program = make_program("main", database)
    await tables.add_tracks("the,snow")
    async with simulate(rate=100) as server, simulate(rate=100) as other:
        await program.add_source(server.url)
        await program.command(
            *("source", "add", "second", "--network", "x_v2", "--url", other.url),
            *("--secrets", "-"),
            given="bearer_token: T",
        )
        program.journal.parent.mkdir(parents=True)
        program.journal.write_text("in the way")
        await program.start()
        state = "SELECT state || ': ' || reason FROM sources WHERE name = %s"

        async def failed_alone() -> bool:
            first, second = await tables.one(state, "main"), await tables.one(state, "second")
            return str(first).startswith("paused: ") and second == "streaming: "

        await eventually(failed_alone)
        assert program.alive
        program.journal.unlink()
        # Its row has changed: it begins at once.
        await program.command("source", "disable", "main")
        await program.command("source", "enable", "main")

        async def streams() -> bool:
            return bool(await tables.one(state, "main") == "streaming: ")

        await eventually(streams)
    await program.stop()
    assert "service ended" not in program.log.read_text()  # it has no address to listen on
