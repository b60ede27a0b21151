"""What flags of several commands take: whole numbers between separators, sizes of network inputs."""

from hrpose.command import UsageError

#: The longest side of a network input, pixels: any longer one is a slip, and needs memory that nobody has.
LARGEST_INPUT_SIDE = 2**14


def integers(text: str, count: int, separator: str, what: str) -> tuple[int, ...]:
    """Parses e.g. ``192x256``: `count` positive whole numbers between separators.

    Raises:
        UsageError: naming the flag `what` if the text is anything else.
    """
    parts = text.split(separator)
    if len(parts) != count or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        form = f"{count} positive whole numbers as {separator.join(['N'] * count)}"
        raise UsageError(f"--{what}={text}: expected {form if count > 1 else 'positive whole numbers'}")
    return tuple(int(part) for part in parts)


def parse_input_size(text: str) -> tuple[int, int]:
    """Parses --input_size: (width, height) of a network input in pixels.

    Raises:
        UsageError: if it is not two multiples of 32, or larger than records can be for.
    """
    width, height = integers(text, 2, "x", "input_size")
    if max(width, height) > LARGEST_INPUT_SIDE:
        raise UsageError(
            f"--input_size={text}: expected a width and height of up to {LARGEST_INPUT_SIDE} pixels"
        )
    if width % 32 or height % 32:
        raise UsageError(
            f"--input_size={text}: width and height must be multiples of 32, because the network's lowest "
            "resolution is a thirty-second of its input"
        )
    return width, height


def input_size_note(size: tuple[int, int]) -> str | None:
    """A line for the user if a network input is wider than high, as publications' height x width reads here.

    Args:
        size: (width, height), from `parse_input_size`.

    Returns:
        The line, or None.
    """
    width, height = size
    if width <= height:
        return None
    return (
        f"note: --input_size={width}x{height} is {width} wide and {height} high; a publication's "
        f"{width}x{height} is height x width, and is --input_size={height}x{width} here"
    )
