"""Which keypoints mirror each other, by their names."""

import re
from collections.abc import Sequence

#: Words that name a side; the first letter tells which.
_SIDES = ("left", "l", "right", "r")

#: A word of a keypoint's name. Letters outside of ASCII have no case here, as most scripts have none.
_WORD = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z](?![^\W\d_A-Z])|\d+")

#: Parts of bodies that come in pairs, and words that say which of several: after a mere l or r only these are
#: believed, since reg is not the right side of leg, nor robe that of lobe.
_PARTS = (
    *("eye", "eyebrow", "eyelid", "brow", "pupil", "iris", "ear", "earlobe", "nostril", "cheek", "cheekbone"),
    *("temple", "jaw", "lip", "mouth", "horn", "antler", "antenna", "collar", "collarbone", "clavicle"),
    *("shoulder", "scapula", "armpit", "arm", "forearm", "elbow", "wrist", "hand", "palm", "finger", "thumb"),
    *("index", "ring", "pinky", "pinkie", "knuckle", "breast", "nipple", "rib", "waist", "flank", "hip"),
    *("pelvis", "buttock", "leg", "thigh", "knee", "kneecap", "shin", "calf", "ankle", "foot", "heel"),
    *("toe", "sole", "paw", "claw", "hoof", "wing", "fin", "hock", "stifle", "carpus", "tarsus", "fetlock"),
)
_WHICH = (
    *("upper", "lower", "inner", "outer", "front", "fore", "mid", "middle", "back", "hind", "rear", "top"),
    *("bottom", "big", "small", "tip", "base", "center", "centre", "corner", "joint"),
)
_PAIRED = re.compile(rf"(?:{'|'.join(_WHICH)})*(?:{'|'.join(_PARTS)})s?(?:{'|'.join((*_WHICH, *_PARTS))})*s?")

#: Words of what is in the middle of a body and mirrors itself.
_MIDDLE = (
    *("nose", "snout", "muzzle", "beak", "neck", "nape", "throat", "head", "forehead", "crown", "top"),
    *("chin", "mouth", "tongue", "thorax", "chest", "sternum", "breastbone", "withers", "spine", "back"),
    *("belly", "navel", "abdomen", "torso", "body", "trunk", "pelvis", "sacrum", "root", "tail", "rump"),
    *("mid", "middle", "center", "centre"),
)
_SINGLE = re.compile(rf"(?:{'|'.join(_MIDDLE)})(?:{'|'.join((*_WHICH, *_MIDDLE))})*")

#: A side, "l", "r" or "", and words.
Reading = tuple[str, tuple[str, ...]]

#: {words: {side: indices}}.
_Groups = dict[tuple[str, ...], dict[str, list[int]]]

#: Names in a message.
_LISTED = 20


def readings(name: str) -> tuple[Reading | None, list[Reading]]:
    """How a keypoint's name may be understood: the side, and the other words with "*" in the side's place.

    Args:
        name: "left_eye", "L-Eye", "eyeLeft", "EYE.L", but also "lefteye", "Leye" and "eyer".

    Returns:
        plain: the reading ("l" or "r", words) if one of the name's words is the side, else None.
        glued: readings for a word that begins or ends with the side, without a gap. It means
            something only beside another name for the other side: rear is an r before an ear.
    """
    words = _words(name)
    places = [place for place, word in enumerate(words) if word in _SIDES]
    if places:
        (place, *more) = places
        plain = (words[place][0], (*words[:place], "*", *words[place + 1 :]))
        return (None if more else plain), []
    glued = []
    for place, word in enumerate(words):
        for side in _SIDES:
            for found, rest in (
                (word.startswith(side), ("*", word[len(side) :])),
                (word.endswith(side), (word[: -len(side)], "*")),
            ):
                believed = len(side) > 1 or _PAIRED.fullmatch("".join(rest).strip("*"))
                if found and len(word) > len(side) and believed:
                    glued.append((side[0], (*words[:place], *rest, *words[place + 1 :])))
    return None, glued


def mirrored_names(names: Sequence[str]) -> tuple[list[list[int]], list[str]]:
    """The keypoints whose names differ in their side only.

    Args:
        names: of the keypoints.

    Returns:
        pairs: [left, right], indices.
        doubtful: where names with a side were found, the names without a counterpart that may well have one:
            not what is in the middle of a body, nor a single other name, which can have none.
    """
    plain, glued = zip(*map(readings, names), strict=True) if names else ((), ())
    groups: _Groups = {}
    for index, reading in enumerate(plain):
        if reading:
            _join(groups, index, reading)
    pairs = _pairs_of(groups)
    paired = {index for pair in pairs for index in pair}
    # What is spelled together is looked at only then, beside what is alone so far.
    wider: _Groups = {}
    for index in range(len(names)):
        for reading in [plain[index]] if plain[index] else glued[index]:
            if index not in paired:
                _join(wider, index, reading)
    for pair in _pairs_of(wider):
        if paired.isdisjoint(pair):
            pairs.append(pair)
            paired.update(pair)
    sided = [i for group in groups.values() for side in group.values() for i in side if i not in paired]
    others = [
        index
        for index, name in enumerate(names)
        if index not in paired and plain[index] is None and not any(map(_SINGLE.fullmatch, _words(name)))
    ]
    doubtful = [*sided, *others] if sided or (pairs and len(others) > 1) else []
    return pairs, [names[index] for index in doubtful]


def warning_of(names: Sequence[str], pairs: list[list[int]], doubtful: list[str]) -> str | None:
    """What to say of the outcome of `mirrored_names`, or None if there is nothing to doubt."""
    told = 'is mirrored; "flip_pairs" in the category, or --skeleton, says otherwise'
    if doubtful:
        more = f" and {len(doubtful) - _LISTED} more" if len(doubtful) > _LISTED else ""
        return (
            f"no single counterpart on the other side for {', '.join(doubtful[:_LISTED])}{more}: they keep "
            f"their place when an image {told}"
        )
    if not pairs and len(names) > 1:
        return (
            "no left and right keypoints were found: every keypoint keeps its place when an image "
            f"{told}, train/main.py --flip_probability=0 does not mirror"
        )
    return None


def plain_name(name: str) -> Reading:
    """What is the same for every spelling of a keypoint's name: its side, if it has one, and its other words.

    Args:
        name: of a keypoint.

    Returns:
        (side or "", words): ("l", ("eye",)) of "left_eye", "Eye.L" and "LeftEye".
    """
    plain, glued = readings(name)
    side, words = plain or (glued[0] if len(glued) == 1 else ("", _words(name)))
    return side, tuple(word for word in words if word != "*")


def _words(name: str) -> list[str]:
    """The words of a name: letters of one case after another, in lower case."""
    return [word.lower() for word in _WORD.findall(name.lower() if name.isupper() else name)]


def _join(groups: _Groups, index: int, reading: Reading) -> None:
    side, words = reading
    groups.setdefault(words, {"l": [], "r": []})[side].append(index)


def _pairs_of(groups: _Groups) -> list[list[int]]:
    return [[*group["l"], *group["r"]] for group in groups.values() if [*map(len, group.values())] == [1, 1]]
