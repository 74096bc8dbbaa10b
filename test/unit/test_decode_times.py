"""When a tweet was written, as networks and as tools write it."""

from datetime import UTC, datetime

import pytest

from stream.networks import x_common
from stream.networks.registry import NETWORKS
from stream.tweet import NetworkName, Tweet

AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize("network", ["x_v1", "x_v2"])
@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("1700000000", AT),
        ("1700000000000", AT),
        ("1.7e9", AT),
        ("1700000000500", AT.replace(microsecond=500_000)),
        ('"1700000000"', AT),
        ('"1700000000000"', AT),
        ('"2023-11-14T22:13:20Z"', AT),
        ("null", None),
        ("0", None),
        ("-1700000000", None),
        ("99", None),
        ("1e300", None),
        ("9" * 400, None),
        ('"' + "9" * 400 + '"', None),
        ('"20231114"', AT.replace(hour=0, minute=0, second=0)),
    ],
)
def test_a_time_may_be_a_number(network: NetworkName, written: str, at: datetime | None) -> None:
    own = '"user":{"id":5}' if network == "x_v1" else '"author_id":"5"'
    tweet = f'{{"created_at":{written},"id":"7","text":"snow",{own}}}'
    body = tweet if network == "x_v1" else f'{{"data":{tweet}}}'
    found = NETWORKS[network].decode(body.encode())
    assert isinstance(found, Tweet)
    assert found.created_at == at


def test_a_time_that_is_no_number_is_none() -> None:
    assert x_common.moment(float("nan")) is None
