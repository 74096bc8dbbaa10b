"""Alert rules about sources: failed, silent, paused, stored late, damaged, rejected, unmatched."""

from collections.abc import Iterator, Mapping

import msgspec

from monitor.alert.condition import Condition, RuleContext
from monitor.alert.text import clock, lasting
from monitor.snapshot import SourceSnapshot
from stream.networks.registry import UNFILTERED_NETWORKS

TRYING = ("connecting", "connected", "streaming", "waiting")
SILENT_AFTER = 60.0  # seconds without a byte; networks send keep-alives
JOURNAL_FULL_FOR = 10.0  # seconds
JOURNAL_LAG_FOR = 60.0  # seconds
RULES_FOR = 15.0  # seconds; the second try often helps
BROKEN_ROW_FOR = 60.0  # seconds
NO_COLLECTOR_FOR = 300.0  # seconds; a takeover is quicker
NO_SOURCE_FOR = 60.0  # seconds
CLOCK_JUMP = 10.0  # seconds
HOUR = 3600.0  # seconds; as long as snapshots are kept
FRAMES_MIN = 100  # in an hour; a share of fewer means nothing
REJECTS_MIN = 5
TWEETS_MIN = 200

# Failures that have a rule of their own, by their code.
_OWN_RULE: Mapping[str, str] = {
    "credentials": "source_refused",
    "clock": "source_clock",
    "plan": "source_plan",
    "quota": "source_quota",
}
_RETRY = "then `twitterstream.py source disable {0}` and `source enable {0}`"


def source_failures(context: RuleContext) -> Iterator[Condition]:
    """A source has failed: one rule per kind of failure. Also sources without a collector."""
    for source in context.now.sources:
        if source.enabled and source.collecting:
            if source.code in _OWN_RULE:
                yield _failure(context, source, _OWN_RULE[source.code])
            elif source.state == "failed":
                yield _failure(context, source, "source_failed")
        elif source.enabled and context.now.leads and not source.standing_by:
            yield from _without_collector(context, source)


def _failure(context: RuleContext, source: SourceSnapshot, rule: str) -> Condition:
    verb = "has failed" if source.state == "failed" else "has not collected"
    since = clock(source.state_since, context.now.at)
    text = f"Source {source.name} {verb} since {since}: {source.reason.rstrip('.')}."
    since_at = source.state_since if source.state == "failed" else None
    if rule == "source_quota" and source.until is not None:
        text += f" Next try at {clock(source.until, context.now.at)}."
    remedy = _remedy(rule, source.name)
    return Condition(rule, source.name, "critical", text, remedy, 1.0, since=since_at)


def _remedy(rule: str, name: str) -> str:
    match rule:
        case "source_refused":
            return (
                "Create new credentials at the network, and enter them on the page Sources or with"
                f" `twitterstream.py source secrets {name}`."
            )
        case "source_clock":
            return (
                "Set the clock (`timedatectl set-ntp true`). The source then reconnects by itself."
            )
        case "source_plan":
            return (
                f"Subscribe to a plan that allows it, {_RETRY.format(name)}. Or disable the source."
            )
        case "source_quota":
            return "Wait for the next period, raise the account's limit, or narrow the tracks."
        case _:
            return f"Fix the cause, {_RETRY.format(name)}."


def _without_collector(context: RuleContext, source: SourceSnapshot) -> Iterator[Condition]:
    """Enabled, but not collected by any daemon."""
    if source.state == "failed":  # a row that cannot be used, as without the key
        # Right after a start this may be the state of the last run.
        found = _failure(context, source, "source_failed")
        yield msgspec.structs.replace(found, for_=BROKEN_ROW_FOR, since=None)
    elif context.settings.cell:  # collectors are daemons of home
        return
    elif context.facts is not None and source.id not in context.facts.collected:
        text = f"Source {source.name} is enabled, but no daemon collects it."
        remedy = "Check the daemon's log for the reason, and restart it."
        yield Condition(
            "source_failed", source.name, "critical", text, remedy, 1.0, NO_COLLECTOR_FOR
        )


def no_source(context: RuleContext) -> Iterator[Condition]:
    """Tracks wait, and no source could deliver for them."""
    waiting = sum(context.now.tracks.get(state, 0) for state in ("pending", "active", "partial"))
    if waiting and not any(source.enabled for source in context.now.sources):
        text = f"No source is enabled, so nothing is collected for {waiting:,} tracks."
        remedy = (
            "Add or enable one: on the page Sources, or by `twitterstream.py source enable NAME`."
        )
        yield Condition("no_source", "", "critical", text, remedy, float(waiting), NO_SOURCE_FOR)


