"""Several workers: what TF_CONFIG says, and two processes that train together on this one."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from hrpose.cluster import Cluster
from hrpose.command import CommandError, UsageError
from hrpose.lock import only_one
from model.networks import NETWORKS
from model.run_folder import RunError, saved_epochs, saved_progress
from records.errors import RecordsError
from records.manifest import read_manifest
from tests.helpers.clusters import HOSTS, tf_config
from tests.helpers.shared import ROOT
from tests.helpers.small_runs import options_of, small_network, small_options
from train.options import read_cluster
from train.setup import load_weights, look_over
from train.strategy import make_strategy
from train.worker_consistency import alike, differences


def test_without_tf_config_there_is_one_worker():
    assert read_cluster(None) == read_cluster("") == read_cluster("{}") == Cluster(1, 0)
    assert Cluster().is_chief


def test_addresses_may_be_numbers():
    hosts = ["10.0.0.1:2222", "[fe80::1]:2222"]
    assert read_cluster(tf_config({"worker": hosts}, index=1)) == Cluster(2, 1)


def test_workers_are_counted_after_the_chief():
    assert read_cluster(tf_config({"worker": HOSTS}, index=2)) == Cluster(3, 2)
    with_chief = {"chief": ["x:1"], "worker": HOSTS}
    assert read_cluster(tf_config(with_chief, "chief")) == Cluster(4, 0)
    assert read_cluster(tf_config(with_chief, index=0)) == Cluster(4, 1)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "5",
        '{"cluster": {"worker": ["a:1"]}}',
        tf_config({"worker": HOSTS}, index=3),
        tf_config({"worker": HOSTS}, index=-1),
        tf_config({"worker": HOSTS}, "chief"),
        tf_config({"worker": HOSTS, "ps": HOSTS}),
        tf_config({"worker": ["a", "b:1"]}),
        tf_config({"worker": ["a:1", "b:"]}),
        tf_config({"worker": ["a:1", "http://b:1"]}),
        tf_config({"worker": ["a:1", 7]}),
        tf_config({"worker": "ab"}),
        tf_config({"worker": {"a:1": 0}}),
    ],
)
def test_anything_else_is_a_usage_error_that_shows_what_is_expected(text):
    with pytest.raises(UsageError, match=r'TF_CONFIG cannot be used .*expected is \{"cluster"'):
        read_cluster(text)


# ---- two processes


def test_fewer_shards_than_workers_are_refused(records, tmp_path):
    assert len(read_manifest(records / "train").shards) == 4
    with pytest.raises(RecordsError, match=r"has 4 shards for 5 workers, .*instances_per_shard"):
        look_over(small_options(records, tmp_path), Cluster(5), 5, contextlib.ExitStack())


def test_only_the_chief_claims_the_folder_that_all_share(records, tmp_path):
    options = small_options(records, tmp_path / "run")
    with only_one(tmp_path / "run/model_dump", "training"):
        look_over(options, Cluster(2, 1), 2, contextlib.ExitStack())
        with pytest.raises(CommandError, match="another training is running"):
            look_over(options, Cluster(2, 0), 2, contextlib.ExitStack())


def test_a_port_that_is_taken_is_told_in_one_line(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        hosts = [f"localhost:{taken.getsockname()[1]}", "localhost:9"]
        monkeypatch.setenv("TF_CONFIG", tf_config({"worker": hosts}))
        monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", server_on(hosts[0]))
        message = r"^worker 0 of 2 cannot join the others \(.*gRPC.*\); TF_CONFIG .* a port that is free"
        with pytest.raises(RunError, match=message) as error:
            make_strategy(0, Cluster(2, 0))
    assert "\n" not in str(error.value)


def server_on(host):
    """What the strategy does first; the strategy itself would keep this process from making another."""
    return lambda: tf.distribute.Server({"worker": [host, "localhost:9"]}, "worker", 0)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Workers:
    """Processes of one run; those that are left are killed at the end."""

    def __init__(self, folder, data, count=2, **of_the_last):
        self.logs = [folder / f"worker-{index}.txt" for index in range(count)]
        kinds = {"worker": [f"localhost:{port}" for port in free_ports(count)]}
        self.processes = []
        for index, log in enumerate(self.logs):
            environment = os.environ | {"TF_CONFIG": tf_config(kinds, index=index)}
            path = folder / f"options-{index}.json"
            path.write_text(json.dumps(data | of_the_last if index == count - 1 else data))
            command = [sys.executable, "-m", "tests.helpers.small_runs", str(path)]
            with log.open("w") as file:
                self.processes.append(
                    subprocess.Popen(
                        command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
                    )
                )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def wait(self, seconds):
        """The exit codes, within a time limit for all together."""
        until = time.monotonic() + seconds
        return [process.wait(max(until - time.monotonic(), 0.1)) for process in self.processes]

    def wait_for(self, path, seconds):
        until = time.monotonic() + seconds
        while not path.exists():
            assert time.monotonic() < until, self.said()
            time.sleep(0.05)

    def said(self):
        return "\n".join(log.read_text()[-3000:] for log in self.logs)


def options_with(records, run_dir, **changes):
    return options_of(small_options(records, run_dir, batch_size=4, **changes))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_two_workers_train_one_network_on_files_of_their_own_and_stop_together(records, tmp_path):
    data = options_with(records, tmp_path / "run", eval_every=2, epochs=2000)
    with Workers(tmp_path, data | {"instances_to": str(tmp_path)}) as workers:
        workers.wait_for(tmp_path / "run/model_dump/epoch-0003", 80)
        workers.processes[1].send_signal(signal.SIGTERM)
        assert workers.wait(30) == [143, 143], workers.said()
    said = [log.read_text() for log in workers.logs]
    assert "38 instances, 4 updates of 8 instances an epoch" in said[0]
    assert "validation AP" in said[0]
    assert "updates of" not in said[1]
    stopped = int(re.search(r"SIGTERM: stopped after update ([\d,]+)", said[1])[1].replace(",", ""))
    last = saved_progress(tmp_path / "run/model_dump")[-1]
    assert last.epoch * 4 + last.update == stopped
    lines = [json.loads(line) for line in (tmp_path / "run/log/metrics.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines[:3]] == ["train", "train", "validation"]
    assert np.isfinite(lines[0]["loss"])
    seen = [(tmp_path / f"instances-{index}").read_text().splitlines() for index in (0, 1)]
    for epoch in range(3):
        updates = [[json.loads(line) for line in lines[epoch * 4 : epoch * 4 + 4]] for lines in seen]
        first, second = (
            {tuple(instance) for instances in part for instance in instances} for part in updates
        )
        assert len(first) == len(second) == 16
        assert not first & second


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_lost_worker_ends_the_run_with_a_clear_message_and_continue_goes_on(records, tmp_path):
    data = options_with(records, tmp_path / "run", epochs=2000)
    with Workers(tmp_path, data) as workers:
        workers.wait_for(tmp_path / "run/model_dump/epoch-0002", 80)
        workers.processes[1].send_signal(signal.SIGKILL)
        assert workers.wait(60) == [1, -signal.SIGKILL], workers.said()
    said = workers.logs[0].read_text()
    assert "another of the 2 workers was lost" in said
    assert "--continue" in said
    assert "Traceback" not in said + workers.logs[1].read_text()
    epochs = saved_epochs(tmp_path / "run/model_dump")
    with Workers(tmp_path, data | {"epochs": epochs[-1] + 1, "resume": True}) as workers:
        assert workers.wait(60) == [0, 0], workers.said()
    assert saved_epochs(tmp_path / "run/model_dump") == [*epochs, epochs[-1] + 1]


def test_differences_name_the_workers_on_each_side():
    facts = [{"model": "w32", "seed": 0}, {"model": "w48", "seed": 0}, {"model": "w32"}]
    assert differences(facts) == [
        'model: "w32" on worker 0, 2, "w48" on worker 1',
        "seed: 0 on worker 0, 1, null on worker 2",
    ]
    assert differences([{"a": [1]}] * 3) == []


def test_workers_start_from_the_same_weights_and_each_says_its_own_failure(monkeypatch):
    other = {}

    def gather(strategy, cluster, text):
        return [text, json.dumps(other)]

    monkeypatch.setattr("train.worker_consistency.gather_texts", gather)
    model = small_network((32, 64), 17)
    monkeypatch.setattr("train.setup.load_initial_weights", lambda model, path, network: f"a fit of {path}")

    def load():
        return alike(None, Cluster(2, 0), lambda: load_weights(model, NETWORKS["w32"], "a.pth"))

    other["facts"] = load_weights(model, NETWORKS["w32"], "a.pth")[1]
    assert load() == "a fit of a.pth"
    model.get_layer("head").kernel.assign_add(tf.ones_like(model.get_layer("head").kernel))
    with pytest.raises(RunError, match=r'alike \(initial weights, CRC-32: "\w{8}" on worker 0, "\w{8}" on w'):
        load()
    other.clear()
    other["failure"] = "no such file"
    with pytest.raises(RunError, match=r"^worker 1 of 2 cannot start: no such file$"):
        load()
    monkeypatch.delattr("train.setup.load_initial_weights")
    with pytest.raises(NameError):  # the others have been told
        load()


@pytest.fixture(scope="module")
def two_epochs(records, tmp_path_factory):
    """The options of a run of two workers and two epochs, done."""
    folder = tmp_path_factory.mktemp("two-epochs")
    data = options_with(records, folder / "run")
    with Workers(folder, data) as workers:
        assert workers.wait(100) == [0, 0], workers.said()
    return data


def refused(folder, data, **of_the_last):
    """What the two workers of a start say in which both have to end with a line of their own."""
    with Workers(folder, data, **of_the_last) as workers:
        assert workers.wait(100) == [1, 1], workers.said()
    said = [log.read_text() for log in workers.logs]
    assert not any("Traceback" in text for text in said), said
    return [text.splitlines()[-1] for text in said]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_workers_that_find_different_checkpoints_do_not_go_on(two_epochs, tmp_path):
    data = two_epochs | {"epochs": 3, "resume": True}
    shutil.copytree(data["run_dir"], tmp_path / "other")
    broken = tmp_path / "other/model_dump/epoch-0002/model.safetensors"
    broken.write_bytes(broken.read_bytes()[:-5])
    for said in refused(tmp_path, data, run_dir=str(tmp_path / "other")):
        assert "do not start alike" in said
        assert 'checkpoint: "epoch-0002" on worker 0, "epoch-0001" on worker 1' in said
    assert [path.name for path in sorted(broken.parent.parent.glob("epoch-*"))] == [
        "epoch-0001",
        "epoch-0002",
    ]
    for said in refused(tmp_path, data, run_dir=str(tmp_path / "empty")):
        assert 'checkpoints: "a run to go on with" on worker 0, "nothing there" on worker 1' in said
    assert saved_epochs(f"{data['run_dir']}/model_dump") == [1, 2]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_workers_with_other_flags_or_without_records_do_not_start(records, tmp_path):
    data = options_with(records, tmp_path / "run")
    for said in refused(tmp_path, data, seed=1, skip_steps=[3]):
        assert "seed: 0 on worker 0, 1 on worker 1" in said
        assert "skip_steps: [] on worker 0, [3] on worker 1" in said
    chief, other = refused(tmp_path, data, records_dir=str(tmp_path / "nowhere"))
    assert chief.startswith("worker 1 of 2 cannot start: no records in")
    assert other.startswith("no records in")


@pytest.mark.slow
def test_a_worker_that_waits_for_the_others_says_so_and_ctrl_c_ends_it(records, tmp_path):
    path = tmp_path / "options.json"
    path.write_text(json.dumps(options_with(records, tmp_path / "run")))
    kinds = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.small_runs", str(path)],
        cwd=ROOT,
        env=os.environ | {"TF_CONFIG": tf_config(kinds, index=1)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert any("worker 1 of 2 waits for the others" in line for line in process.stderr)
        time.sleep(3)  # it is in TensorFlow by then
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == -signal.SIGINT
    finally:
        process.kill()
        process.wait()
