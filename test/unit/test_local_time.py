"""Times in time zones: hours that come twice, hours that are missing, and when a day begins."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.local_time import (
    MissingTime,
    RepeatedTime,
    find_zone,
    fold_of,
    local_text,
    midnight,
    offset_text,
    read_local,
    zone_names,
)

BERLIN, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")
ZONES = [BERLIN, KOLKATA, *map(ZoneInfo, ("Australia/Lord_Howe", "America/Havana", "UTC"))]
moments = st.integers(946_684_800, 2_114_380_800).map(lambda at: datetime.fromtimestamp(at, UTC))


@given(moments, st.sampled_from(ZONES))
def test_a_local_time_round_trips(moment: datetime, zone: ZoneInfo) -> None:
    assert read_local(local_text(moment, zone), zone, fold_of(moment, zone)) == moment


@given(moments, st.sampled_from(ZONES))
def test_a_day_begins_at_its_first_moment(moment: datetime, zone: ZoneInfo) -> None:
    begin = midnight(moment, zone)
    assert begin <= moment
    assert moment - begin <= timedelta(hours=25)
    day = moment.astimezone(zone).date()
    assert begin.astimezone(zone).date() == day
    assert (begin - timedelta(seconds=1)).astimezone(zone).date() < day


def test_the_repeated_hour_of_autumn_is_two_hours() -> None:
    with pytest.raises(RepeatedTime):
        read_local("2026-10-25T02:30", BERLIN)
    first, second = (read_local("2026-10-25T02:30", BERLIN, fold) for fold in "01")
    assert (first.hour, second.hour) == (0, 1)
    assert (fold_of(first, BERLIN), fold_of(second, BERLIN)) == ("0", "1")
    assert [offset_text(at, BERLIN) for at in (first, second)] == [
        "CEST (UTC+02:00)",
        "CET (UTC+01:00)",
    ]
    assert fold_of(first - timedelta(hours=1), BERLIN) == ""


def test_a_time_in_the_missing_hour_of_spring_is_refused() -> None:
    with pytest.raises(MissingTime):
        read_local("2026-03-29T02:30", BERLIN)
    assert read_local("2026-03-29T02:30+01:00", BERLIN).hour == 1


def test_seconds_are_shown_where_there_are_some() -> None:
    at = datetime(2026, 1, 31, 18, 30, 12, 345, tzinfo=UTC)
    assert local_text(at, KOLKATA) == "2026-02-01T00:00:12"
    assert local_text(at.replace(second=0), KOLKATA) == "2026-02-01T00:00"
    assert local_text(None, KOLKATA) == ""


def test_the_ends_of_the_calendar_are_no_error() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    assert local_text(last, KOLKATA) == "9999-12-31T23:59:59"
    for text in ("9999-12-31T23:59-05:00", "0001-01-01T00:00+14:00", "0001-01-01T00:00"):
        with pytest.raises(ValueError, match="out of range"):
            read_local(text, KOLKATA)


@pytest.mark.parametrize("name", ["", "Europe", "Mars/Olympus", "../../etc/passwd", "a" * 99, "\0"])
def test_an_unknown_time_zone_is_none(name: str) -> None:
    assert find_zone(name) is None


def test_every_zone_that_is_offered_can_be_used() -> None:
    assert {"Europe/Berlin", "Asia/Kolkata", "UTC"} <= set(zone_names())
    assert all(find_zone(name) for name in zone_names())
