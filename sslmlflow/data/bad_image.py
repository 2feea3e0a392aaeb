"""Why a file gives no image."""


class BadImage(Exception):  # noqa: N818
    """A file that gives no image; the message is the reason."""
