"""Rules about sources: silent, failed in one of the ways that differ for a person, paused."""

from collections.abc import Iterator, Mapping

import msgspec

from monitor.alert.condition import Condition, View
from monitor.alert.words import clock, lasting
from monitor.reading import SourceReading

TRYING = ("connecting", "proving", "streaming", "waiting")
QUIET = 60.0  # seconds without a byte: nothing is being delivered; networks give signs of life
ROOM_HOLD = 10.0  # seconds
LAG_HOLD = 60.0  # seconds
ROW_HOLD = 60.0  # seconds
NOBODY_HOLD = 300.0  # seconds; a takeover is quicker
FEWEST_FRAMES = 100  # of an hour, for a share to mean something
FEWEST_REJECTS = 5
FEWEST_TWEETS = 200

# Failures that have a rule of their own, by their code.
_OWN_RULE: Mapping[str, str] = {
    "credentials": "source_refused",
    "clock": "source_clock",
    "plan": "source_plan",
    "quota": "source_quota",
}
_AGAIN = "then `twitterstream.py source disable {0}` and `source enable {0}`"


def source_failures(view: View) -> Iterator[Condition]:
    """Each failure under the rule that says how to mend it; here, or where nobody collects."""
    for source in view.now.sources:
        if source.enabled and source.collecting:
            if source.code in _OWN_RULE:
                yield _failure(view, source, _OWN_RULE[source.code])
            elif source.state == "failed":
                yield _failure(view, source, "source_failed")
        elif source.enabled and view.now.leads and not source.standing_by:
            yield from _without_collector(view, source)


def _failure(view: View, source: SourceReading, rule: str) -> Condition:
    verb = "has failed" if source.state == "failed" else "cannot collect"
    since = clock(source.state_since, view.now.at)
    text = f"Source {source.name} {verb} since {since}: {source.reason.rstrip('.')}."
    since_at = source.state_since if source.state == "failed" else None
    if rule == "source_quota" and source.until is not None:
        text += f" It tries again at {clock(source.until, view.now.at)}."
    remedy = _remedy(rule, source.name)
    return Condition(rule, source.name, "critical", text, remedy, 1.0, since=since_at)


def _remedy(rule: str, name: str) -> str:
    match rule:
        case "source_refused":
            return (
                "Make a new credential at the network, and give it to the source: on the page"
                f" Sources, Change, or by `twitterstream.py source secrets {name}`."
            )
        case "source_clock":
            return "Set the clock (`timedatectl set-ntp true`); it connects by itself then."
        case "source_plan":
            return f"Book a plan that allows it, {_AGAIN.format(name)}; or disable the source."
        case "source_quota":
            return "Wait, raise the limit of the account, or follow less (`track list`)."
        case _:
            return f"Mend what it says, {_AGAIN.format(name)}."


def _without_collector(view: View, source: SourceReading) -> Iterator[Condition]:
    """Enabled, but no daemon collects it."""
    if source.state == "failed":  # a row that cannot be used, as without the key
        # Right after a start that may be the state of the last run.
        found = _failure(view, source, "source_failed")
        yield msgspec.structs.replace(found, hold=ROW_HOLD, since=None)
    elif view.facts is not None and source.id not in view.facts.collected:
        text = f"Source {source.name} is enabled, but no daemon collects it."
        remedy = "Read the log of the daemon for why not, and start it again."
        yield Condition("source_failed", source.name, "critical", text, remedy, 1.0, NOBODY_HOLD)


def source_silent(view: View) -> Iterator[Condition]:
    """It should bring something, and does not; why has no rule of its own."""
    now = view.now.at
    for source in view.now.sources:
        if not _trying(source) or (source.last_byte is not None and now - source.last_byte < QUIET):
            continue
        began = _trying_since(view, source)
        heard = "nothing yet" if source.last_byte is None else f"nothing since {clock(began, now)}"
        why = f" ({source.reason.rstrip('.')})" if source.reason else ""
        text = f"Source {source.name} has brought {heard}; it is {source.state}{why}."
        remedy = (
            "Look whether this machine reaches the network and whether that has trouble; the"
            " daemon goes on trying by itself."
        )
        yield Condition(
            "source_silent",
            source.name,
            "critical",
            text,
            remedy,
            now - began,
            view.settings.alerts.source_silent,
            began,
        )


