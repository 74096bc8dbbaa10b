"""The fields with which a look-back is requested, on the form of a new track and on its page."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args

import msgspec
from multidict import MultiMapping

from stream.store.look_backs import NewLookBack, Place
from web.problem import Problem
from web.track_editing.look_back import Offer

PERIODS = {  # hours
    "": "as far as possible",
    "1": "1 hour",
    "6": "6 hours",
    "24": "24 hours",
    "168": "7 days",
    "720": "30 days",
    "8760": "1 year",
}
CHOSEN = "choose_look_back"  # present when the form has these fields: no tick is sent as nothing
AUTHOR_MAX = 300  # characters that are kept of an account as typed


class LookBackForm(msgspec.Struct, frozen=True):
    """The fields as sent."""

    places: Sequence[str] = ()
    accounts: Sequence[str] = ()  # those that are ticked, and the one that is typed
    hours: str = ""

    @property
    def account(self) -> str:
        """The account to show again in its field."""
        return self.accounts[0] if self.accounts else ""

    def wanted(self) -> list[NewLookBack]:
        """Problem for a field that cannot be."""
        if self.hours not in PERIODS:
            raise Problem("invalid", "Choose one of the periods.", field="look_back")
        hours = timedelta(hours=int(self.hours)) if self.hours else None
        since = None if hours is None else datetime.now(UTC) - hours
        known = get_args(Place)
        if not all(place in known and place != "author" for place in self.places):
            raise Problem("invalid", "Unknown place to look back in.", field="look_back")
        places = [NewLookBack(cast("Place", place), since) for place in self.places]
        return [*places, *(NewLookBack("author", since, each) for each in self.accounts)]


def template_values(form: LookBackForm, offers: Sequence[Offer]) -> dict[str, Any]:
    """What the template look_back_fields.html needs."""
    return {"look_back": form, "offers": offers, "offered": key(offers), "periods": PERIODS}


def key(offers: Sequence[Offer]) -> str:
    """Tells which places a form offers."""
    return " ".join(f"{each.place}:{each.account}" for each in offers)


NOTHING = LookBackForm()
NEW_TRACK = LookBackForm(places=("stored",))  # costs little, and is what the preview has shown


def read(given: MultiMapping[object], default: LookBackForm) -> LookBackForm:
    """The fields of a form that was sent; `default`: of one that does not have them."""
    if CHOSEN not in given:
        return default
    typed = [str(each).strip()[:AUTHOR_MAX] for each in given.getall("account", [])]
    return LookBackForm(
        [str(each) for each in given.getall("look_back", [])],
        list(dict.fromkeys(filter(None, typed))),
        str(given.get("look_back_hours", "")),
    )
