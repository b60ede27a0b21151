"""Which images go into which shard."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.instances import AnnotatedImage, Instance, Instances
from pipelines.sharding import dump_plan, hash_key, load_plan, plan_shards, shard_count


def make_images(instances_per_image):
    return [
        AnnotatedImage(
            image_id,
            f"{image_id}.jpg",
            640,
            480,
            Instances(
                Instance(100 * image_id + n, [1, 2, 3.25, 4], [5, 6.5, 2] * 17, 0.1) for n in range(instances)
            ),
        )
        for image_id, instances in enumerate(instances_per_image)
    ]


crowds = st.lists(st.integers(1, 14), min_size=1, max_size=60)


@given(crowds, st.integers(1, 12))
def test_everybody_is_in_exactly_one_shard_and_so_is_an_image_that_fits_into_one(instances, count):
    images = make_images(instances)
    shards = plan_shards(images, count)
    assert len(shards) == count
    planned = [(p.image_id, row) for shard in shards for p in shard for row in p.instances.rows]
    assert sorted(planned) == sorted((p.image_id, row) for p in images for row in p.instances.rows)
    for shard in shards:  # decoded once in each
        assert len({p.image_id for p in shard}) == len(shard)
    fitting = {p.image_id for p in images if len(p.instances) <= max(1, sum(instances) // count)}
    found = sorted(p.image_id for shard in shards for p in shard if p.image_id in fitting)
    assert found == sorted(fitting)


@given(crowds, st.integers(1, 12))
def test_shards_are_balanced_to_one_image_or_one_shard(instances, count):
    shards = plan_shards(make_images(instances), count)
    sizes = [sum(len(p.instances) for p in shard) for shard in shards]
    share = sum(instances) / count
    assert max(sizes) <= share + min(max(instances), max(1, share))
    assert min(sizes) >= share - min(max(instances), max(1, share))


@given(st.integers(10, 300), st.integers(2, 9), st.randoms(use_true_random=False))
def test_an_image_with_more_instances_than_a_shard_is_divided_the_same_in_any_order(crowd, count, random):
    images = make_images([1, crowd, 1])
    shards = plan_shards(images, count)
    sizes = [sum(len(p.instances) for p in shard) for shard in shards]
    assert min(sizes) > 0
    assert max(sizes) <= 2 * (crowd + 2) / count
    instances = random.sample(list(images[1].instances), crowd)
    assert (
        plan_shards([images[0], replace(images[1], instances=Instances(instances)), images[2]], count)
        == shards
    )


@given(crowds, st.integers(1, 12), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(instances, count, random):
    images = make_images(instances)
    shuffled = images.copy()
    random.shuffle(shuffled)
    assert plan_shards(shuffled, count) == plan_shards(images, count)


def test_images_are_shuffled():
    order = [p.image_id for shard in plan_shards(make_images([1] * 500), 4) for p in shard]
    # A rank correlation of independent orders has a standard deviation of 0.045 here.
    assert abs(np.corrcoef(order, range(500))[0, 1]) < 0.2


def test_a_plan_is_the_same_in_every_version():
    """Records are named by their place in this order; whoever changes it makes every rebuild another one."""
    shards = plan_shards(make_images([1, 2, 3, 1, 2, 3, 1, 2]), 3)
    assert [[p.image_id for p in shard] for shard in shards] == [[5, 4], [3, 2], [1, 7, 0, 6]]
    assert hash_key(139, 7).hex()[:16] == "e5090eff6070fd0a"


def test_a_plan_file_keeps_every_number_exactly():
    rng = np.random.default_rng(0)
    instances = [
        Instance(-(2**62), rng.normal(size=4).tolist(), rng.normal(size=51).tolist(), 1 / 3, 0.1 + 0.2),
        Instance(2, [1, 2, 3, 10**17], [0] * 51, 12),
    ]
    first, second = ((2**53 + 1, 'Grüße/\udcfc "b".jpg', 640, 480), (3, "b.jpg", 1, 2))
    plan = dump_plan([AnnotatedImage(*first, Instances(instances)), AnnotatedImage(*second)])
    assert load_plan(plan) == [AnnotatedImage(*first, instances), AnnotatedImage(*second, [])]
    # A build that an earlier version began goes on only if the plan has the same bytes.
    rows = [[one.instance_id, one.box, one.keypoints, one.area, one.score] for one in instances]
    assert plan == json.dumps([[*first, rows], [*second, []]], separators=(",", ":")).encode()


def test_instances_are_a_sequence_of_what_was_added():
    one, other = (Instance(n, [1, 2.5, 3, 4], [0.1, 5, 2] * 17, 7.25) for n in (1, 2))
    instances = Instances([one])
    instances.append(other)
    assert list(instances) == [one, other]
    assert (len(instances), instances[1]) == (2, other)
    assert instances == Instances([one, other])
    assert instances != Instances([other, one])


@pytest.mark.parametrize(
    ("instances", "per_shard", "expected"),
    [(1, 1024, 1), (1024, 1024, 1), (1600, 1024, 2), (149_813, 1024, 146)],
)
def test_shards_hold_about_as_many_instances_as_asked(instances, per_shard, expected):
    assert shard_count(instances, per_shard) == expected
