"""Tracks and sources on the command line: added, shown, changed and removed."""

import os
import socket
import stat
import subprocess

import pytest

from terminal import PROGRAM, Terminal


@pytest.mark.parametrize(
    ("words", "kind", "value"),
    [
        (["snow day,blizzard", "--priority", "-1"], "keyword", "snow day,blizzard"),
        (["@nasa", "--kind", "user"], "user", "@nasa"),
        (["-74,40,-73,41", "--kind", "place"], "place", "-74,40,-73,41"),
        (
            ["(cat OR dog) lang:en -is:retweet", "--kind", "query"],
            "query",
            "(cat OR dog) lang:en -is:retweet",
        ),
    ],
)
def test_the_examples_of_track_add_work_as_written(
    terminal: Terminal, words: list[str], kind: str, value: str
) -> None:
    terminal.run("track", "add", *words)
    [track] = terminal.json("track", "list")
    assert (track["kind"], track["value"], track["tweets"]) == (kind, value, 0)


def test_a_city_is_found_with_a_box_for_a_track(terminal: Terminal) -> None:
    box, _, title = terminal.run("track", "find-city", "Paris, France").stdout.partition("  ")
    assert title == "Paris, France (2,138,551 people)\n"
    terminal.run("track", "add", box, "--kind", "place")
    assert terminal.sql("SELECT kind, value FROM tracks") == [("place", box)]
    [found] = terminal.json("track", "find-city", "Paris, FR", "--size", "100")
    assert found["value"] != box
    [found] = terminal.json("track", "find-city", "Springfield, Illinois, USA")
    assert (found["region"], found["country"]) == ("IL", "United States")
    refused = terminal.run("track", "find-city", "no such city", code=1).stderr
    assert "No city of 15,000 people" in refused
    assert "After a comma it may have its country" in refused


def test_a_track_may_be_more_important_and_have_a_time_of_its_own(terminal: Terminal) -> None:
    terminal.run("track", "add", "snow", "--priority", "5", "--keep-days", "30")
    assert terminal.sql("SELECT value, priority, keep_days FROM tracks") == [("snow", 5, 30)]
    terminal.run("track", "add", "rain", "--priority", "-32768")  # as on the pages and in the API
    assert "--keep-days" in terminal.run("track", "add", "x", "--keep-days", "0", code=2).stderr


def test_a_track_that_ends_before_it_begins_is_refused_with_a_sentence(terminal: Terminal) -> None:
    times = ("--from", "2027-01-01", "--until", "2026-01-01")
    assert (
        "--until must be after --from." in terminal.run("track", "add", "x", *times, code=2).stderr
    )


def test_a_track_of_an_unknown_user_is_refused(terminal: Terminal) -> None:
    refused = terminal.run("track", "add", "snow", "--owner", "ghost", code=1).stderr
    assert "There is no user ghost" in refused
    assert "`user add ghost`" in refused
    terminal.run("user", "add", "ghost")
    terminal.run("track", "add", "snow", "--owner", "ghost")
    assert terminal.sql("SELECT value, owner FROM tracks") == [("snow", "ghost")]


def test_a_track_is_paused_resumed_and_removed(terminal: Terminal) -> None:
    terminal.run("track", "add", "snow")
    terminal.run("track", "pause", "1")
    assert not terminal.json("track", "list")[0]["enabled"]
    terminal.run("track", "resume", "1")
    assert terminal.json("track", "list")[0]["enabled"]
    terminal.run("track", "remove", "1")
    assert terminal.json("track", "list") == []
    assert "no track 1" in terminal.run("track", "remove", "1", code=1).stderr


def test_what_each_source_delivers_of_a_track_is_shown(terminal: Terminal) -> None:
    terminal.run("source", "add", "main", "--network", "bluesky")
    terminal.run("track", "add", "snow")
    terminal.sql(
        """
        UPDATE tracks SET reach = '[{"source_id": 1, "how": "decided", "replays": true,
            "sentence": "Every public post.", "since": "2026-03-21T14:02:00Z"}]' RETURNING id
        """
    )
    assert "main: Every public post." in terminal.run("track", "list").stdout
    [listed] = terminal.json("track", "list")
    assert [each["source"] for each in listed["reach"]] == ["main"]
    sentence = "Every public post. It does not deliver at the moment."
    assert f"main (bluesky): {sentence}" in terminal.run("track", "show", "1").stdout
    [shown] = terminal.json("track", "show", "1")["reach"]
    assert (shown["text"], shown["seconds_missing"]) == (sentence, 0)
    assert "no track 2" in terminal.run("track", "show", "2", code=1).stderr


