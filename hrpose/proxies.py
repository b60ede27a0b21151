"""Addresses that never go through a proxy: this host's own, and those of hosts that work together.

gRPC, by which Beam's workers and TensorFlow's hosts talk, takes a proxy from the environment variables
``grpc_proxy``, ``https_proxy`` and ``http_proxy``, also for addresses of this host, and leaves out what
``no_grpc_proxy`` or, without it, ``no_proxy`` lists: endings of host names, between commas
(src/core/handshaker/http_connect/http_proxy_mapper.cc of gRPC; TensorFlow has its own copy of it).
"""

import os
import socket
from collections.abc import Iterable

from hrpose.cluster import parse_cluster

_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy")


def bypass_proxies(hosts: Iterable[str] = ()) -> None:
    """Excepts this host, those that TF_CONFIG names, and `hosts` from proxies, also for child processes.

    To be called before anybody connects. Without a proxy in the environment nothing is changed.

    Args:
        hosts: names or addresses, without ports.
    """
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return
    ours = ["localhost", "127.0.0.1", "::1", "0.0.0.0", socket.gethostname()]
    wanted = [*ours, *_hosts(os.environ.get("TF_CONFIG")), *hosts]
    listed = _listed("no_proxy") + _listed("NO_PROXY")
    # Where only the upper case is set, the new lower case must not hide it.
    text = ",".join(dict.fromkeys([*listed, *wanted]))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = text
    if own := _listed("no_grpc_proxy"):
        os.environ["no_grpc_proxy"] = ",".join(dict.fromkeys([*own, *wanted]))  # noqa: SIM112


def host_of(address: str) -> str:
    """The host of ``host:port`` or ``[IPv6 address]:port``."""
    return address.rpartition(":")[0].strip("[]") or address


def _listed(name: str) -> list[str]:
    return [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]


def _hosts(tf_config: str | None) -> list[str]:
    """The hosts in a value of TF_CONFIG; none of one that is of another form, which the trainer refuses."""
    try:
        return [host_of(address) for address in parse_cluster(tf_config).addresses]
    except ValueError:
        return []
