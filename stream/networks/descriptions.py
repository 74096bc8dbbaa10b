"""What people read about networks: names, names of credentials, where to get these.

Imports no network, so that commands that only list sources start quickly.
"""

from collections.abc import Mapping

from stream.tweet import NetworkName

# With the version of the protocol, where there are several.
TITLES: Mapping[NetworkName, str] = {
    "x_v2": "X, API v2",
    "x_v1": "X, API v1.1",
    "bluesky": "Bluesky",
    "mastodon": "Mastodon",
}
SERVICES: Mapping[NetworkName, str] = {
    "x_v2": "X", "x_v1": "X", "bluesky": "Bluesky", "mastodon": "Mastodon",
}  # fmt: skip

# Networks that send earlier posts again, and how far back.
REPLAYED: Mapping[NetworkName, str] = {"bluesky": "36 hours"}

CREDENTIAL_LABELS = {
    "bearer_token": "Bearer token (app-only) of the X app",
    "consumer_key": "API key (consumer key)",
    "consumer_secret": "API key secret (consumer secret)",
    "token": "Access token",
    "token_secret": "Access token secret",
    "access_token": "Access token with the scope read:statuses",
}
CREDENTIALS_HELP: Mapping[NetworkName, str] = {
    "x_v2": "You find the bearer token of your app on X's developer pages.",
    "x_v1": "You find the four keys of your app on X's developer pages.",
    "bluesky": "Bluesky needs no account and no keys: its posts are public.",
    "mastodon": (
        "To get a token, log in on your Mastodon server and open Preferences, Development, New"
        " application. Choose only the scope read:statuses, save, open the application, and copy"
        ' "Your access token". Use an account without chosen languages, blocks and mutes: these'
        " hide posts from the stream."
    ),
}

# Networks of many servers: a source has to name one.
OWN_SERVER: frozenset[NetworkName] = frozenset({"mastodon"})
SERVER_MISSING = (
    "A source on Mastodon needs the address of the server that your account is on, such as"
    " https://mastodon.example."
)


def credentials_missing(network: NetworkName, absent: list[str]) -> str:
    """Why a source cannot be added, and how to get what is missing."""
    text = f"A source on {SERVICES[network]} also needs these secrets: {', '.join(absent)}."
    if len(absent) > 1:
        return f"{text} {CREDENTIALS_HELP[network]}"
    url = " --url https://YOUR.SERVER" if network in OWN_SERVER else ""
    return (
        f"{text} {CREDENTIALS_HELP[network]} Then:\n  echo '{absent[0]}: YOURS' |"
        f" ./twitterstream.py source add NAME --network {network}{url} --secrets -"
    )