def test_look_backs_are_requested_shown_and_cancelled(terminal: Terminal) -> None:
    terminal.run("migrate")
    terminal.run("source", "add", "sky", "--network", "bluesky")
    terminal.run("track", "add", "snow", "--look-back", "36h")
    terminal.run("track", "look-back", "1", "--author", "@name.example")
    terminal.run("track", "look-back", "1", "--author", "other.example", "--since", "7d")
    text = terminal.run("track", "look-back", "1", "--place", "stored").stdout
    assert "Look-back 4: all posts of name.example: waiting, number 4 in the queue." in text
    assert "Look-back 5: all posts of other.example since 20" in text
    found = terminal.json("track", "show", "1")["look_backs"]
    places = [each["place"] for each in found]
    assert places == ["author", "author", "network", "recorded", "stored"]
    assert [each["since"] is None for each in found] == [False, True, False, False, True]
    narrow = ("track", "look-back", "1", "--place", "recorded", "--since", "1h")
    covered = "Look-back 2 goes as far back or further, and has not finished"
    assert covered in terminal.run(*narrow).stdout
    widened = terminal.run("track", "look-back", "1", "--place", "recorded").stdout
    assert "Look-back 2 did not go so far back, and had not finished. It begins again" in widened
    assert "Look-back 2: recorded messages: waiting, number 2 in the queue." in widened
    for more in (["--since", "1h"], ["--place", "stored"], ["--author", "name.example"]):
        terminal.run("track", "look-back", "1", "--cancel", *more, code=2)
    terminal.run("track", "look-back", "1", "--cancel", "--wait")
    states = {each["state"] for each in terminal.json("track", "show", "1")["look_backs"]}
    assert states == {"cancelled"}
    assert "no track 9" in terminal.run("track", "look-back", "9", code=1).stderr
    wrong = terminal.run("track", "add", "x", "--look-back", "30m", code=2).stderr
    assert "is not a duration: write a number with s, min, h or d" in " ".join(wrong.split())


def test_a_look_back_that_no_daemon_does_is_said_to_wait(terminal: Terminal) -> None:
    terminal.run("track", "add", "snow")
    words = ("track", "look-back", "1", "--place", "stored")
    assert "No daemon is running: look-backs wait" in terminal.run(*words).stdout
    added = terminal.run("track", "add", "ice", "--look-back", "36h").stdout
    assert "No daemon is running: look-backs wait" in added
    waiting = subprocess.Popen(
        [*PROGRAM, *words, "--wait"], cwd=terminal.folder, stdout=-1, stderr=-1, text=True
    )
    assert waiting.stdout is not None
    assert "Look-back 1 goes as far back or further" in waiting.stdout.readline()
    assert "Start it with `./twitterstream.py run`." in waiting.stdout.readline()
    terminal.sql("UPDATE look_backs SET state = 'cancelled' RETURNING id")
    stdout, stderr = waiting.communicate(timeout=240)
    assert stdout.startswith("Look-back 1: stored tweets: cancelled.")
    assert "Look-back 1 was cancelled." in stderr
    assert waiting.returncode == 1
    terminal.sql(
        "INSERT INTO daemons (id, host, pid, role) VALUES"
        f" (gen_random_uuid(), '{socket.gethostname()}', {os.getpid()}, 'collecting') RETURNING id"
    )
    assert "No daemon" not in terminal.run(*words).stdout
    added = terminal.run("track", "add", "hail", "--look-back", "36h").stdout
    assert "`track show 3` tells how far its look-backs are." in added


def test_a_place_is_requested_once_as_far_back_as_any_time(terminal: Terminal) -> None:
    terminal.run("track", "add", "snow")
    twice = terminal.run("track", "look-back", "1", *["--place", "stored"] * 2).stdout
    assert "goes as far back" not in twice
    assert "Look-back 1: stored tweets: waiting, number 1 in the queue." in twice


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DELETE FROM tracks", "Look-back 1 was removed with its track."),
        # Others that are newer, more than are listed.
        (
            "INSERT INTO look_backs (track_id, place, author, state) SELECT 1, 'author',"
            " 'did:plc:' || n, 'done' FROM generate_series(1, 30) AS n;"
            " UPDATE look_backs SET state = 'failed' WHERE id = 1",
            "Look-back 1 failed.",
        ),
    ],
)
def test_a_look_back_that_is_waited_for_is_not_lost_from_view(
    terminal: Terminal, change: str, words: str
) -> None:
    terminal.run("track", "add", "snow")
    wait = ("track", "look-back", "1", "--place", "stored", "--wait")
    waiting = subprocess.Popen(
        [*PROGRAM, *wait], cwd=terminal.folder, stdout=-1, stderr=-1, text=True
    )
    assert waiting.stdout is not None
    assert "No daemon is running" in waiting.stdout.readline()
    terminal.run("psql", "-c", change)
    _, stderr = waiting.communicate(timeout=240)
    assert words in stderr
    assert waiting.returncode == 1


