"""Run a command that ends when its caller ends, even if the caller is killed: `python -m flows.attached PID COMMAND…`.

PID is the caller's process id; without it, a caller that was killed before this program looked up its parent would go
unnoticed. This module imports little, because one process of it runs beside every server that is started here.
`end_with_runner` does the same for the flow runs of `defectloop deploy`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

RUNNER = "DEFECTLOOP_RUNNER"  # environment variable of flow runs: process id of the runner that serves the deployment
POLL_S = 0.5
GRACE_S = 10.0


def command_line(command: Sequence[str]) -> list[str]:
    """Return the command line that runs `command` so that it ends with the present process."""
    return [sys.executable, "-m", "flows.attached", str(os.getpid()), *command]


def end_with_runner() -> None:
    """End this flow run as soon as the `deploy` that started it has ended, even by a kill. Without one, do nothing."""
    import threading

    if RUNNER not in os.environ:
        return
    runner = int(os.environ[RUNNER])

    def watch() -> None:
        while os.getppid() == runner:
            time.sleep(POLL_S)
        os._exit(1)  # no clean-up is needed: the next run continues from the ledger

    threading.Thread(target=watch, name="end with the runner", daemon=True).start()


def main(parent: int, command: list[str]) -> int:
    if os.getppid() != parent:
        return 1
    child = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: child.send_signal(received))
    while child.poll() is None and os.getppid() == parent:
        time.sleep(POLL_S)
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.returncode or 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
