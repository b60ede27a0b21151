"""What a manifest's JSON has to be before anything of it is believed: types and ranges, not meaning."""

from collections import Counter
from typing import Any

from hrpose.flag_values import LARGEST_INPUT_SIDE
from hrpose.json_checks import is_id, is_number, is_whole, received
from records.skeletons import wrong_skeleton


def wrong_manifest(data: dict[str, Any]) -> str | None:
    """Why parsed JSON is no manifest of this schema version, or None.

    Args:
        data: should be a dict as `records.manifest.Manifest.to_json` gives it.
    """
    for name, kind in (("dataset", str), ("split", str), ("boxes", str), ("source", dict)):
        if not isinstance(data[name], kind):
            return received(name, "a text" if kind is str else "an object", data[name])
    if not is_whole(data["images"]):
        return received("images", "a number of images", data["images"])
    for name in ("filtered", "rejected", "placement"):
        counts = data[name] if name != "placement" else data.get(name, {})
        if not isinstance(counts, dict) or not all(map(is_whole, counts.values())):
            return received(name, "an object of counts", counts)
    if not isinstance(data["shards"], list):
        return received("shards", "a list", data["shards"])
    return (
        _wrong_options(data["options"])
        or wrong_skeleton(data["skeleton"])
        or next(filter(None, map(_wrong_shard, data["shards"])), None)
        or _named_twice([shard["name"] for shard in data["shards"]])
    )


def _wrong_options(options: Any) -> str | None:
    if not isinstance(options, dict):
        return received("options", "an object", options)
    size, scale = options["input_size"], options.get("max_crop_scale")
    if not isinstance(size, list) or len(size) != 2 or not all(map(_is_side, size)):
        return received("input_size", "width and height in pixels", size)
    room = options["scale_factor"]
    if room is not None and not (is_number(room) and room >= 0):
        return received("scale_factor", "a number from 0 or null", room)
    if not is_whole(options["half_body_min_keypoints"]):
        return received("half_body_min_keypoints", "a whole number", options["half_body_min_keypoints"])
    if not isinstance(options["annotations_sha256"], str):
        return received("annotations_sha256", "a text", options["annotations_sha256"])
    if scale is not None and not (is_number(scale) and scale > 0):
        return received("max_crop_scale", "a number above 0 or null", scale)
    return None


def _wrong_shard(shard: Any) -> str | None:
    if not isinstance(shard, dict) or shard.keys() != {"name", "records", "size", "sha256"}:
        return received("a shard", "name, records, size and sha256", shard)
    if not isinstance(shard["name"], str) or not shard["name"] or not shard["name"].isprintable():
        return received("a shard's name", "a file name", shard["name"])
    if not is_whole(shard["records"]) or not is_whole(shard["size"]):
        return received(f"records and size of {shard['name']}", "whole numbers from 0", shard)
    if not isinstance(shard["sha256"], str):
        return received(f"sha256 of {shard['name']}", "a text", shard["sha256"])
    return None


def _named_twice(names: list[str]) -> str | None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    return f"the shard {twice[0]} is named twice, and would be read twice" if twice else None


def _is_side(value: Any) -> bool:
    return is_id(value) and 0 < value <= LARGEST_INPUT_SIDE
