"""Addresses of this host and of the cluster never go through a proxy."""

import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from hrpose.proxies import bypass_proxies, host_of
from tests.helpers.shared import ROOT

PROXIES = ["grpc_proxy", "https_proxy", "http_proxy", "all_proxy"]
NAMES = [*PROXIES, "no_proxy", "no_grpc_proxy", "TF_CONFIG"]
BAD = ["", "{", "[]", '{"cluster": 3}', '{"cluster": {"worker": [3]}}', "[" * 9999]


@pytest.fixture
def environment(monkeypatch):
    """A function that sets variables; before, none that matters here is set."""
    for name in NAMES:
        for spelling in (name, name.upper()):
            monkeypatch.setenv(spelling, "")  # so that what is changed here is set back
            monkeypatch.delenv(spelling)

    def change(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return change


def test_without_a_proxy_nothing_is_changed(environment):
    before = dict(os.environ)
    bypass_proxies(["a"])
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "grpc_proxy"])
def test_this_worker_is_excepted(environment, name):
    environment(**{name: "http://proxy:3128"})
    bypass_proxies()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"]
    assert {"localhost", "127.0.0.1", "::1", socket.gethostname()} <= set(os.environ["no_proxy"].split(","))
    assert "no_grpc_proxy" not in os.environ


def test_what_is_excepted_already_stays_and_comes_first(environment):
    environment(http_proxy="x", no_proxy="a.org, .b.org", NO_PROXY="c.org", no_grpc_proxy="d.org")
    bypass_proxies(["e.org"])
    listed = os.environ["no_proxy"].split(",")
    assert listed[:3] == ["a.org", ".b.org", "c.org"]
    assert listed[-1] == "e.org"
    grpc = os.environ["no_grpc_proxy"].split(",")  # noqa: SIM112
    assert (grpc[0], grpc[-1]) == ("d.org", "e.org")
    bypass_proxies(["e.org"])
    assert os.environ["no_proxy"].split(",") == listed


def test_the_workers_of_a_training_are_excepted(environment):
    workers = ["one.cluster:1234", "10.0.0.2:1234", "[fd00::3]:1234"]
    cluster = {"chief": ["zero:1"], "worker": workers}
    task = {"type": "worker", "index": 1}
    environment(http_proxy="x", TF_CONFIG=json.dumps({"cluster": cluster, "task": task}))
    bypass_proxies()
    assert {"zero", "one.cluster", "10.0.0.2", "fd00::3"} <= set(os.environ["no_proxy"].split(","))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"cluster": 3}', '{"cluster": {"worker": [3]}}', "[" * 9999]
)
def test_a_cluster_of_another_form_is_not_judged_here(environment, text):
    environment(http_proxy="x", TF_CONFIG=text)
    bypass_proxies()
    assert "localhost" in os.environ["no_proxy"]


def test_hosts_of_addresses():
    assert [host_of(a) for a in ("a:1", "a", "[::1]:2", "1.2.3.4:5")] == ["a", "a", "::1", "1.2.3.4"]


CHANNEL = """
import sys
from concurrent import futures
import grpc
from hrpose.proxies import bypass_proxies
if sys.argv[1] == "bypass":
    bypass_proxies()
server = grpc.server(futures.ThreadPoolExecutor(1))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
channel = grpc.insecure_channel(f"localhost:{port}")
try:
    grpc.channel_ready_future(channel).result(timeout=5)
    print("connected")
except grpc.FutureTimeoutError:
    print("never")
server.stop(0)
"""


@pytest.mark.parametrize(("call", "said"), [("bypass", "connected"), ("not", "never")])
def test_grpc_heeds_it(environment, call, said):
    """The second case says that the first one shows something: without the call the proxy is asked."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        threading.Thread(target=_hang_up, args=(proxy,), daemon=True).start()
        environment(http_proxy=f"http://127.0.0.1:{proxy.getsockname()[1]}")
        command = [sys.executable, "-c", CHANNEL, call]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout.strip() == said, result.stderr


def _hang_up(proxy):
    while True:
        try:
            proxy.accept()[0].close()
        except OSError:
            return
