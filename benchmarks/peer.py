"""The official PyTorch implementation, measured in a process of its own.

    python benchmarks/peer.py CHECKOUT reader --dataset_dir DIR --batch 32
    python benchmarks/peer.py CHECKOUT forward --batch 8 --precision float32
    python benchmarks/peer.py CHECKOUT step --batch 8

CHECKOUT is one of leoxiaobin/deep-high-resolution-net.pytorch; PyTorch's CPU build has to be installed. The
process says "ready", and then answers each line on its standard input by one measurement: instances, seconds.
The first answer of "forward" and "step" includes whatever a first call costs; "ready" comes before it.
`benchmarks.turns.Peer` starts it.
"""

import argparse
import importlib
import json
import os
import sys
import time
import types
from pathlib import Path

EXPERIMENT = "experiments/coco/hrnet/w32_256x192_adam_lr1e-3.yaml"

#: How long one measurement takes at least, in seconds.
SECONDS = 3.0


class Config(dict):
    """Nested settings with attributes, as the checkout's code reads them."""

    def __getattr__(self, name):
        value = self[name]
        return Config(value) if isinstance(value, dict) else value


def read_config(checkout):
    """The W32 experiment's settings, with the defaults that its file leaves out."""
    import yaml

    config = Config(yaml.safe_load((Path(checkout) / EXPERIMENT).read_text()))
    config["MODEL"]["INIT_WEIGHTS"] = False
    config["LOSS"]["USE_DIFFERENT_KEYPOINTS_WEIGHT"] = False
    config["DATASET"]["SELECT_DATA"] = False
    config["TEST"]["SOFT_NMS"] = False
    return config


def import_from(checkout):
    """Makes the checkout's packages importable.

    Its compiled NMS, which nothing here calls, and its JSON library are replaced by stand-ins, and the name
    of a type that NumPy has dropped is put back.
    """
    import numpy as np

    sys.path.insert(0, str(Path(checkout) / "lib"))
    np.float = float
    nms = types.ModuleType("nms.nms")
    nms.oks_nms = nms.soft_oks_nms = None
    sys.modules |= {"nms": types.ModuleType("nms"), "nms.nms": nms, "json_tricks": json}


def reader(checkout, arguments):
    """Batches of the official `DataLoader`, with a worker for each core."""
    import numpy as np
    import torch

    dataset_class = importlib.import_module("dataset.coco").COCODataset
    mean, deviation = (
        torch.tensor(values).reshape(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )

    def transform(image):  # what torchvision's ToTensor and Normalize do
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)
        return tensor.sub_(mean).div_(deviation)

    sys.stdout, real = sys.stderr, sys.stdout  # pycocotools prints
    dataset = dataset_class(read_config(checkout), arguments.dataset_dir, "train2017", True, transform)
    sys.stdout = real
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=arguments.batch,
        sampler=torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=10**7),
        num_workers=arguments.cores,
    )
    batches = iter(loader)
    return lambda: len(next(batches)[0])


def network(checkout, arguments):
    """HRNet-W32 in channels_last, and a batch for it."""
    import torch

    pose_hrnet = importlib.import_module("models.pose_hrnet")
    model = pose_hrnet.get_pose_net(read_config(checkout), is_train=False)
    model = model.to(memory_format=torch.channels_last)
    images = torch.randn(arguments.batch, 3, 256, 192).to(memory_format=torch.channels_last)
    return model, images


def forward(checkout, arguments):
    """Two forward passes, of the batch and of its mirror image, as the official validation has.

    Weights are larger than those a network starts with, whose activations downscale to what is hardly a
    number, which is slow on some processors; and batch norms shift, as trained ones do.
    """
    import torch

    model, images = network(checkout, arguments)
    model.eval()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
        elif isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.bias, std=0.1)
            torch.nn.init.normal_(layer.running_mean, std=0.1)
    kind = getattr(torch, arguments.precision)

    def measure():
        with torch.no_grad(), torch.autocast("cpu", kind, enabled=kind is not torch.float32):
            (model(images) + model(images.flip(3))).sum().item()
        return len(images)

    return measure


def step(checkout, arguments):
    """A training step of the official loss with Adam."""
    import torch

    model, images = network(checkout, arguments)
    loss_of = importlib.import_module("core.loss").JointsMSELoss(use_target_weight=True)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    targets, weights = torch.rand(len(images), 17, 64, 48), torch.ones(len(images), 17, 1)

    def measure():
        optimizer.zero_grad()
        loss = loss_of(model(images), targets, weights)
        loss.backward()
        optimizer.step()
        loss.item()
        return len(images)

    return measure


def main():
    """Answers lines until there are none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkout")
    parser.add_argument("what", choices=["reader", "forward", "step"])
    parser.add_argument("--dataset_dir")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.cores)
    import_from(arguments.checkout)
    once = {"reader": reader, "forward": forward, "step": step}[arguments.what](arguments.checkout, arguments)
    print("ready", flush=True)
    for line in sys.stdin:
        start, instances = time.perf_counter(), 0
        while not instances or (line.strip() != "once" and time.perf_counter() - start < arguments.seconds):
            instances += once()
        print(json.dumps([instances, time.perf_counter() - start]), flush=True)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder: the checkout's packages are what is imported from here on
    main()
