"""The client of Mastodon against a simulated server: channels, feeds, tokens."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from alert_rules import context, with_source
from mastodon_sites import TOKEN, Site, running_site
from monitor.alert.rules_source import rules_not_applied
from servers import answering
from servers import status as answer_with
from simulator.mastodon.site import Rules, Token
from simulator.server import Settings as SimulatorSettings
from simulator.server import serve
from statuses import account, decoded
from stream.backoff import Clock
from stream.config import MastodonSettings, Settings
from stream.networks.base import Plan, PlannedTrack, SilentReporter
from stream.networks.connection_test import run_connection_test
from stream.networks.mastodon import plan as sentences
from stream.networks.mastodon.client import MastodonClient
from stream.networks.registry import NETWORKS
from stream.notes import EventNote, GapOpened
from stream.query import parse
from stream.tweet import Deletion, Message, Source, SourceId, TrackId, Tweet

from .conftest import MakeRig, Rig

SOURCE = Source(SourceId(1), "social", "mastodon", None, None, {"access_token": TOKEN}, True)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running_site() as found:
        yield found


Use = Callable[..., Any]


@pytest.fixture
def rig_at(make_rig: MakeRig) -> Use:
    """A rig whose connection leads to a site, with tracks written as keywords."""

    async def use(site: Site, speed: float = 1.0) -> Rig:
        rig = await make_rig(speed=speed)
        rig.network = "mastodon"
        rig.secrets = {"access_token": TOKEN}
        rig.server.url = site.url
        rig.plan = planned  # type: ignore[method-assign]  # values with a #
        site.rules.time_scale = 1 / speed
        return rig

    return use


def planned(*values: str) -> Plan:
    tracks = [PlannedTrack(TrackId(n), parse("keyword", v)) for n, v in enumerate(values, 1)]
    return NETWORKS["mastodon"].plan(tracks, Settings())


async def messages(rig: Rig) -> list[Message]:
    return [decoded(frame) for frame in await rig.frames()]


async def texts(rig: Rig) -> list[str]:
    return [found.text for found in await messages(rig) if isinstance(found, Tweet)]


async def events(rig: Rig) -> str:
    return " | ".join(r.text for r in await rig.records() if isinstance(r, EventNote))


async def test_posts_edits_and_deletions_of_the_public_feed_arrive(site: Site, rig_at: Use) -> None:
    rig = await rig_at(site)
    async with rig.running("snow"):
        await rig.eventually(lambda: site.channels == {("public",)})
        number = site.post("snow & <b>ice</b>")
        site.edit(site.made(number, "rain"))
        site.delete(number)
        site.post("unlisted", visibility="unlisted")
        site.post("from afar", account=account("bob", "other.example"))
        await rig.eventually(lambda: _has(rig, 4))
    first, edited, deleted, last = await messages(rig)
    assert isinstance(first, Tweet)
    assert isinstance(edited, Tweet)
    assert isinstance(last, Tweet)
    assert (first.text, first.server_id, first.edited) == ("snow & ice", number, False)
    assert (edited.text, edited.edited, edited.native_id) == ("rain", True, first.native_id)
    assert deleted == Deletion(number, of_server=True)  # type: ignore[arg-type]  # an id
    assert last.own.author == "bob@other.example"
    assert [event for event, _ in site.sent] == ["update", "status.update", "delete", "update"]


async def _has(rig: Rig, number: int) -> bool:
    return len(await rig.frames()) >= number


async def test_hashtags_change_on_the_open_connection(site: Site, rig_at: Use) -> None:
    rig = await rig_at(site, speed=20)
    async with rig.running("#Flood") as connection:
        await rig.eventually(lambda: site.channels == {("hashtag", "flood")})
        site.post("a reply", "flood", in_reply_to_id="5", in_reply_to_account_id="77")
        await rig.eventually(lambda: _has(rig, 1))
        connection.set_plan(planned("#Storm, #café"))
        await rig.eventually(lambda: site.channels == {("hashtag", "storm"), ("hashtag", "cafe")})
        site.post("no longer", "flood")
        site.post("now", "STORM")
        await rig.eventually(lambda: _has(rig, 2))
        connection.set_plan(planned("rain"))
        await rig.eventually(lambda: site.channels == {("public",)})
        assert connection.counters["attempts"] == 1
    assert await texts(rig) == ["a reply", "now"]


async def test_a_public_feed_that_is_off_is_named_in_the_rows(rig_at: Use) -> None:
    async with running_site(Rules(live_local="disabled", live_remote="disabled")) as site:
        rig = await rig_at(site)
        async with rig.running("rain", "#flood", "#storm, rain"):
            await rig.eventually(lambda: len(site.channels) == 2)
        assert rig.refused[-1] == {
            1: sentences.PUBLIC_OFF,
            3: "Only #storm: this server has switched its public feed off.",
        }
        async with rig.running("rain", until="failed") as connection:
            assert connection.state.reason == f"social.example: {sentences.PUBLIC_OFF}"
            connection.set_plan(planned("#flood"))  # which ends the wait
            await rig.eventually(lambda: site.channels == {("hashtag", "flood")})


async def test_a_feed_switched_off_later_is_noticed_and_only_deletions_are_an_alert(
    site: Site, rig_at: Use
) -> None:
    rig = await rig_at(site, speed=200)
    rig.settings = Settings(mastodon=MastodonSettings(silence_timeout=1e6))
    async with rig.running("rain") as connection:
        await rig.eventually(lambda: site.channels == {("public",)})
        site.post("rain")
        await rig.eventually(lambda: _has(rig, 1))

        def only_deletes() -> bool:
            site.delete("7")
            return bool(connection.reporter.not_in_force)

        await rig.eventually(only_deletes)
        assert connection.reporter.not_in_force.startswith("social.example has sent only deletions")
        # Only now does the server say so itself: what is known to be off is not followed.
        site.rules.live_local = site.rules.live_remote = "disabled"
        await rig.eventually(lambda: rig.refused[-1:] == [{1: sentences.PUBLIC_OFF}])
        site.rules.live_local = "public"
        await rig.eventually(lambda: rig.refused[-1:] == [{}])
        site.post("rain again")
        await rig.eventually(lambda: not connection.reporter.not_in_force)


async def test_a_server_that_sends_only_deletions_is_an_alert(make_rig: MakeRig) -> None:
    """As with `simulate --network mastodon --fault only-deletes`, ten minutes in seconds."""
    simulated = SimulatorSettings(network="mastodon", faults=("only-deletes",), rate=200)
    rig = await make_rig(speed=200)
    rig.network, rig.secrets = "mastodon", {"access_token": TOKEN}
    rig.settings = Settings(mastodon=MastodonSettings(silence_timeout=1e6))
    async with serve(simulated) as server, rig.running("snow", url=server.url) as connection:
        await rig.eventually(lambda: bool(connection.reporter.not_in_force))
        reported = connection.reporter.not_in_force
    assert all(isinstance(each, Deletion) for each in await messages(rig))
    [alert] = rules_not_applied(context(with_source(network="mastodon", not_in_force=reported)))
    assert "has sent only deletions for 10 minutes" in alert.text
    assert "another server" in alert.remedy


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ({"user": False}, "does not accept the access_token"),
        ({}, ""),
    ],
)
async def test_the_stream_needs_a_token_of_an_account(
    token: dict[str, Any], words: str, rig_at: Use
) -> None:
    async with running_site(**token) as site:
        rig = await rig_at(site)
        if words:
            async with rig.running("rain", until="failed") as connection:
                assert words in connection.state.reason
                assert "read:statuses" in connection.state.reason
                assert TOKEN not in connection.state.reason
                assert connection.state.code == "credentials"
        else:
            async with rig.running("rain"):
                await rig.eventually(lambda: site.channels == {("public",)})


async def test_a_revoked_token_fails_the_source(site: Site, rig_at: Use) -> None:
    rig = await rig_at(site, speed=10)
    async with rig.running("rain") as connection:
        await rig.eventually(lambda: site.channels == {("public",)})
        site.post("rain")
        await rig.eventually(lambda: _has(rig, 1))
        site.kill(TOKEN)
        await rig.eventually(lambda: connection.state.state == "failed")
    gaps = [gap for gap in await rig.gaps() if isinstance(gap, GapOpened)]
    assert gaps[0].cause == "network"


async def test_heartbeats_prove_life_and_their_absence_is_a_gap(site: Site, rig_at: Use) -> None:
    rig = await rig_at(site, speed=60)
    async with rig.running("rain") as connection:
        await rig.eventually(lambda: connection.counters["keepalives"] > 3)
        assert connection.state.state == "streaming"
        site.rules.is_mute = True
        await rig.eventually(lambda: connection.interruptions["silence"] > 0)
    assert "no byte for 60 s" in " ".join(
        gap.detail for gap in await rig.gaps() if isinstance(gap, GapOpened)
    )


async def test_without_websocket_the_channels_come_as_server_sent_events(rig_at: Use) -> None:
    async with running_site(Rules(websocket_status=404)) as site:
        rig = await rig_at(site, speed=20)
        async with rig.running("rain", "#flood") as connection:
            await rig.eventually(lambda: site.channels == {("public",), ("hashtag", "flood")})
            number = site.post("héllo", "flood")
            await rig.eventually(lambda: _has(rig, 2))
            site.delete(number)
            await rig.eventually(lambda: _has(rig, 4))
            await rig.eventually(lambda: connection.counters["keepalives"] > 2)
            connection.set_plan(planned("#storm"))  # needs new responses
            await rig.eventually(lambda: site.channels == {("hashtag", "storm")})
        frames = [json.loads(frame) for frame in await rig.frames()]
        assert {tuple(frame["stream"]) for frame in frames} == {("public",), ("hashtag", "flood")}
        assert await texts(rig) == ["héllo", "héllo"]
        assert "using server-sent events" in await events(rig)
        assert connection.interruptions["network"] == 0


async def test_one_503_is_a_problem_of_the_server_and_two_are_one_of_its_websocket(
    rig_at: Use,
) -> None:
    async with running_site(Rules(websocket_status=503)) as site:
        rig = await rig_at(site, speed=100)
        async with rig.running("rain", until="streaming") as connection:
            assert connection.counters["attempts"] == 2


async def test_another_streaming_host_and_an_old_server(site: Site, rig_at: Use) -> None:
    async with running_site(Rules(streaming=site.url)) as front:
        rig = await rig_at(front)
        async with rig.running("rain"):
            await rig.eventually(lambda: site.channels == {("public",)})
        assert front.listeners == 0
    site.rules.has_v2 = False
    rig = await rig_at(site)
    async with rig.running("rain"):
        await rig.eventually(lambda: site.channels == {("public",)})


async def test_what_the_account_hides_is_an_event(site: Site, rig_at: Use) -> None:
    site.tokens[TOKEN] = Token(("read",))
    site.rules.blocks = 2
    rig = await rig_at(site)
    async with rig.running("rain"):
        await rig.eventually(lambda: _said(rig, "The account @me has 2 blocks"))


async def _said(rig: Rig, words: str) -> bool:
    return words in await events(rig)


async def test_a_refused_channel_is_an_error_and_an_unknown_one_a_notice(site: Site) -> None:
    client = MastodonClient(SOURCE, Settings(), Clock(), SilentReporter())
    refused = client.fatal_error_in(
        b'{"error":"Not authorized to stream this channel","status":401}'
    )
    assert refused is not None
    assert (refused.retry, refused.code) == ("final", "credentials")
    assert client.fatal_error_in(b'{"error":"Unknown stream type","status":400}') is None
    assert client.fatal_error_in(b'{"error"') is None
    assert client.fatal_error_in(b'{"stream":["public"],"event":"update"}') is None


# -- the test of a source -------------------------------------------------------------------------


async def tested(site: Site) -> tuple[str, str]:
    source = Source(SourceId(1), "s", "mastodon", site.url, None, {"access_token": TOKEN}, True)
    result = await run_connection_test(source, Settings())
    return result.problem, result.sentence


async def test_a_test_names_server_feeds_blocks_and_languages(site: Site) -> None:
    site.tokens[TOKEN] = Token(("read",))
    problem, sentence = await tested(site)
    assert problem == ""
    assert sentence.startswith("social.example (version 4.6.0) accepts the token. Languages")
    site.rules.live_local = "disabled"
    site.rules.mutes = 40
    _, sentence = await tested(site)
    assert sentences.REMOTE_ONLY in sentence
    assert "has 40 or more mutes" in sentence
    site.rules.live_remote = "disabled"
    _, sentence = await tested(site)
    assert sentences.PUBLIC_OFF in sentence


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (Token(("read:accounts",)), "403"),
        (Token(user=False), "422"),
        (None, "401"),
    ],
)
async def test_a_test_says_what_is_wrong_with_a_token(
    site: Site, token: Token | None, words: str
) -> None:
    if token is None:
        site.tokens.clear()
    else:
        site.tokens[TOKEN] = token
    problem, sentence = await tested(site)
    assert problem == "credentials"
    assert words in sentence
    assert "read:statuses" in sentence
    assert sentence.startswith("Mastodon does not accept these keys")


async def test_what_is_no_mastodon_server_is_said() -> None:
    async with answering(answer_with(200, "<html>hello</html>")) as url:
        site = Site()
        site.url = url
        problem, sentence = await tested(site)
    assert problem == "address"
    assert "it is not Mastodon" in sentence
