"""What the errors of the driver and of Postgres mean."""

import pytest

from stream.db import Database
from stream.errors import DatabaseAway, RowRefused


@pytest.mark.parametrize("value", [2**40, -(2**70), "no number"])
async def test_a_value_that_the_driver_cannot_send_is_at_fault_itself(
    connected: Database, value: object
) -> None:
    with pytest.raises(RowRefused):
        await connected.fetch("SELECT $1::integer", value)


@pytest.mark.parametrize(
    ("code", "meaning"), [("22012", RowRefused), ("XX000", DatabaseAway), ("57014", DatabaseAway)]
)
async def test_what_postgres_says_is_told_by_its_code(
    connected: Database, code: str, meaning: type[Exception]
) -> None:
    with pytest.raises(meaning):
        await connected.execute(f"DO $$ BEGIN RAISE SQLSTATE '{code}'; END $$")
