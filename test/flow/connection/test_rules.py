"""The rules that X has become the rules that are wanted (X v2 reference §3)."""

from __future__ import annotations

from rule_desk import HEADERS, desk
from simulator.server import Limits
from stream.networks.base import RuleOwner
from stream.networks.x_v2.plan import PREFIX
from stream.networks.x_v2.rule_diff import ListedRule
from stream.networks.x_v2.rule_sync import CHECK_AFTER, RuleSync
from stream.tweet import TrackId


async def test_what_is_missing_is_added_and_what_is_obsolete_goes_afterwards() -> None:
    async with desk() as at:
        assert await at.follow("snow", "ice") == CHECK_AFTER
        assert await at.follow("snow", "ice") == 0
        assert await at.values() == ["ice", "snow"]
        await at.follow("ice", "hail")
        assert at.http.asked == ["list", "add", "delete"]
        assert await at.values() == ["hail", "ice"]
        assert all((rule.tag or "").startswith(PREFIX) for rule in await at.listed())


async def test_what_is_right_already_is_only_looked_at() -> None:
    async with desk() as at:
        await at.follow("snow", "ice")
        await at.follow("ice", "snow")
        assert at.http.asked == ["list"]
        assert at.rules.confirmed


async def test_a_restart_finds_its_rules_by_their_tags() -> None:
    async with desk() as at:
        await at.follow("snow", "ice")
        at.rules = RuleSync(at.http, HEADERS, at.settings, at.clock, at.reported)
        await at.follow("ice")
        assert at.http.asked == ["list", "delete"]
        assert await at.values() == ["ice"]


async def test_rules_of_others_are_left_alone_and_mentioned_once() -> None:
    async with desk() as at:
        await at.by_hand({"value": "other"}, {"value": "another", "tag": "mine"})
        await at.follow("snow")
        await at.follow("ice")
        assert await at.values() == ["another", "ice", "other"]
        assert [
            said for said in at.said if "2 rules that this program did not create" in said
        ] == at.said


async def test_a_wanted_rule_of_others_is_adopted_and_believed_by_its_id() -> None:
    async with desk() as at:
        await at.by_hand({"value": "snow", "tag": "theirs"})
        await at.follow("snow")
        assert at.http.asked == ["list"]
        [rule] = await at.listed()
        assert at.rules.owners_of_rule(rule.id, at.plan("snow")) == (RuleOwner(TrackId(1), "snow"),)
        assert at.rules.owners_of_rule("999", at.plan("snow")) == ()
        assert at.said == []


async def test_a_duplicate_that_the_list_did_not_show_is_adopted_too() -> None:
    """Another program adds the rule between our look and our request."""
    async with desk() as at:
        await at.by_hand({"value": "snow", "tag": "theirs"})
        before, at.rules.listing = at.rules.listing, _nothing  # type: ignore[method-assign]
        await at.follow("snow")
        at.rules.listing = before  # type: ignore[method-assign]
        [rule] = await at.listed()
        assert at.rules.owners_of_rule(rule.id, at.plan("snow")) == (RuleOwner(TrackId(1), "snow"),)
        assert at.rules.confirmed
        assert at.refused == {}


async def _nothing() -> list[ListedRule]:
    return []


async def test_a_rule_that_x_refuses_harms_only_its_track() -> None:
    """X allows fewer characters than our setting says."""
    async with desk(Limits(rule_length=20)) as at:
        assert await at.follow("snow", "x" * 30, "ice") == CHECK_AFTER
        assert await at.values() == ["ice", "snow"]
        assert list(at.refused) == [2]
        assert "X refuses this rule" in at.refused[TrackId(2)]
        await at.follow("snow", "x" * 30, "ice")
        assert at.http.asked == ["list"]
        await at.follow("snow", "ice")
        assert at.refused == {}


async def test_a_track_of_which_x_refuses_one_rule_is_reported_as_tracked_in_part() -> None:
    async with desk(Limits(rule_length=20)) as at:
        await at.follow(f"snow,{'x' * 30}", "y" * 30)
        assert await at.values() == ["snow"]
        assert sorted(at.refused) == [1, 2]
        assert at.reported.reach_now == {1: f"Tracked only partly. {at.refused[TrackId(1)]}"}
        await at.follow("snow")
        assert (at.refused, at.reported.reach_now) == ({}, {})


async def test_when_x_refuses_every_rule_nothing_is_confirmed() -> None:
    async with desk(Limits(rule_length=5)) as at:
        await at.follow("x" * 30)
        assert not at.rules.confirmed
        assert list(at.refused) == [1]


