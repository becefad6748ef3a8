"""Times of requests as a plot that needs no script."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 480, 96
_SHOWN = 160  # requests; the latest
_LEAST, _MOST = 1e-4, 100.0  # seconds: the bounds of the vertical axis, which is logarithmic
_LINES = ((0.001, "1 ms"), (0.01, "10 ms"), (0.1, "0.1 s"), (1.0, "1 s"), (10.0, "10 s"))


@dataclass(frozen=True)
class LatencyPlot:
    """The last requests of a route, oldest first."""

    route: str
    seconds: Sequence[float]

    @property
    def lines(self) -> list[tuple[str, float]]:
        """Lines of the grid that lie near the times, each with its height."""
        low, high = self._bounds
        return [(name, self._height(value)) for value, name in _LINES if low <= value <= high]

    @property
    def dots(self) -> list[tuple[float, float]]:
        """Places of the requests that are shown, the latest at the right."""
        shown = self.seconds[-_SHOWN:]
        step = WIDTH / _SHOWN
        return [
            (round(WIDTH - (len(shown) - place - 0.5) * step, 1), self._height(value))
            for place, value in enumerate(shown)
        ]

    def quantile(self, share: float) -> float:
        """Return the time within which a share of the requests was answered, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]

    @property
    def _bounds(self) -> tuple[float, float]:
        low = 10 ** math.floor(math.log10(max(_LEAST, min(self.seconds))))
        high = 10 ** math.ceil(math.log10(min(_MOST, max(*self.seconds, 10 * low))))
        return low, high

    def _height(self, value: float) -> float:
        low, high = self._bounds
        share = math.log10(min(max(value, low), high) / low) / math.log10(high / low)
        return round(HEIGHT - 4 - share * (HEIGHT - 8), 1)
