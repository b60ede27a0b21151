"""The flags that choose a checkpoint and its weights, of every command here."""

from absl import flags

from model.weight_choice import AVERAGED_HELP, EPOCH_HELP, parse_epoch


class _EpochParser(flags.ArgumentParser):
    """A number of epochs, or "best"."""

    def parse(self, argument):
        return parse_epoch(argument)

    def flag_type(self):
        return "a number of epochs, or best"


def define_weight_flags(values: flags.FlagValues) -> None:
    """Defines ``--epoch`` and ``--averaged`` in an absl `FlagValues`."""
    flags.DEFINE(_EpochParser(), "epoch", None, EPOCH_HELP, flag_values=values)
    flags.DEFINE_bool("averaged", None, AVERAGED_HELP, flag_values=values)
