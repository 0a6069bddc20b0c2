"""The errors that defectloop raises.

    DefectloopError                exit code 1
    ├── BadInput                   exit code 2   the user's input is invalid
    │   ├── BadParams              params.yaml or an environment variable
    │   ├── UnreadableImage        bytes that cannot be decoded as an image
    │   └── BadData                files, annotations, labels or classes that the step cannot use
    ├── NotReady                   exit code 3   an earlier step has not run yet
    ├── Refused                    exit code 4   a gate refused; the reasons are recorded
    ├── Unreachable                exit code 5   a server, remote or download does not answer
    ├── Busy                       exit code 6   another process holds the line's lock
    └── Unexpected                 exit code 1   a bug; a log file has the traceback

The message says what is wrong and where; `next_step` says what to run or change. Credentials in URLs are masked in both.
"""

import re

_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")


def masked(text: str) -> str:
    """Return `text` with user and password of every URL replaced: `https://***@host/path`."""
    return _CREDENTIALS.sub("***@", text)


def _printable(text: str) -> str:
    """Escape invalid UTF-8 from file names, which a terminal cannot print."""
    return text.encode("utf-8", "backslashreplace").decode()


class DefectloopError(Exception):
    """Base class. `next_step` is the command or change that solves the problem."""

    exit_code = 1

    def __init__(self, message: str, *, next_step: str = "") -> None:
        self.message = _printable(masked(message))
        self.next_step = _printable(masked(next_step))
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()


class BadInput(DefectloopError):
    exit_code = 2


class BadParams(BadInput):
    pass


class UnreadableImage(BadInput):
    pass


class BadData(BadInput):
    pass


class NotReady(DefectloopError):
    exit_code = 3


class Refused(DefectloopError):
    exit_code = 4


class Unreachable(DefectloopError):
    exit_code = 5


class Busy(DefectloopError):
    exit_code = 6


class Unexpected(DefectloopError):
    pass
