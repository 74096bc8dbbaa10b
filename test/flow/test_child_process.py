"""A child process of the daemon: what is said when it fails."""

import sys

import pytest

from monitor import child_process
from monitor.child_process import ChildFailed

WORK = "print('recorded for track 3: done', flush=True)\n"
UNCLOSED = (
    "print('Unclosed client session\\nclient_session: <ClientSession 0x1>', file=sys.stderr)\n"
)
ERROR = "print('Error: The database cannot be used.', file=sys.stderr)\n"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "the process was killed (signal 9)"),
        (f"{ERROR}os.kill(os.getpid(), signal.SIGSEGV)", "the process was killed (signal 11)"),
        (f"{ERROR}{UNCLOSED}sys.exit(1)", "The database cannot be used."),
        (f"{UNCLOSED}raise KeyError('since')", "KeyError: 'since'"),
        (f"{UNCLOSED}sys.exit(3)", "the process ended with exit code 3"),
    ],
)
async def test_a_failure_has_the_error_of_the_process_or_how_it_ended(code: str, why: str) -> None:
    program = f"import os, signal, sys\n{WORK}{code}"
    with pytest.raises(ChildFailed) as failed:
        await child_process.run("look-back", [sys.executable, "-c", program])
    assert str(failed.value) == why


async def test_success_is_silent() -> None:
    await child_process.run("look-back", [sys.executable, "-c", f"import sys\n{UNCLOSED}"])
