"""Adam against its formula, and what it costs the graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.codecs import codec
from model.hrnet import build_hrnet
from model.networks import NETWORKS
from train.optimizer import Adam
from train.train_step import make_train_step

SHAPES = {"kernel": (3, 4), "bias": (4,)}


def weights(seed=0):
    rng = np.random.default_rng(seed)
    return [
        keras.Variable(rng.normal(size=shape).astype("float32"), name=name) for name, shape in SHAPES.items()
    ]


def gradients(steps, seed=1):
    """Per step one gradient for each weight; their sizes run from 1e-8, where epsilon counts, to 1."""
    rng = np.random.default_rng(seed)
    sizes = [10 ** rng.uniform(-8, 0, shape) for shape in SHAPES.values()]
    return [[np.float32(size * rng.normal(size=size.shape)) for size in sizes] for _ in range(steps)]


def formula(starts, steps, rate, weight_decay=0.0, clip_norm=None, epsilon=1e-8):
    """torch.optim.AdamW as PyTorch documents it, in float64; decay for what has two dimensions only."""
    values = [start.astype("float64") for start in starts]
    first, second = [np.zeros_like(value) for value in values], [np.zeros_like(value) for value in values]
    for step, parts in enumerate(steps, start=1):
        norm = np.sqrt(sum(np.square(part.astype("float64")).sum() for part in parts))
        downscale = min(1, clip_norm / norm) if clip_norm else 1
        for index, part in enumerate(parts):
            gradient = part.astype("float64") * downscale
            if values[index].ndim > 1:
                values[index] -= rate * weight_decay * values[index]
            first[index] = 0.9 * first[index] + 0.1 * gradient
            second[index] = 0.999 * second[index] + 0.001 * gradient**2
            root = np.sqrt(second[index]) / np.sqrt(1 - 0.999**step)
            values[index] -= rate / (1 - 0.9**step) * first[index] / (root + epsilon)
    return values, first, second


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.1},
        {"clip_norm": 0.5},
        {"epsilon": 1e-3},
        {"weight_decay": 0.1, "clip_norm": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 2, 50])
def test_adam_is_the_formula_pytorch_documents(options, count):
    variables, steps = weights(), gradients(count)
    starts = [variable.numpy() for variable in variables]
    optimizer = Adam(variables, 0.01, **options)
    apply = tf.function(optimizer.apply)
    for step in steps:
        apply([tf.constant(part) for part in step])
    values, first, second = formula(starts, steps, 0.01, **options)
    for index, variable in enumerate(variables):
        # One step moves by up to 0.01; float32 rounds a weight of 1 by 6e-8 in each.
        np.testing.assert_allclose(variable, values[index], rtol=0, atol=2e-7 * np.sqrt(count))
        slots = {slot.name.rsplit("_", 1)[1]: slot for slot in optimizer.variables[2 + 2 * index :][:2]}
        np.testing.assert_allclose(slots["momentum"], first[index], rtol=1e-4, atol=1e-12)
        np.testing.assert_allclose(slots["velocity"], second[index], rtol=1e-4, atol=1e-20)
    assert int(optimizer.iterations) == count


def test_the_learning_rate_is_that_of_the_moment():
    variables = weights()
    starts = [variable.numpy() for variable in variables]
    optimizer = Adam(variables, 0.01)
    assert float(optimizer.learning_rate) == np.float32(0.01)
    apply = tf.function(optimizer.apply)
    optimizer.learning_rate.assign(0.0)
    apply([tf.ones(shape) for shape in SHAPES.values()])
    for variable, start in zip(variables, starts, strict=True):
        np.testing.assert_array_equal(variable, start)
    optimizer.learning_rate.assign(0.5)
    apply([tf.ones(shape) for shape in SHAPES.values()])
    for variable, start in zip(variables, starts, strict=True):
        np.testing.assert_allclose(variable, start - 0.5, rtol=0, atol=1e-6)


def test_it_saves_what_keras_own_adam_saves():
    """Checkpoints of runs that were started with Keras' Adam go on being read."""
    model = NETWORKS["w24_tiny"].build((32, 32), 2)
    ours = Adam(model.trainable_variables, 1e-3)
    theirs = keras.optimizers.Adam(1e-3, name="adam")
    theirs.build(model.trainable_variables)
    shapes = {variable.path: (variable.dtype, tuple(variable.shape)) for variable in theirs.variables}
    assert {variable.path: (variable.dtype, tuple(variable.shape)) for variable in ours.variables} == shapes
    assert len(ours.variables) == len(shapes) == 2 + 2 * len(model.trainable_variables)


# ---- what it costs


def count_operations(function, *arguments):
    """Operations of the graph of a compiled function, those of functions it calls included."""
    graph = function.get_concrete_function(*arguments).graph
    library = graph.as_graph_def().library.function
    return len(graph.get_operations()) + sum(len(nested.node_def) for nested in library)


def test_a_weight_costs_two_operations_and_two_inputs():
    def cost(count):
        variables = [keras.Variable(np.zeros(3, "float32")) for _ in range(count)]
        return count_operations(tf.function(Adam(variables, 0.1).apply), [tf.TensorSpec([3])] * count)

    # The gradient and the weight itself are inputs too, here.
    assert (cost(12) - cost(2)) / 10 == 2 + 2 + 2


@pytest.mark.slow
def test_the_training_step_of_w32_has_a_small_graph():
    """Its size is what a first step waits for. Keras' own layers and Adam would make it 62,000."""
    strategy = tf.distribute.get_strategy()
    model = build_hrnet(32, (64, 64))
    step = make_train_step(strategy, model, Adam(model.trainable_variables, 1e-3), codec("msra"))
    images, keypoints = tf.TensorSpec([2, 64, 64, 3], tf.uint8), tf.TensorSpec([2, 17, 3])
    assert count_operations(step, images, keypoints) < 15_000


@pytest.mark.slow
def test_a_network_that_computes_in_bfloat16_learns():
    keras.utils.set_random_seed(0)
    model = NETWORKS["w24_tiny"].build((64, 64), 3, precision="bfloat16")
    step = make_train_step(
        tf.distribute.get_strategy(), model, Adam(model.trainable_variables, 1e-3), codec("msra")
    )
    rng = np.random.default_rng(0)
    images = tf.constant(rng.integers(0, 256, (4, 64, 64, 3)), tf.uint8)
    keypoints = np.concatenate([rng.uniform(8, 56, (4, 3, 2)), np.full((4, 3, 1), 2)], axis=-1)
    losses = [float(step(images, tf.constant(keypoints, tf.float32))["loss"]) for _ in range(20)]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * losses[0]
    assert {variable.dtype for variable in model.variables} == {"float32"}
    assert all(np.isfinite(variable.numpy()).all() for variable in model.variables)