def source_silent(context: RuleContext) -> Iterator[Condition]:
    """Connected or trying, but nothing arrives; for reasons without a rule of their own."""
    now = context.now.at
    for source in context.now.sources:
        if not _trying(source) or (
            source.last_byte is not None and now - source.last_byte < SILENT_AFTER
        ):
            continue
        began = _trying_since(context, source)
        nothing = (
            "nothing yet" if source.last_byte is None else f"nothing since {clock(began, now)}"
        )
        why = f" ({source.reason.rstrip('.')})" if source.reason else ""
        text = f"Source {source.name} has delivered {nothing}; it is {source.state}{why}."
        remedy = (
            "Check this machine's connection and the network's status page. The daemon keeps"
            " trying by itself."
        )
        yield Condition(
            "source_silent",
            source.name,
            "critical",
            text,
            remedy,
            now - began,
            context.settings.alerts.source_silent,
            began,
        )


def _trying(source: SourceSnapshot) -> bool:
    return (
        source.enabled
        and source.collecting
        and source.state in TRYING
        and source.code not in _OWN_RULE
    )


def _trying_since(context: RuleContext, source: SourceSnapshot) -> float:
    """Since when it has been silent while trying; not while it was paused or disabled."""
    began = context.now.at
    for snapshot in reversed(context.snapshots):
        then = context.source(snapshot, source.id)
        if then is None or not _trying(then):
            break
        began = snapshot.at
        if source.last_byte is not None and source.last_byte >= began:
            return source.last_byte
    return began


def journal_full(context: RuleContext) -> Iterator[Condition]:
    for source in context.now.sources:
        if source.enabled and not source.standing_by and source.why_journal_full is not None:
            text = f"Source {source.name} is paused: {source.why_journal_full.rstrip('.')}."
            remedy = (
                "Free up disk space, or raise journal.max_bytes. If Postgres is away, start it. The"
                " source resumes by itself."
            )
            yield Condition(
                "journal_full", source.name, "critical", text, remedy, 1.0, JOURNAL_FULL_FOR
            )


def journal_lag(context: RuleContext) -> Iterator[Condition]:
    """Tweets are stored late; that Postgres or the bus is away has its own alert."""
    if not context.now.database.up:
        return
    for source in context.now.sources:
        if source.bus_failing:
            continue  # the alert bus_away
        if source.lag_seconds > context.settings.alerts.journal_lag:
            text = (
                f"Tweets of source {source.name} are stored {lasting(source.lag_seconds)} late;"
                f" {source.lag_bytes / 1e6:,.1f} MB wait in the journal."
            )
            remedy = (
                "Check whether Postgres or its disk is slow, or has long transactions"
                " (`pg_stat_activity`). It catches up by itself."
            )
            yield Condition(
                "journal_lag",
                source.name,
                "warning",
                text,
                remedy,
                source.lag_seconds,
                JOURNAL_LAG_FOR,
            )


def rules_not_applied(context: RuleContext) -> Iterator[Condition]:
    """The network sends something else than the tracks ask for: more, or no posts at all."""
    for source in context.now.sources:
        if source.enabled and source.collecting and source.not_in_force:
            text = f"Source {source.name}: {source.not_in_force.rstrip('.')}."
            remedy = (
                "Track hashtags, which this server may still send, or add a source on another"
                " server."
                if source.network == "mastodon"
                else "The daemon retries by itself. If it lasts, delete the rules in the network's"
                " developer portal, or ask its support."
            )
            yield Condition(
                "rules_not_applied", source.name, "warning", text, remedy, 1.0, RULES_FOR
            )


def writer_stalled(context: RuleContext) -> Iterator[Condition]:
    """The position does not advance, although Postgres answers and frames wait."""
    database = context.now.database
    if not database.up:
        return
    for source in context.now.sources:
        # After an outage of Postgres the writer gets the same time to start again.
        stalled = min(source.writer_stalled, context.now.at - database.since)
        if stalled > context.settings.alerts.writer_stalled:
            text = (
                f"Nothing of source {source.name} has been stored for {lasting(stalled)}, although"
                f" Postgres answers; {source.lag_bytes / 1e6:,.1f} MB wait in the journal."
            )
            remedy = (
                "Check for locks and long transactions (`pg_stat_activity`). If there are none,"
                " restart the daemon. Nothing is lost while the journal has room."
            )
            yield Condition("writer_stalled", source.name, "critical", text, remedy, stalled)


