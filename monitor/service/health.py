"""/health/live: whether the daemon runs; what a restart could repair.

That there is an answer means that the event loop runs; a job that hangs is listed, but does not
end a collector.
"""

import time
from collections.abc import Callable, Sequence

from monitor.alert.verdict import Check, HealthReport
from monitor.jobs import PeriodicJob

JOB_DELAY_MAX = 30.0  # seconds that a job may be late: the machine was busy, or asleep


class Liveness:
    """Finds jobs of the monitor that hang.

    Time is monotonic: setting the clock must not look like a job that hangs.
    """

    def __init__(
        self, jobs: Sequence[PeriodicJob], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.jobs = jobs
        self._clock = clock
        # The last run of each, and when it was first seen here.
        self._seen: dict[PeriodicJob, tuple[float | None, float]] = {}

    def report(self) -> HealthReport:
        """Report jobs that hang; call this about as often as the most frequent job runs."""
        now = self._clock()
        checks = tuple(self._check(job, now) for job in self.jobs)
        return HealthReport(True, (Check("event loop", ok=True, text="ok"), *checks))

    def _check(self, job: PeriodicJob, now: float) -> Check:
        ran_at, since = self._seen.get(job, (None, now))
        if job not in self._seen or job.ran_at != ran_at:
            since = now
        self._seen[job] = (job.ran_at, since)
        late = now - since - job.every - job.limit
        if late > JOB_DELAY_MAX:
            return Check(job.name, ok=False, text=f"Not responding: {late:.0f} s late.")
        return Check(job.name, ok=True, text="ok")
