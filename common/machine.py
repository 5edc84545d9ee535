"""Trouble of the machine, told from faults of the data.

A full disk, a lack of memory or a file that may not be read says nothing of what is in the file: it stops the work,
which can then be done again.
What a decoder says of a damaged file is the file's fault.
"""

from __future__ import annotations

import errno

TROUBLE = {
    errno.EACCES,
    errno.EPERM,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.ENETDOWN,
    errno.ENETUNREACH,
}


class MachineError(Exception):
    """Trouble of the machine; the message says where, which, and what to do. Never a fault of the data.

    place: the file or folder, which the message begins with; "" where none is known or the message names it itself.
    """

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(f"{place}: {message}" if place else message)
        self.place = place


def machine_error(error: BaseException) -> MachineError | None:
    """The trouble of the machine behind an error or behind what it came from; None where there is none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MachineError):
            return cause
        if isinstance(cause, MemoryError):
            return MachineError(
                "memory ran out; free some, or use fewer --workers, and run the same command again"
            )
        if isinstance(cause, OSError) and cause.errno in TROUBLE:
            message = f"{cause.strerror or cause}; mend that and run the same command again"
            return MachineError(message, place=str(cause.filename or ""))
        cause = cause.__cause__ or cause.__context__
    return None