def journal_damaged(context: RuleContext) -> Iterator[Condition]:
    """Damaged places in the journal within the last hour."""
    for source in context.now.sources:
        times = source.journal_damaged - _hour_ago(context, source).journal_damaged
        if times > 0:
            text = (
                f"The journal of source {source.name} had {times} damaged places in the last hour;"
                " the messages there could not be stored."
            )
            remedy = (
                "Check disk and memory of the machine (`dmesg`, `smartctl -a`). The damaged bytes"
                " are in the table `rejects` (reason damaged) and in *.damaged files next to the"
                " journal."
            )
            yield Condition("journal_damaged", source.name, "warning", text, remedy, float(times))


def clock_jumped(context: RuleContext) -> Iterator[Condition]:
    """The clock was changed in the last hour, or had been ahead when frames arrived."""
    jump = max((each.process.clock_jump for each in context.snapshots), key=abs)
    corrected = [
        source.name
        for source in context.now.sources
        if source.clock_corrections > _hour_ago(context, source).clock_corrections
    ]
    if abs(jump) >= CLOCK_JUMP:
        way = "forward" if jump > 0 else "back"
        text = f"The clock of {context.now.host} jumped {way} by {lasting(abs(jump))}."
    elif corrected:
        text = f"The clock of {context.now.host} was ahead and has been set back."
    else:
        return
    remedy = (
        "Turn on time synchronization (`timedatectl set-ntp true`). Tweets received while the clock"
        " was wrong keep their wrong times."
    )
    yield Condition("clock_jumped", "", "warning", text, remedy, abs(jump))


def _hour_ago(context: RuleContext, source: SourceSnapshot) -> SourceSnapshot:
    """A source's counts of an hour ago; 0 when this daemon had not started then."""
    oldest = context.snapshots[0]
    then = context.source(oldest, source.id)
    if (
        then is None
        or context.now.at - oldest.at < HOUR - context.settings.monitor.sample_interval
        or oldest.process.started_at != context.now.process.started_at
    ):
        return msgspec.structs.replace(source, journal_damaged=0, clock_corrections=0)
    return then


def reject_share(context: RuleContext) -> Iterator[Condition]:
    """Too large a share of the last hour's messages was rejected."""
    for source, outcomes in _last_hour(context):
        frames = sum(
            count for name, count in outcomes.items() if name not in ("repaired", "undelivered")
        )
        rejected = outcomes.get("rejected", 0)
        percent = 100.0 * rejected / frames if frames else 0.0
        limit = context.settings.alerts.reject_percent
        if frames >= FRAMES_MIN and rejected >= REJECTS_MIN and percent > limit:
            text = (
                f"{rejected:,} of {frames:,} messages ({percent:.1f} %) of source {source.name} in"
                " the last hour could not be stored."
            )
            remedy = (
                "They are kept with their reasons in the table `rejects`. If the network has"
                " changed its format, upgrade this program."
            )
            yield Condition("reject_share", source.name, "warning", text, remedy, percent)


def unmatched_share(context: RuleContext) -> Iterator[Condition]:
    """Too large a share of the last hour's tweets matched no track, though the network filters."""
    for source, outcomes in _last_hour(context):
        if source.network in UNFILTERED_NETWORKS:
            continue
        unmatched = outcomes.get("unmatched", 0) + outcomes.get("dropped", 0)
        tweets = outcomes.get("stored", 0) + unmatched
        percent = 100.0 * unmatched / tweets if tweets else 0.0
        if tweets >= TWEETS_MIN and percent > context.settings.alerts.unmatched_percent:
            text = (
                f"{unmatched:,} of {tweets:,} tweets ({percent:.0f} %) of source {source.name} in"
                " the last hour match no track."
            )
            remedy = (
                "Check whether another program has rules in the same app, or whether the network"
                " matches a track more broadly than this program does (`track list`)."
            )
            yield Condition("unmatched_share", source.name, "notice", text, remedy, percent)


def _last_hour(context: RuleContext) -> Iterator[tuple[SourceSnapshot, Mapping[str, int]]]:
    for source in context.now.sources:
        if context.facts is not None and source.collecting:
            yield source, context.facts.outcomes.get(source.id, {})
