"""Which pictures go into which shard."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.instances import People, Person, Picture
from pipelines.sharding import dump_plan, hash_key, load_plan, plan_shards, shard_count


def make_pictures(people_per_picture):
    return [
        Picture(
            image_id,
            f"{image_id}.jpg",
            640,
            480,
            People(Person(100 * image_id + n, [1, 2, 3.25, 4], [5, 6.5, 2] * 17, 0.1) for n in range(people)),
        )
        for image_id, people in enumerate(people_per_picture)
    ]


crowds = st.lists(st.integers(1, 14), min_size=1, max_size=60)


@given(crowds, st.integers(1, 12))
def test_everybody_is_in_exactly_one_shard_and_so_is_a_picture_that_fits_into_one(people, count):
    pictures = make_pictures(people)
    shards = plan_shards(pictures, count)
    assert len(shards) == count
    planned = [(p.image_id, row) for shard in shards for p in shard for row in p.people.rows]
    assert sorted(planned) == sorted((p.image_id, row) for p in pictures for row in p.people.rows)
    for shard in shards:  # decoded once in each
        assert len({p.image_id for p in shard}) == len(shard)
    fitting = {p.image_id for p in pictures if len(p.people) <= max(1, sum(people) // count)}
    found = sorted(p.image_id for shard in shards for p in shard if p.image_id in fitting)
    assert found == sorted(fitting)


@given(crowds, st.integers(1, 12))
def test_shards_are_balanced_to_one_picture_or_one_shard(people, count):
    shards = plan_shards(make_pictures(people), count)
    sizes = [sum(len(p.people) for p in shard) for shard in shards]
    share = sum(people) / count
    assert max(sizes) <= share + min(max(people), max(1, share))
    assert min(sizes) >= share - min(max(people), max(1, share))


@given(st.integers(10, 300), st.integers(2, 9), st.randoms(use_true_random=False))
def test_a_picture_with_more_people_than_a_shard_is_divided_the_same_in_any_order(crowd, count, random):
    pictures = make_pictures([1, crowd, 1])
    shards = plan_shards(pictures, count)
    sizes = [sum(len(p.people) for p in shard) for shard in shards]
    assert min(sizes) > 0
    assert max(sizes) <= 2 * (crowd + 2) / count
    people = random.sample(list(pictures[1].people), crowd)
    assert (
        plan_shards([pictures[0], replace(pictures[1], people=People(people)), pictures[2]], count) == shards
    )


@given(crowds, st.integers(1, 12), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(people, count, random):
    pictures = make_pictures(people)
    shuffled = pictures.copy()
    random.shuffle(shuffled)
    assert plan_shards(shuffled, count) == plan_shards(pictures, count)


def test_pictures_are_shuffled():
    order = [p.image_id for shard in plan_shards(make_pictures([1] * 500), 4) for p in shard]
    # A rank correlation of independent orders has a standard deviation of 0.045 here.
    assert abs(np.corrcoef(order, range(500))[0, 1]) < 0.2


def test_a_plan_is_the_same_in_every_version():
    """Records are named by their place in this order; whoever changes it makes every rebuild another one."""
    shards = plan_shards(make_pictures([1, 2, 3, 1, 2, 3, 1, 2]), 3)
    assert [[p.image_id for p in shard] for shard in shards] == [[5, 4], [3, 2], [1, 7, 0, 6]]
    assert hash_key(139, 7).hex()[:16] == "e5090eff6070fd0a"


def test_a_plan_file_keeps_every_number_exactly():
    rng = np.random.default_rng(0)
    people = [
        Person(-(2**62), rng.normal(size=4).tolist(), rng.normal(size=51).tolist(), 1 / 3, 0.1 + 0.2),
        Person(2, [1, 2, 3, 10**17], [0] * 51, 12),
    ]
    first, second = ((2**53 + 1, 'Grüße/\udcfc "b".jpg', 640, 480), (3, "b.jpg", 1, 2))
    plan = dump_plan([Picture(*first, People(people)), Picture(*second)])
    assert load_plan(plan) == [Picture(*first, people), Picture(*second, [])]
    # A build that an earlier version began goes on only if the plan has the same bytes.
    rows = [[one.person_id, one.box, one.keypoints, one.area, one.score] for one in people]
    assert plan == json.dumps([[*first, rows], [*second, []]], separators=(",", ":")).encode()


def test_people_are_a_sequence_of_what_was_added():
    one, other = (Person(n, [1, 2.5, 3, 4], [0.1, 5, 2] * 17, 7.25) for n in (1, 2))
    people = People([one])
    people.append(other)
    assert list(people) == [one, other]
    assert (len(people), people[1]) == (2, other)
    assert people == People([one, other])
    assert people != People([other, one])


@pytest.mark.parametrize(
    ("people", "per_shard", "expected"),
    [(1, 1024, 1), (1024, 1024, 1), (1600, 1024, 2), (149_813, 1024, 146)],
)
def test_shards_hold_about_as_many_people_as_asked(people, per_shard, expected):
    assert shard_count(people, per_shard) == expected
