"""Ctrl-C, a terminal that closes, the end of a worker's loan: the run ends after the update it is in."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from hrpose.command import CommandError


class InterruptedRunError(CommandError):
    """The run was asked to end and has saved what it learned."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number  # as shells count: 130 after Ctrl-C, 143 after SIGTERM


class StopRequest:
    """Whether the run was asked to end.

    Attributes:
        signal_number: of the signal that asked; None so far.
    """

    signal_number: int | None = None

    def __bool__(self) -> bool:
        return self.signal_number is not None


#: Sent when the terminal closes, as an ssh connection that breaks; Windows has none.
SIGHUP = getattr(signal, "SIGHUP", None)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Catches Ctrl-C, SIGHUP, and SIGTERM, which schedulers send before they take a worker away.

    Yields:
        The wish. A second Ctrl-C or SIGTERM ends the process at once, as ever; a second SIGHUP does
        not, as a terminal that closes may send several. Where SIGHUP is ignored (nohup), it stays so.
    """
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        if number != SIGHUP:
            signal.signal(number, before[number] or signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield request
        return
    caught = [signal.SIGINT, signal.SIGTERM]
    if SIGHUP is not None and signal.getsignal(SIGHUP) != signal.SIG_IGN:
        caught.append(SIGHUP)
    before = {int(number): signal.getsignal(number) for number in caught}
    try:
        for number in before:
            signal.signal(number, ask)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextlib.contextmanager
def ctrl_c_ends_the_process() -> Iterator[None]:
    """Lets Ctrl-C end the process at once, also in native code; SIGTERM is then TensorFlow's to catch."""
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def interrupted(request: StopRequest, folder: Path, step: int) -> InterruptedRunError:
    """The error to raise once all is saved. It may have been another worker that was asked."""
    number = request.signal_number or signal.SIGTERM
    return InterruptedRunError(
        f"{signal.Signals(number).name}: stopped after update {step:,}, which is saved in {folder}; "
        "--continue goes on",
        number,
    )
