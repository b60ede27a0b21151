"""What can be wrong with records."""

from hrpose.command import CommandError


class RecordsError(CommandError):
    """Records that are missing, damaged, or not what the caller needs."""
