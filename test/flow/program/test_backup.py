"""`backup` and `restore-backup` as a person gives them, and a daemon that goes on elsewhere."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

from stream import db
from stream.store import migrations
from stream.vault import Vault

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import Callable

    from test.conftest import Eventually
    from test.flow.conftest import OpenTables
    from test.flow.program.conftest import MakeProgram, Program, Simulate


async def migrated(url: str) -> str:
    async with db.connect(url) as database:
        await migrations.migrate(database)
    return url


async def test_a_server_moves_in_one_step_and_collects_elsewhere_as_before(
    make_program: MakeProgram,
    empty_database: Callable[[], str],
    open_tables: OpenTables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    old = make_program("old", await migrated(empty_database()))
    new = make_program("new", await migrated(empty_database()))
    before, after = open_tables(url_of(old)), open_tables(url_of(new))
    await before.add_tracks("snow", "rain,sun", "#news")
    async with simulate(rate=100) as server:
        await old.add_source(server.url)
        await old.start()
        await eventually(lambda: len(server.sent) > 50)
        await old.stop()
        file = old.folder / "moved"
        said = await old.command("backup", str(file), "--passphrase-file", "-", given="horse\n")
        assert "Keep the passphrase in a different place" in said
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert await old.fails("backup", str(file)) == (
            1,
            f"Error: {file} exists already; choose another name.\n",
        )
        wrong = await new.fails(
            "restore-backup", str(file), "--passphrase-file", "-", given="cow\n"
        )
        assert wrong == (1, "Error: The passphrase is wrong.\n")
        said = await new.command(
            "restore-backup", str(file), "--passphrase-file", "-", given="horse\n"
        )
        assert "Restored from" in said
        assert "1 sources, 3 tracks" in said
        await new.start()
        sent = len(server.sent)
        await eventually(lambda: len(server.sent) > sent + 50)
        await new.stop()
    tracks = "SELECT id, value, owner, created_at FROM tracks ORDER BY id"
    assert await after.rows(tracks) == await before.rows(tracks)
    counted = "SELECT sum(tweets) > (SELECT count(*) FROM matches) FROM track_days"
    assert await after.one(counted), "the counts of before are there, and went on"


def url_of(program: Program) -> str:
    return str(json.loads(program.config.read_text())["database"])


async def test_left_out_credentials_are_said_and_can_be_given(
    make_program: MakeProgram, empty_database: Callable[[], str], open_tables: OpenTables
) -> None:
    old = make_program("old", await migrated(empty_database()))
    new = make_program("new", await migrated(empty_database()))
    await old.add_source("http://127.0.0.1:1/")
    said = await old.command("backup", "--without-credentials")
    [file] = old.folder.glob("twitterstream-*.backup")
    assert "without the credentials" in said
    said = await new.command("restore-backup", str(file))
    assert "they are disabled: main" in said
    code, wrong = await new.fails("source", "secrets", "main", "--secrets", "-", given="a: b")
    assert (code, "also needs these secrets: bearer_token" in wrong) == (2, True)
    words = ("source", "secrets", "main", "--secrets", "-")
    await new.command(*words, given="bearer_token: another")
    sealed = await open_tables(url_of(new)).one("SELECT secrets FROM sources")
    assert Vault(new.data_dir).open(bytes(sealed)) == {"bearer_token": "another"}


async def test_credentials_of_another_key_are_found_before_and_not_after_the_move(
    make_program: MakeProgram, empty_database: Callable[[], str]
) -> None:
    program = make_program("main", await migrated(empty_database()))
    await program.add_source("http://127.0.0.1:1/")
    (program.data_dir / "secret.key").unlink()
    code, wrong = await program.fails("backup", "file")
    assert code == 1
    assert "Source main: " in wrong
    assert "--without-credentials" in wrong
    assert not (program.folder / "file").exists()
