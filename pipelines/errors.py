"""What can go wrong with a build that its user can cause."""

from hrpose.command import CommandError


class BuildError(CommandError):
    """A build that cannot start or must not succeed."""


class UnusableImageError(Exception):
    """An image that a build cannot use, so that all its instances are rejected; the build goes on.

    Attributes:
        reason: a word, as dead letters and the manifest have it.
        detail: what was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail
