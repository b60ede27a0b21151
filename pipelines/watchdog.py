"""A worker process of this host does not outlive the command that started it."""

import functools
import os
import threading

import psutil

#: Environment variable with the process id of the driver whose worker processes run beside it.
DRIVER = "HRPOSE_DRIVER"

#: Seconds between two looks at the driver.
_INTERVAL = 2


@functools.cache  # one thread however many steps a worker sets up
def end_with_driver() -> None:
    """Ends this process soon after its driver, wherever it is: Beam would try to reach it for minutes."""
    number = int(os.environ.get(DRIVER, os.getpid()))
    if number == os.getpid():
        return
    try:
        driver = psutil.Process(number)
    except psutil.NoSuchProcess:
        return  # another host's, or gone: then the next shard says so
    threading.Thread(target=_watch, args=(driver,), daemon=True).start()


def is_gone(driver: psutil.Process) -> bool:
    """Whether a process has ended, also if nobody has asked for its exit code yet."""
    try:
        return not driver.is_running() or driver.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _watch(driver):
    never = threading.Event()
    while not is_gone(driver):
        never.wait(_INTERVAL)
    os._exit(1)
