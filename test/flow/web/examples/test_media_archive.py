"""examples/media_archive.py: files are kept once, within limits, over a kill, until a deletion."""

import asyncio
import hashlib
import re
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from deleting import delete_tweets
from examples import Example, example
from stream.tweet import NativeId
from waiting import Eventually
from web_app import WebApp

PNG, JPEG, FILM = b"\x89PNG" * 100, b"\xff\xd8\xff" * 1000, b"film" * 30_000
LIMIT = 100_000  # bytes
ALLOWED = ("--allow", "127.0.0.0/8")  # the test's own server


class Media:
    """A server of files, which counts what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.address = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        await self.open.wait()
        match request.path:
            case "/a.png" | "/same.png":
                return web.Response(body=PNG, content_type="image/png")
            case "/b.jpg":
                return web.Response(body=JPEG, content_type="image/jpeg")
            case "/large.mp4":
                return web.Response(body=FILM, content_type="video/mp4")
            case "/page":
                return web.Response(text="<html>", content_type="text/html")
            case "/elsewhere":
                raise web.HTTPFound("http://10.0.0.1/a.png")
            case "/did:plc:abc":
                service = {"id": "#atproto_pds", "serviceEndpoint": self.address}
                return web.json_response({"service": [service]})
            case "/xrpc/com.atproto.sync.getBlob":
                assert dict(request.query) == {"did": "did:plc:abc", "cid": "bafy"}
                return web.Response(body=JPEG, content_type="image/jpeg")
        raise web.HTTPNotFound


@pytest.fixture
async def media() -> AsyncIterator[Media]:
    made = Media()
    server = web.Application()
    server.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(server, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def program(app: WebApp) -> Example:
    made = await example(app, "media_archive.py")
    await app.add_track("snow", "ana")
    return made


def photos(*urls: str) -> dict[str, Any]:
    media = [{"type": "photo", "media_url_https": url} for url in urls]
    return {"text": "snow", "entities": {"media": media[:1]}, "extended_entities": {"media": media}}


def words(app: WebApp, folder: Path, *more: object) -> tuple[object, ...]:
    return (app.address, folder, "--track", 1, "--bytes", LIMIT, *more)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if "sqlite" not in path.name}


def problems(folder: Path) -> dict[str, str]:
    index = sqlite3.connect(folder / "index.sqlite")
    found = dict(index.execute("SELECT url, problem FROM media WHERE file IS NULL").fetchall())
    index.close()
    return found


def named(content: bytes, suffix: str) -> str:
    return f"{hashlib.sha256(content).hexdigest()}.{suffix}"


async def test_each_file_is_kept_once_until_its_last_tweet_is_deleted(
    app: WebApp, program: Example, media: Media, tmp_path: Path
) -> None:
    a, same, b = (f"{media.address}/{name}" for name in ("a.png", "same.png", "b.jpg"))
    await app.store_tweets(photos(a, b), photos(a), photos(same))
    output = await program.run(*words(app, tmp_path / "media", *ALLOWED))
    assert output == f"2 files of 4 addresses in {tmp_path}/media\n"
    kept = {named(PNG, "png"): PNG, named(JPEG, "jpeg"): JPEG}
    assert files(tmp_path / "media") == kept
    assert sorted(media.asked) == ["/a.png", "/b.jpg", "/same.png"], "no address twice"
    await program.run(*words(app, tmp_path / "media", *ALLOWED))
    assert len(media.asked) == 3, "nothing again"
    for numbers, left in (((1, 2), {named(PNG, "png"): PNG}), ((3,), {})):
        times = {NativeId(str(number)): datetime.now(UTC) for number in numbers}
        await delete_tweets(app.database, "x_v1", times)
        await program.run(*words(app, tmp_path / "media", *ALLOWED))
        assert files(tmp_path / "media") == left


async def test_what_is_too_large_of_another_type_or_private_is_not_kept(
    app: WebApp, program: Example, media: Media, tmp_path: Path
) -> None:
    urls = [f"{media.address}/{name}" for name in ("large.mp4", "page", "none", "elsewhere")]
    urls += ["http://10.0.0.1/a.png", "http://[::ffff:169.254.169.254]/a.png", "file:///etc/passwd"]
    await app.store_tweets(photos(*urls))
    await program.run(*words(app, tmp_path / "media", *ALLOWED))
    assert files(tmp_path / "media").keys() <= {"download.part"}
    found = problems(tmp_path / "media")
    assert found.keys() == set(urls)
    for url, words_of in zip(
        urls,
        (
            "larger than", "text/html is not kept", "404", "10.0.0.1 is not a public address",
            "10.0.0.1 is not a public address", "169.254.169.254 is not a public address", "file:",
        ),
        strict=True,
    ):  # fmt: skip
        assert words_of in found[url], url


async def test_private_addresses_are_refused_when_the_connection_is_made(
    app: WebApp, program: Example, media: Media, tmp_path: Path
) -> None:
    """Also those that a name leads to; nothing reaches the server."""
    named = media.address.replace("127.0.0.1", "localhost")
    await app.store_tweets(photos(f"{media.address}/a.png", f"{named}/a.png"))
    await program.run(*words(app, tmp_path / "media"))
    assert media.asked == []
    for problem in problems(tmp_path / "media").values():
        assert re.search(r"(127\.0\.0\.1|::1) is not a public address", problem)


async def test_after_a_kill_it_continues_and_tries_again(
    app: WebApp, program: Example, media: Media, tmp_path: Path, eventually: Eventually
) -> None:
    await app.store_tweets(photos(f"{media.address}/a.png"), photos(f"{media.address}/b.jpg"))
    media.open.clear()
    process = await program.start(*words(app, tmp_path / "media", *ALLOWED))
    await eventually(lambda: media.asked)
    process.kill()
    await process.wait()
    media.open.set()
    await program.run(*words(app, tmp_path / "media", *ALLOWED))
    assert files(tmp_path / "media").keys() == {named(PNG, "png"), named(JPEG, "jpeg")}


async def test_a_blob_of_bluesky_comes_from_the_server_of_its_account(
    app: WebApp, program: Example, media: Media, tmp_path: Path
) -> None:
    """An image is in its record as the id of a blob; the test's server is also the directory."""
    blob = {"$type": "blob", "ref": {"$link": "bafy"}, "mimeType": "image/jpeg", "size": 3000}
    await app.store_tweets({"text": "snow", "did": "did:plc:abc", "record": {"image": blob}})
    await program.run(*words(app, tmp_path / "media", *ALLOWED, "--plc", media.address))
    assert files(tmp_path / "media") == {named(JPEG, "jpeg"): JPEG}


