"""What every handler needs."""

from pathlib import Path

from aiohttp import web

from stream.config import Settings
from stream.db import Database
from stream.vault import Vault
from web.accounts.passwords import Passwords
from web.environment import Pages
from web.person import Person
from web.problem import Problem
from web.proxies import Caller, Proxies
from web.throttle import Logins


class Site:
    """The parts of one running copy of the pages. `database` is for them alone."""

    def __init__(self, database: Database, settings: Settings, vault: Vault) -> None:
        self.database = database
        self.settings = settings
        self.vault = vault
        self.base = settings.web.base_path
        self.proxies = Proxies(settings.web.trusted_proxies)
        self.passwords = Passwords()
        self.logins = Logins()
        self.pages = Pages(self.base)
        self.data_dir = Path(settings.data_dir)


SITE: web.AppKey[Site] = web.AppKey("site", Site)
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
PERSON: web.RequestKey[Person] = web.RequestKey("person", Person)


def site(request: web.Request) -> Site:
    return request.config_dict[SITE]


def person(request: web.Request) -> Person:
    """Who asks, on routes that are not public."""
    if PERSON not in request:
        raise Problem("login_needed", "Log in first.")
    return request[PERSON]


def caller(request: web.Request) -> Caller:
    return request[CALLER]
