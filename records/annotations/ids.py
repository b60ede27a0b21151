"""Ids of images as tools write them, as whole numbers."""

from collections.abc import Collection, Iterable, Set
from typing import Any

from hrpose.json_checks import is_id
from records.annotations.forms import Key, as_key
from records.annotations.image_ids import find_names, find_texts, whole_number


class ImageIds:
    """Which whole numbers stand for the ids that a file gives its images.

    They are the ids themselves where all say whole numbers, and different ones. Otherwise, as where ids are
    text, every image's number is its place in the file, from 1; an image without any id has none.

    Attributes:
        by_place: whether the numbers are places.
        names: {text: number} of texts that are nobody's id as the file has it, and no number that is, but the
            name of an image's file, see `find`.
    """

    def __init__(self, images: Collection[Any]) -> None:
        """Args: the file's "images", parsed JSON of any kind in a sequence."""
        self._images = images
        self.names: dict[str, int] = {}
        self._places = _places(images)
        self.by_place = self._places is not None

    def number(self, value: Any) -> Any:
        """The whole number that stands for an image's id, here or in a file that belongs to this one.

        A value that stands for no image stays as it is, for messages, and is never a number of another one;
        a number that would be becomes None.
        """
        if isinstance(value, str) and value in self.names:
            return self.names[value]
        whole = whole_number(value)
        if self._places is not None:
            key = as_key(value)
            key = key if key in self._places else whole
            whole = None if key is None else self._places.get(key)
        return value if whole is None and not is_id(value) else whole

    def find(self, texts: Set[str]) -> None:
        """Finds the images whose file names some texts are: `names` from now on.

        What is written as an image's id is, stands for that image; of the rest "0001" is the file 0001.jpg
        before it is the image with the id 1, as `find_texts` has it.

        Args:
            texts: a set.

        Raises:
            ValueError: if it cannot be told which of both is meant.
        """
        entries = [entry for entry in self._images if isinstance(entry, dict)] if texts else []
        texts = texts - {entry["id"] for entry in entries if isinstance(entry.get("id"), str)}
        file_names: dict[int, str] = {}
        for entry in entries if texts else ():
            number = self.number(entry.get("id"))
            if is_id(number) and isinstance(entry.get("file_name"), str):
                file_names.setdefault(number, entry["file_name"])
        if self.by_place:
            self.names = find_names(texts, file_names)
            return
        named, _ = find_texts(texts, file_names)
        self.names = {text: found for text, found in named.items() if found != whole_number(text)}


def _places(images: Iterable[Any]) -> dict[Key, int] | None:
    """{id as the file has it: its place, from 1} of all images, if not all ids are whole numbers, or None.

    Ids that say the same number in two ways, "1" and "01", are told apart by their place as well. An image
    without any id has no place.
    """
    places: dict[Key, int] = {}
    for place, entry in enumerate(images, start=1):
        key = as_key(entry.get("id")) if isinstance(entry, dict) else None
        if key is not None:
            places.setdefault(key, place)
    whole = {key: whole_number(key) for key in places}
    if None not in whole.values() and len(set(whole.values())) == len(whole):
        return None
    for key, number in whole.items():
        if number is not None:
            places.setdefault(number, places[key])
    return places