async def refusal(program: Example, *words: object) -> str:
    """The one line with which it ends."""
    process = await program.start(*words)
    output = (await process.communicate())[0].decode()
    assert (process.returncode, output.count("\n")) == (1, 1), output
    return output


async def test_a_hidden_track_and_an_invalid_token_are_said(
    app: WebApp, program: Example, tmp_path: Path
) -> None:
    await app.add_track("rain", "other")
    words = app.address, tmp_path / "media", "--track"
    assert "There is no track 2" in await refusal(program, *words, 2)
    program.environment["TWEETS_TOKEN"] = "invalid"
    assert "This token is invalid" in await refusal(program, *words, 1)


async def test_a_place_that_cannot_be_used_is_said(
    app: WebApp, program: Example, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "media" / "index.sqlite").mkdir(parents=True)
    for address, folder, said in (
        (app.address, "/proc/media", "/proc/media"),
        (app.address, tmp_path / "file", "file"),
        (app.address, tmp_path / "media", "unable to open database file"),
        ("http://127.0.0.1:1", tmp_path / "new", "127.0.0.1:1"),
        ("127.0.0.1:1", tmp_path / "new", "URL should be absolute"),
    ):
        assert said in await refusal(program, address, folder, "--track", 1)


async def test_the_first_failure_of_each_kind_is_said_and_all_are_counted(
    app: WebApp, program: Example, media: Media, tmp_path: Path
) -> None:
    """In a bounded number of lines; an address cannot write to the terminal."""
    names = [f"http://no{number}.such.host.invalid/a.png" for number in range(30)]
    gone = [f"{media.address}/gone{number}" for number in range(30)]
    await app.store_tweets(photos(*names, *gone, f"{media.address}/a.png", "fax:\x1b[2Ja\nb"))
    output = await program.run(*words(app, tmp_path / "media", *ALLOWED))
    name, status, scheme, last = output.splitlines()
    assert "no0.such.host.invalid" in name
    assert "gone0: 404" in status
    assert scheme.startswith("fax:\\x1b[2Ja\\nb: ")
    assert last == (
        f"1 files of 62 addresses in {tmp_path}/media; 61 failed now, index.sqlite says why"
    )