def test_all_unfinished_look_backs_are_cancelled_however_many(terminal: Terminal) -> None:
    terminal.run("track", "add", "snow")
    terminal.sql(
        "INSERT INTO look_backs (track_id, place, author) SELECT 1, 'author',"
        " 'did:plc:' || n FROM generate_series(1, 30) AS n RETURNING id"
    )
    terminal.run("track", "look-back", "1", "--cancel")
    assert terminal.sql("SELECT DISTINCT state FROM look_backs") == [("cancelled",)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--author", ""], "is not an account on Bluesky: write its handle"),
        (["--author", " "], "is not an account on Bluesky"),
        (["--author", "a b"], "'a b' is not an account on Bluesky"),
        (["--author", "name@mastodon.example"], "is not an account on Bluesky"),
        (["--author", "did:key:abc"], "its whole id (did:plc: and 24 characters"),
        (["--author", "a" * 3000], "aaa…' is not an account on Bluesky"),
        (["--since", "200000d"], "`since` must be a time in the past, not before 1900."),
    ],
)
def test_a_look_back_without_sense_is_refused_as_in_the_api(
    terminal: Terminal, options: list[str], words: str
) -> None:
    terminal.run("source", "add", "sky", "--network", "bluesky")
    terminal.run("track", "add", "snow")
    refused = terminal.run("track", "look-back", "1", *options, code=1)
    assert words in refused.stderr
    assert len(refused.stderr) < 300
    assert terminal.sql("SELECT FROM look_backs") == []


def test_look_backs_are_refused_where_several_databases_share_the_tweets(
    terminal: Terminal,
) -> None:
    terminal.run("track", "add", "snow")
    terminal.set(bus="nats://a:4222", cells={"east": "postgresql://east/x"})
    for words in (
        ("track", "look-back", "1"),
        ("track", "look-back", "1", "--place", "stored", "--since", "1h"),
        ("track", "look-back", "1", "--author", "ann"),
        ("track", "add", "rain", "--look-back", "1h"),
    ):
        said = terminal.run(*words, code=1).stderr
        assert "Look-backs are off: they do not reach the other databases." in said
    assert terminal.sql("SELECT value FROM tracks") == [("snow",)]
    assert terminal.sql("SELECT id FROM look_backs") == []
    terminal.run("track", "look-back", "1", "--cancel")
    terminal.run("track", "add", "rain")


def test_a_look_back_needs_a_source_and_a_track_of_its_network(terminal: Terminal) -> None:
    terminal.run("source", "add", "sky", "--network", "bluesky")
    terminal.run("track", "add", "snow", "--network", "x_v2", "--look-back", "1d")
    terminal.run("track", "add", "snow", "--look-back", "1d")
    terminal.run("source", "disable", "sky")
    for track, words in (("1", "add it to the networks"), ("2", "add or enable a source of it")):
        for options in (["--place", "network"], ["--author", "name.example"]):
            refused = terminal.run("track", "look-back", track, *options, code=1).stderr
            assert words in refused
    assert terminal.sql("SELECT track_id, place FROM look_backs ORDER BY id") == [
        (1, "stored"),
        (2, "stored"),
        (2, "recorded"),
        (2, "network"),
    ]


def test_a_source_is_added_from_stdin_and_its_secret_is_never_shown(terminal: Terminal) -> None:
    where = ("--url", "http://127.0.0.1:9001", "--proxy", "http://me:PROXYPASS@127.0.0.1:8")
    words = ("source", "add", "main", "--network", "x_v2", *where)
    added = terminal.run(*words, "--secrets", "-", given="bearer_token: SECRET-TOKEN\n")
    listed = terminal.run("source", "list")
    [described] = terminal.json("source", "list")
    assert described["has_secrets"]
    assert described["proxy"] == "http://me:***@127.0.0.1:8"
    assert described["url"] == "http://127.0.0.1:9001"
    for said in (added, listed):
        assert "SECRET-TOKEN" not in said.stdout + said.stderr
    [(sealed,)] = terminal.sql("SELECT secrets FROM sources")
    assert b"SECRET-TOKEN" not in bytes(sealed)
    key = terminal.folder / "data" / "secret.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (
        "already a source named main"
        in terminal.run(*words, "--secrets", "-", given="bearer_token: T", code=1).stderr
    )
    terminal.run("source", "disable", "main")
    assert not terminal.json("source", "list")[0]["enabled"]
    terminal.run("source", "enable", "main")
    terminal.run("source", "remove", "main")
    assert terminal.json("source", "list") == []


def test_a_source_that_is_added_disabled_is_not_said_to_connect(terminal: Terminal) -> None:
    words = ("source", "add", "later", "--network", "x_v2", "--disabled", "--secrets", "-")
    added = terminal.run(*words, given="bearer_token: T\n").stdout
    assert added == "Source later added. Enable it to collect.\n"
