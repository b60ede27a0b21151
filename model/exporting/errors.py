"""What an export cannot do."""

from hrpose.command import CommandError


class ExportError(CommandError):
    """An export that cannot be made as asked. The message says what was asked and what to do."""
