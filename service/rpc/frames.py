"""What exceptions hold on to."""

from __future__ import annotations


def forget_frames(error: BaseException | None) -> None:
    """Let go of the frames of `error` and of what it came from: they hold the whole request.

    Together with a task or a timer among their variables they would hold each other, until the collector runs.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__context__
