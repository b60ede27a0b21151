"""How long each phase of a command takes."""

import time


class Laps:
    """A stopwatch: `lap` gives the time since the last lap, or since the start, to a phase.

    Attributes:
        seconds: {phase: seconds}, in the order of the first laps.
    """

    def __init__(self, clock=time.monotonic):
        self.seconds = {}
        self._clock = clock
        self._last = clock()

    def lap(self, phase):
        """Ends a phase."""
        now = self._clock()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now
