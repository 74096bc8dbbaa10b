"""Whether X would let a source of v1.1 in: there is nothing to ask but the stream itself."""

from stream.backoff import Clock
from stream.config import Settings
from stream.networks.base import Reporter
from stream.networks.x_v1.client import XV1Client
from stream.networks.x_v1.filter import Filter
from stream.networks.x_v1.plan import XV1Plan
from stream.tweet import Source

PHRASE = "twitterstream"  # something to ask for; hardly anybody writes it


async def trial(source: Source, settings: Settings, clock: Clock) -> str:
    """Connect, and close at once; ConnectError says why not.

    It costs one attempt, and ends a stream that is open with the same token.
    """
    client = XV1Client(source, settings, clock, Reporter(lambda _: None, lambda _: None))
    client.set_plan(XV1Plan({}, {}, {}, asked=1, filter=Filter(track=(PHRASE,))))
    await client.prepare()
    stream = await client.connect()
    await stream.close()
    return "X accepts the keys and opens the stream."
