"""What a person is told to do when the bus cannot be used."""

import pytest

from stream.bus import advice
from stream.bus.collected_stream import ELSEWHERE
from stream.config import Settings

WITH_LOGIN = Settings(bus="nats://a", bus_credentials="/etc/login")
PLAIN = Settings(bus="nats://a", bus_replicas=5)


@pytest.mark.parametrize(
    ("why", "settings", "words", "person"),
    [
        ("nats: 'Authorization Violation'", PLAIN, "set `bus_credentials`", True),
        ("nats: 'Authorization Violation'", WITH_LOGIN, "password in /etc/login", True),
        ("nats: permissions violation for publish", PLAIN, "Allow this user", True),
        ("nats: 'maximum connections exceeded'", PLAIN, "limits of connections", True),
        ("nats: 'maximum subscriptions exceeded'", PLAIN, "max_subscriptions", True),
        (
            "certificate verify failed: IP address mismatch, certificate is not valid for '::1'",
            PLAIN,
            "Name the servers in `bus` as their certificates do",
            True,
        ),
        ("certificate verify failed: certificate has expired", PLAIN, "renew what has", True),
        ("it refuses: replicas > 1 not supported in non-clustered mode", PLAIN, "is 5", True),
        ("it refuses: no suitable peers for placement", PLAIN, "so many servers", True),
        (
            "it refuses: no suitable peers for placement, insufficient storage",
            PLAIN,
            "max_file_store",
            True,
        ),
        ("it refuses: insufficient storage resources available", PLAIN, "max_file_store", True),
        ("JetStream not enabled for account", PLAIN, "Switch JetStream on", True),
        ("no server with JetStream answers", PLAIN, "Switch JetStream on", True),
        ("JetStream system temporarily unavailable", PLAIN, "most of them have to run", False),
        ("the stream has no leader: no quorum", PLAIN, "most of them have to run", False),
        ("[Errno 111] Connection refused", PLAIN, "`bus` (nats://a) names them", False),
        ("[Errno -2] Name or service not known", PLAIN, "Check that its servers run", False),
        (ELSEWHERE, PLAIN, "Let `bus_stream` (twitterstream) and `bus` (nats://a) be as", True),
        ("not connected yet", PLAIN, "no firewall", False),
    ],
)
def test_each_reason_has_a_remedy(why: str, settings: Settings, words: str, person: bool) -> None:
    assert words in advice.remedy(why, settings)
    assert advice.needs_person(why, settings) is person
