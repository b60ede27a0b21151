"""Which devices a run uses."""

import pytest
import tensorflow as tf

from hrpose.command import UsageError
from hrpose.devices import use_gpus
from train.strategy import make_strategy


@pytest.fixture
def host(monkeypatch):
    """Function that makes TensorFlow find a number of GPUs; returns the list of those told to grow memory."""

    def with_gpus(count):
        gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{index}", "GPU") for index in range(count)]
        grown = []
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus)
        monkeypatch.setattr(tf.config.experimental, "get_memory_growth", lambda device: device.name in grown)
        monkeypatch.setattr(
            tf.config.experimental,
            "set_memory_growth",
            lambda device, enable: grown.append(device.name) if enable else None,
        )
        return grown

    return with_gpus


def test_no_gpu_means_the_cpu(host):
    host(0)
    strategy = make_strategy(0)
    assert strategy.num_replicas_in_sync == 1
    assert [device.split(":", 1)[-1][-5:] for device in strategy.extended.worker_devices] == ["CPU:0"]


def test_more_gpus_than_there_are_is_a_usage_error_that_says_how_many_there_are(host):
    host(2)
    with pytest.raises(UsageError, match=r"^--gpus=4: this host has 2; --gpus=2 uses all of them$"):
        make_strategy(4)


def test_gpus_on_a_worker_without_any_is_a_usage_error_that_offers_the_cpu(host):
    host(0)
    with pytest.raises(
        UsageError, match=r"^--gpus=1: TensorFlow finds none here; --gpus=0 trains on the CPU$"
    ):
        make_strategy(1)


@pytest.mark.parametrize(("count", "expected"), [(0, ("CPU:0",)), (1, ("GPU:0",)), (3, ("GPU:0",))])
def test_the_evaluator_takes_one_gpu_where_there_is_one(host, count, expected):
    grown = host(count)
    assert use_gpus(None, "evaluates") == expected
    assert len(grown) == count


def test_as_many_replicas_as_gpus_asked_for_and_none_takes_all_memory(host, monkeypatch):
    grown = host(3)
    asked = []
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", asked.append)
    make_strategy(2)
    assert asked == [["GPU:0", "GPU:1"]]
    assert len(grown) == 3
