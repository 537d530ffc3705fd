"""What exceptions of SQLAlchemy and of the drivers mean."""

from __future__ import annotations

import errno
from typing import Final

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from service.storage.backend import Outage, Refused

_REFUSING: Final = frozenset({"22", "23", "54"})
"""Classes of SQLSTATE: data exception, integrity constraint violation, program limit exceeded.

Source: https://www.postgresql.org/docs/18/errcodes-appendix.html (2026-11-22).
"""

FAILURES: Final = (SQLAlchemyError, OSError, ValueError, OverflowError)
"""TimeoutError is an OSError. The last two are the drivers' about values that they can't encode, and asyncpg's about
a URL. Each driver adds its own to these, for what SQLAlchemy does not wrap."""

Failure = Outage | Refused


def failure_of(error: Exception) -> Failure:
    """What the error means to the store; without the error's text, which may quote what is stored."""
    cause = _driver_error(error)
    code = _code_of(cause)
    description = f"{type(cause).__name__} {code}".rstrip()
    is_of_values = isinstance(cause, (ValueError, OverflowError))
    if isinstance(error, (IntegrityError, DataError)) or code[:2] in _REFUSING or is_of_values:
        return Refused(description)
    return Outage(description, is_slow=isinstance(error, TimeoutError))


def _driver_error(error: BaseException) -> BaseException:
    """The innermost error: SQLAlchemy wraps the driver's, for asyncpg twice."""
    inner: BaseException = getattr(error, "orig", None) or error
    return inner.__cause__ if inner is not error and inner.__cause__ is not None else inner


def _code_of(error: BaseException) -> str:
    for name in ("sqlstate", "sqlite_errorname"):
        if code := getattr(error, name, None):
            return str(code)
    return errno.errorcode.get(getattr(error, "errno", None) or 0, "")
