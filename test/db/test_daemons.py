"""What daemons say of themselves decides how machines share their work."""

import uuid
from collections.abc import Collection

import msgspec
import pytest

from stream.daemon_report import ROLES, BusReport, DaemonReport
from stream.db import Database
from stream.store import daemons

ON_THE_BUS = DaemonReport(bus=BusReport())


@pytest.mark.parametrize(
    ("roles", "report", "writers"),
    [
        (ROLES, ON_THE_BUS, 2),
        ({"collect", "monitor"}, ON_THE_BUS, 1),
        (ROLES, DaemonReport(bus=BusReport(failing="no quorum")), 1),  # cut off from it
        (ROLES, DaemonReport(), 1),  # its settings have no bus, or it is of an older version
    ],
)
async def test_only_machines_that_store_from_the_bus_share_lanes(
    connected: Database, roles: Collection[str], report: DaemonReport, writers: int
) -> None:
    async with connected.acquire() as connection:
        for its_roles, its_report in ((ROLES, ON_THE_BUS), (roles, report)):
            await daemons.upsert(
                connection, uuid.uuid4(), "here", 1, "other", roles=its_roles, report=its_report
            )
        assert await daemons.count_writers(connection) == writers


@pytest.mark.parametrize(
    ("role", "failing", "streams", "writers"),
    [
        ("collecting", "", {"here"}, 1),
        ("standby", "", set(), 2),  # what it is on does not matter while another one may collect
        ("collecting", "no quorum", set(), 2),
    ],
)
async def test_writers_on_other_streams_than_the_collectors_share_no_lanes(
    connected: Database, role: str, failing: str, streams: set[str], writers: int
) -> None:
    daemon_rows = [
        (role, ["collect"], BusReport(created="here", failing=failing)),
        ("other", ["write"], BusReport(created="here")),
        ("other", ["write"], BusReport(created="elsewhere")),
    ]
    async with connected.acquire() as connection:
        for its_role, roles, bus in daemon_rows:
            report = DaemonReport(bus=bus)
            await daemons.upsert(
                connection, uuid.uuid4(), "here", 1, its_role, roles=roles, report=report
            )
        assert await daemons.collected_streams(connection) == streams
        assert await daemons.count_writers(connection, streams) == writers


async def test_a_row_of_an_older_version_shares_no_lanes(connected: Database) -> None:
    row = "INSERT INTO daemons (id, host, pid, role) VALUES (gen_random_uuid(), 'here', 1, 'other')"
    await connected.execute(row)
    async with connected.acquire() as connection:
        assert await daemons.count_writers(connection) == 0


def test_a_bus_without_news_is_in_the_report() -> None:
    assert b'"bus"' in msgspec.json.encode(ON_THE_BUS)
