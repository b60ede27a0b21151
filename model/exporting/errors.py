"""What an export cannot do."""


class ExportError(Exception):
    """An export that cannot be made as asked. The message says what was asked and what to do."""
