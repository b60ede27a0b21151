"""The hosts of a training, by the environment variable TF_CONFIG."""

import json
import re
from dataclasses import dataclass, field

#: A host's address as gRPC takes it: a name, an IPv4 address, or an IPv6 address in brackets.
_ADDRESS = re.compile(r"(?:[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}")


@dataclass(frozen=True)
class Cluster:
    """The hosts of a run.

    Attributes:
        workers: how many there are.
        index: which of them this is; 0 is the chief, who writes.
        addresses: ``host:port`` of each; none of a single host.
    """

    workers: int = 1
    index: int = 0
    addresses: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_chief(self) -> bool:
        """Whether this host writes checkpoints and curves."""
        return self.index == 0


def parse_cluster(tf_config: str | None) -> Cluster:
    """The hosts that a value of TF_CONFIG names.

    Args:
        tf_config: e.g. ``{"cluster": {"worker": ["a:1234", "b:1234"]}, "task": {"type": "worker", "index":
            0}}``; None or empty for one host. A "chief" is the first of the workers.

    Raises:
        ValueError: if it is anything else, in a line for the user.
    """
    if not tf_config:
        return Cluster()
    try:
        data = json.loads(tf_config)
        kinds = dict(data.get("cluster", {}))
        if not kinds:
            return Cluster()
        for addresses in kinds.values():
            wrong = [address for address in addresses if not _ADDRESS.fullmatch(address)]
            if wrong or not isinstance(addresses, list):
                raise ValueError(f"{(wrong or [addresses])[0]!r} is not host:port")
        kind, index = data["task"]["type"], int(data["task"]["index"])
        if not kinds.keys() <= {"chief", "worker"} or not 0 <= index < len(kinds[kind]):
            raise ValueError(f"task {kind} {index} of a cluster of {', '.join(kinds)}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"the environment variable TF_CONFIG cannot be used ({error!r}); expected is "
            '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}} with '
            "another index on each host"
        ) from error
    chief, workers = kinds.get("chief", []), kinds.get("worker", [])
    before = len(chief) if kind == "worker" else 0
    return Cluster(len(chief) + len(workers), before + index, (*chief, *workers))
