"""The types of options: times of the command line."""

from datetime import UTC, datetime

import click
import pytest

from stream.commands.parameters import UtcTime


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-11-30", datetime(2026, 11, 30, tzinfo=UTC)),
        ("2026-11-30 07:28", datetime(2026, 11, 30, 7, 28, tzinfo=UTC)),
        ("2026-11-30T07:28", datetime(2026, 11, 30, 7, 28, tzinfo=UTC)),
        ("2026-11-30T07:28:40", datetime(2026, 11, 30, 7, 28, 40, tzinfo=UTC)),
        ("2026-11-30 07:28:40", datetime(2026, 11, 30, 7, 28, 40, tzinfo=UTC)),
        ("2026-11-30T07:28:40Z", datetime(2026, 11, 30, 7, 28, 40, tzinfo=UTC)),
        ("2026-11-30t07:28:40z", datetime(2026, 11, 30, 7, 28, 40, tzinfo=UTC)),
        ("2026-11-30T07:28:59.590056Z", datetime(2026, 11, 30, 7, 28, 59, 590056, tzinfo=UTC)),
        ("2026-11-30T07:28:40.5", datetime(2026, 11, 30, 7, 28, 40, 500000, tzinfo=UTC)),
        ("2026-11-30T07:28:40+02:00", datetime(2026, 11, 30, 5, 28, 40, tzinfo=UTC)),
        ("2026-11-30 07:28-05:30", datetime(2026, 11, 30, 12, 58, tzinfo=UTC)),
    ],
)
def test_a_time_is_rfc_3339_and_of_utc_without_an_offset(written: str, read: datetime) -> None:
    found = UtcTime().convert(written, None, None)
    assert (found, found.utcoffset()) == (read, read.utcoffset())


@pytest.mark.parametrize(
    "written",
    ["soon", "", "2026-02-30", "2026-11-30T25:00", "0001-01-01T00:00+02:00", "1700000000"],
)
def test_the_error_of_another_time_names_the_forms(written: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        UtcTime().convert(written, None, None)
    for form in (repr(written), "2026-01-31", "2026-01-31T12:00", "2026-01-31T12:00:00+02:00"):
        assert form in caught.value.message