def _trying(source: SourceReading) -> bool:
    return (
        source.enabled
        and source.collecting
        and source.state in TRYING
        and source.code not in _OWN_RULE
    )


def _trying_since(view: View, source: SourceReading) -> float:
    """When it began to be silent although it tries: not while it was paused or disabled."""
    began = view.now.at
    for reading in reversed(view.readings):
        then = view.source(reading, source.id)
        if then is None or not _trying(then):
            break
        began = reading.at
        if source.last_byte is not None and source.last_byte >= began:
            return source.last_byte
    return began


def journal_full(view: View) -> Iterator[Condition]:
    for source in view.now.sources:
        if source.enabled and source.collecting and source.journal_room is not None:
            text = f"Source {source.name} has paused: {source.journal_room.rstrip('.')}."
            remedy = (
                "Make room on the disk, or raise journal.max_bytes; if the database is away, start"
                " it. The source resumes by itself."
            )
            yield Condition("journal_full", source.name, "critical", text, remedy, 1.0, ROOM_HOLD)


def journal_lag(view: View) -> Iterator[Condition]:
    """While the database is away, that is what has to be told."""
    if not view.now.database.up:
        return
    for source in view.now.sources:
        if source.lag_seconds > view.settings.alerts.journal_lag:
            text = (
                f"Tweets of source {source.name} wait for {lasting(source.lag_seconds)} before"
                f" they are stored; {source.lag_bytes / 1e6:,.1f} MB are in the journal."
            )
            remedy = (
                "See whether the database or its disk is too slow or has long transactions"
                " (`stats_health`); the rest follows by itself once it keeps up."
            )
            yield Condition(
                "journal_lag", source.name, "warning", text, remedy, source.lag_seconds, LAG_HOLD
            )


def reject_share(view: View) -> Iterator[Condition]:
    """Of the messages of the last hour."""
    for source, outcomes in _last_hour(view):
        frames = sum(
            count for name, count in outcomes.items() if name not in ("repaired", "withheld")
        )
        rejected = outcomes.get("rejected", 0)
        percent = 100.0 * rejected / frames if frames else 0.0
        limit = view.settings.alerts.reject_percent
        if frames >= FEWEST_FRAMES and rejected >= FEWEST_REJECTS and percent > limit:
            text = (
                f"Of {frames:,} messages of source {source.name} in the last hour {rejected:,}"
                f" ({percent:.1f} %) could not be stored."
            )
            remedy = (
                "They are kept raw in `rejects`, with the reason: SELECT reason, count(*) FROM"
                " rejects GROUP BY 1. If the network has changed its format, a newer version helps."
            )
            yield Condition("reject_share", source.name, "warning", text, remedy, percent)


def unmatched_share(view: View) -> Iterator[Condition]:
    """Of the tweets of the last hour."""
    for source, outcomes in _last_hour(view):
        beside = outcomes.get("unmatched", 0) + outcomes.get("dropped", 0)
        tweets = outcomes.get("stored", 0) + beside
        percent = 100.0 * beside / tweets if tweets else 0.0
        if tweets >= FEWEST_TWEETS and percent > view.settings.alerts.unmatched_percent:
            text = (
                f"Of {tweets:,} tweets of source {source.name} in the last hour {beside:,}"
                f" ({percent:.0f} %) match no track."
            )
            remedy = (
                "See whether another program has rules of its own in the same app, or whether a"
                " track says more to the network than to us (`track list`)."
            )
            yield Condition("unmatched_share", source.name, "notice", text, remedy, percent)


def _last_hour(view: View) -> Iterator[tuple[SourceReading, Mapping[str, int]]]:
    for source in view.now.sources:
        if view.facts is not None and source.collecting:
            yield source, view.facts.outcomes.get(source.id, {})
