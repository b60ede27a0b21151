"""Options that one dataset or one metric has for itself, and the flags they become.

Whoever adds a dataset or a metric declares its options beside it; the commands define a flag for each and
hand the values back to their owner, so that no command knows what they mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from absl import flags

from hrpose.command import UsageError


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: of the flag, without dashes.
        default: its value unless the user says another; None for none, and then the kind is text.
        help: what ``--help`` says, without whose option it is.
        choices: what a text may be; () for anything.
        least, most: bounds of a number; None for none.
    """

    name: str
    default: str | int | float | bool | None
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


def define_options(values: flags.FlagValues, owners: Mapping[str, Sequence[Option]]) -> None:
    """Defines a flag for each option.

    Args:
        values: where to define them.
        owners: {name of a dataset or metric: its options}. Owners may share an option; it is defined once,
            and its help names all of them.
    """
    whose: dict[Option, list[str]] = {}
    for owner, options in owners.items():
        for option in options:
            whose.setdefault(option, []).append(owner)
    for option, names in whose.items():
        text = f"{', '.join(names)}: {option.help}"
        # absl asks for a whole number's, a text's or no default and bounds, as the branches below have them.
        default: Any = option.default
        bounds: dict[str, Any] = {"lower_bound": option.least, "upper_bound": option.most}
        if option.choices:
            flags.DEFINE_enum(option.name, default, option.choices, text, flag_values=values)
        elif isinstance(default, bool):
            flags.DEFINE_bool(option.name, default, text, flag_values=values)
        elif isinstance(default, int):
            flags.DEFINE_integer(option.name, default, text, flag_values=values, **bounds)
        elif isinstance(default, float):
            flags.DEFINE_float(option.name, default, text, flag_values=values, **bounds)
        else:
            flags.DEFINE_string(option.name, default, text, flag_values=values)


def options_of(
    values: flags.FlagValues, owners: Mapping[str, Sequence[Option]], chosen: Sequence[str], flag: str
) -> dict[str, Any]:
    """The values of some owners' options.

    Args:
        values: where `define_options` has defined them.
        owners: as there.
        chosen: the owners that are used.
        flag: which flag chooses an owner, for messages: "dataset".

    Returns:
        {option's name: value}.

    Raises:
        UsageError: if an option of others only was given.
    """
    own = {option.name: values[option.name].value for name in chosen for option in owners[name]}
    for options in owners.values():
        for option in options:
            if option.name not in own and values[option.name].value != option.default:
                others = [other for other in owners if option in owners[other]]
                raise UsageError(
                    f"--{option.name} is for --{flag}={' or '.join(others)}, here it is {', '.join(chosen)}; "
                    f"leave it out"
                )
    return own
