"""What can go wrong with a build that its user can cause."""

from hrpose.command import CommandError


class BuildError(CommandError):
    """A build that cannot start or must not succeed."""
