"""What a run trains: its configuration, as the trainer writes it and everybody reads it."""

import json
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hrpose.flag_values import LARGEST_INPUT_SIDE
from hrpose.json_checks import is_whole, received
from model.codecs import CODECS, Codec, check_sigma, codec
from model.networks import NETWORKS, Network
from model.run_folder import RunError, saved_progress, write_json
from records.skeletons import wrong_skeleton

CONFIG = "config.json"

#: Of what `write_config` writes. 1, which was not written down, had other words; see `_upgraded`.
CONFIG_VERSION = 2


@dataclass(frozen=True)
class RunConfig:
    """What a run trains. Written when it starts; only `provenance` grows when it is continued.

    Attributes:
        dataset: the name given as --dataset.
        records: fingerprint of the training records; empty for a run of the first version, whose records were
            of a form that this one does not read.
        skeleton: the keypoints, as `records.skeletons.Skeleton.to_json` gives them.
        model: a name in `model.networks.NETWORKS`.
        input_size: (width, height) of the network input in pixels.
        codec: a name in `model.codecs.CODECS`.
        sigma: of the target Gaussians, in heatmap pixels.
        recipe: everything else that decides the result, by flag name.
        provenance: what the run was made by: flags, versions, commit, initial weights, under "continued"
            the same of each time that it went on, and "validated_every", as `train.timetable` measured it.
            Another one is no other run.
    """

    dataset: str
    records: str
    skeleton: dict[str, Any]
    model: str
    input_size: tuple[int, int]
    codec: str
    sigma: float
    recipe: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def network(self) -> Network:
        """The network."""
        return NETWORKS[self.model]

    def make_codec(self) -> Codec:
        """The codec, with its sigma."""
        return codec(self.codec, self.sigma)

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """(width, height) of the heatmaps, in their pixels."""
        return self.network.heatmap_size(self.input_size)

    @property
    def num_keypoints(self) -> int:
        """K."""
        return len(self.skeleton["keypoints"])

    @property
    def settings(self) -> dict[str, Any]:
        """{name: JSON value} of everything that decides the result."""
        settings = asdict(self)
        settings["skeleton"] = settings["skeleton"]["name"]
        del settings["provenance"]
        settings |= settings.pop("recipe")
        return json.loads(json.dumps(settings))  # as they are read again

    def differences(self, other: "RunConfig") -> list[str]:
        """Lines that name each setting in which another `RunConfig` differs: "name: mine → theirs"."""
        mine, theirs = self.settings, other.settings
        return [
            f"{name}: {mine.get(name)} → {theirs.get(name)}"
            for name in {**mine, **theirs}
            if mine.get(name) != theirs.get(name)
        ]


def write_config(folder: Path | str, config: RunConfig) -> None:
    """Writes a run's configuration into its (existing) folder of checkpoints.

    Raises:
        RunError: if it cannot be saved. One that was there before stays.
    """
    write_json(Path(folder) / CONFIG, {"version": CONFIG_VERSION} | asdict(config))


def read_config(folder: Path | str) -> RunConfig:
    """Reads a run's configuration.

    Raises:
        RunError: if there is none, or it cannot be read.
    """
    path = Path(folder) / CONFIG
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        if there := saved_progress(folder):
            raise RunError(
                f"{path} is missing, though there are checkpoints (the last after epoch "
                f"{there[-1].epoch}); it says which network they are of: copy it from where they come from, "
                "or move them elsewhere"
            ) from error
        raise RunError(f"no run in {folder}: {CONFIG} is missing. python train/main.py starts one") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        data = json.loads(content)
        if problem := _wrong_config(data):
            raise ValueError(problem)
        data = _upgraded(data)
        known = [name.name for name in fields(RunConfig) if name.name in data or _needed(name)]
        config = {name: data[name] for name in known}
        return RunConfig(**(config | {"input_size": tuple(config["input_size"])}))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise RunError(
            f"{path} is not a run configuration this version can read: {reason}; bring back a whole copy of "
            "it, or use another run's folder"
        ) from error


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """The parsed JSON of a configuration in the words of `CONFIG_VERSION`."""
    if data.get("version", 1) > 1:
        return data
    codecs, settings = {"standard": "msra"}, {"accumulate": "gradient_accumulation_steps"}
    recipe = {settings.get(name, name): value for name, value in data["recipe"].items()}
    return data | {"codec": codecs.get(data["codec"], data["codec"]), "recipe": recipe, "records": ""}


def read_known_config(folder: Path | str) -> RunConfig:
    """`read_config` of a run whose network and codec this version has.

    Raises:
        RunError: as `read_config`, and if it has not.
    """
    config = read_config(folder)
    if config.model not in NETWORKS:
        raise RunError(f"{folder} is of the network {config.model!r}; there are {', '.join(NETWORKS)}")
    if config.codec not in CODECS:
        raise RunError(f"{folder} is of the codec {config.codec!r}; there are {', '.join(CODECS)}")
    return config


def _needed(setting: Field[Any]) -> bool:
    return setting.default is MISSING and setting.default_factory is MISSING


def _wrong_config(data: object) -> str | None:
    """Why parsed JSON is no run configuration, or None.

    Args:
        data: should be a dict as `write_config` writes it. Whether there is a network and a
            codec of these names is for the caller to look up.
    """
    if not isinstance(data, dict):
        return received("the file", "an object", data)
    written = data.get("version", 1)
    if not is_whole(written) or not written:
        return received("version", "a number", written)
    if written > CONFIG_VERSION:
        return (
            f"it is of version {written}, which a later HRPose wrote; this one reads up to {CONFIG_VERSION}"
        )
    for name in ("dataset", "records", "model", "codec"):
        if not isinstance(data[name], str):
            return received(name, "a text", data[name])
    for name in ("skeleton", "recipe"):
        if not isinstance(data[name], dict):
            return received(name, "an object", data[name])
    size = data["input_size"]
    if not isinstance(size, list) or len(size) != 2 or not all(map(_is_side, size)):
        return received("input_size", "width and height, multiples of 32 pixels", size)
    try:
        check_sigma(data["sigma"])
    except ValueError as error:
        return str(error)
    if problem := wrong_skeleton(data["skeleton"]):
        return problem
    if problem := _wrong_text({name: value for name, value in data.items() if name != "provenance"}):
        return problem
    made = data.get("provenance", {})
    if not isinstance(made, dict) or not isinstance(made.get("flags", {}), dict):
        return received("provenance", "an object, and flags in it", made)
    if not isinstance(made.get("continued", []), list):
        return received("continued", "a list", made["continued"])
    every = made.get("validated_every", 1)
    if not is_whole(every) or not every:
        return received("validated_every", "a number of epochs", every)
    return None


def _wrong_text(data: object) -> str | None:
    """Why the texts of parsed JSON cannot be written down again, or None. Flags may: they name files."""
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        near = error.object[max(0, error.start - 40) : error.start]
        return f"a text has half of a character (a surrogate) after {near!r}"
    return None


def _is_side(value: object) -> bool:
    return is_whole(value) and 0 < value <= LARGEST_INPUT_SIDE and value % 32 == 0
