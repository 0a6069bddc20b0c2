"""Every error that defectloop raises on purpose.

    DefectloopError                exit code 1
    ├── BadInput                   exit code 2   what the user gave can't be used as it is
    │   ├── BadParams              params.yaml or an environment variable
    │   ├── UnreadableImage        bytes that are no image
    │   └── BadData                annotations, labels or classes that don't allow the step
    ├── NotReady                   exit code 3   an earlier step has not run yet
    ├── Refused                    exit code 4   a gate said no; the reasons are recorded
    ├── Unreachable                exit code 5   a server, remote or download that does not answer
    ├── Busy                       exit code 6   somebody else holds the line's lock
    └── Unexpected                 exit code 1   nobody foresaw it; a log file has the traceback

A message says what is wrong and where; `next_step` says what to type or change. Neither shows the credentials of a URL.
Reads and writes nothing.
"""

import re

_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")


def masked(text: str) -> str:
    """`text` with the user and password of every URL in it replaced: `https://***@host/path`."""
    return _CREDENTIALS.sub("***@", text)


def _printable(text: str) -> str:
    """With bytes of file names that are no UTF-8 escaped: a terminal refuses them."""
    return text.encode("utf-8", "backslashreplace").decode()


class DefectloopError(Exception):
    """Base of the tree. `next_step` is a command or a change that gets the user further."""

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