async def test_a_packed_rule_that_x_refuses_is_halved_until_the_bad_part_is_found() -> None:
    words = [f"term{n}" for n in range(8)]
    async with desk(Limits(rule_length=80), max_rules=1) as at:
        at.rules.max_rules = 1000  # only the packing shall be tight
        words[3] = "x" * 100
        rounds = 1
        while await at.follow(*words) == CHECK_AFTER:
            rounds += 1
            assert rounds < 6
        found = " OR ".join(await at.values())
        assert all((word in found) == (word != words[3]) for word in words)
        assert list(at.refused) == [4]


async def test_at_the_cap_obsolete_rules_are_deleted_first() -> None:
    async with desk(Limits(rules=3), max_rules=3) as at:
        await at.follow("a1", "a2", "a3")
        await at.follow("a1", "b2", "b3")
        assert at.http.asked == ["list", "delete", "add"]
        assert await at.values() == ["a1", "b2", "b3"]
        await at.follow("a1", "b2", "c3")
        assert at.refused == {}


async def test_a_packed_rule_is_replaced_without_a_second_in_which_x_does_not_look_for_it() -> None:
    async with desk(Limits(rules=2), max_rules=1) as at:
        at.rules.max_rules = 2
        await at.settled("snow", "ice")
        await at.follow("snow", "ice", "hail")
        assert at.http.asked == ["list", "add", "delete"]
        assert at.reported.gaps == []


async def test_where_x_has_no_room_the_tracks_that_are_not_looked_for_are_named() -> None:
    async with desk(Limits(rules=1), max_rules=1) as at:
        await at.settled("snow", "ice")
        assert at.reported.covered_at == [
            (None, at.reported.covered_at[0][1])
        ]  # from before this connection
        await at.follow("snow", "ice", "hail")
        assert at.http.asked == ["list", "delete", "add"]
        [gap] = at.reported.gaps
        assert gap.tracks == (1, 2)
        assert "was replaced by another" in gap.why
        assert at.reported.covered_at[-1][0] == (1, 2)


async def test_when_the_rule_that_made_room_cannot_be_added_its_tracks_lapse_until_it_is() -> None:
    async with desk(Limits(rules=1), max_rules=1) as at:
        await at.settled("snow", "ice")
        at.arm("add-forgotten")
        await at.follow("snow", "ice", "hail")
        at.clock.passed += CHECK_AFTER
        await at.follow("snow", "ice", "hail")
        assert {track for gap in at.reported.gaps for track in gap.tracks} == {1, 2}
        await at.settled("snow", "ice", "hail")
        assert at.reported.covered_at[-1][0] == (1, 2)
        assert at.reported.covered_at[-1][1] - at.reported.gaps[0].began > 4


async def test_from_single_rules_to_packed_ones_at_the_cap_little_is_uncovered() -> None:
    words = [f"word{n:02}" for n in range(41)]
    async with desk(Limits(rules=40), max_rules=40) as at:
        await at.settled(*words[:40])
        changes = await at.settled(*words)
        assert sorted(" OR ".join(await at.values()).split(" OR ")) == words
        assert changes < 10
        assert sum(len(gap.tracks) for gap in at.reported.gaps) == 1


async def test_rules_of_others_that_fill_the_cap_are_reported_and_their_slots_used_when_free() -> (
    None
):
    async with desk(Limits(rules=3), max_rules=3) as at:
        await at.by_hand({"value": "other"})
        await at.follow("a1", "a2", "a3")
        assert len(await at.values()) == 3
        assert list(at.refused) == [3]
        assert "1 of them by others" in at.refused[TrackId(3)]
        other = next(rule.id for rule in await at.listed() if rule.value == "other")
        await at.delete_by_hand(other)
        await at.follow("a1", "a2", "a3")
        assert await at.values() == ["a1", "a2", "a3"]
        assert at.refused == {}


async def test_many_rules_take_few_requests() -> None:
    async with desk() as at:
        await at.follow(*(f"word{n}" for n in range(250)))
        assert at.http.asked == ["list", "add", "add", "add"]
        assert len(await at.values()) == 250


async def test_when_the_budget_is_spent_the_rest_waits_its_turn() -> None:
    async with desk(max_rule_changes=2) as at:
        words = [f"word{n}" for n in range(250)]
        assert await at.follow(*words) == CHECK_AFTER
        at.clock.passed += CHECK_AFTER
        assert 890 < await at.follow(*words) <= 900
        assert len(await at.values()) == 200
        assert at.refused == {}


async def test_the_list_is_read_page_by_page() -> None:
    async with desk(Limits(rules=3000), max_rules=3000) as at:
        await at.follow(*(f"word{n}" for n in range(1500)))
        await at.follow(*(f"word{n}" for n in range(1500)))
        assert "add" not in at.http.asked
        assert at.http.asked.count("list") >= 2
