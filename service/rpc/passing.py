"""What becomes of an answer between its provider and its caller: it is accounted for, named, and kept."""

from __future__ import annotations

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service.rpc.accounting import Account
from service.rpc.keeping import Keeping
from service.rpc.naming import Naming


class Passing:
    """One answer on its way. It ends with `whole`, `end` or `fail`; what comes after the first changes nothing.

    Args:
        account: Is settled at the end.
        naming: Names it.
        keeping: Stores it; None where the caller does not want that.
    """

    __slots__ = ("_account", "_is_settled", "_keeping", "_naming")

    def __init__(self, account: Account, naming: Naming, keeping: Keeping | None) -> None:
        self._account = account
        self._naming = naming
        self._keeping = keeping
        self._is_settled = False

    @property
    def written_tokens(self) -> int:
        """About how many tokens have come."""
        return self._account.written_tokens

    def take(self, chunk: ChatCompletionChunk) -> None:
        """A piece passes by; it gets its names, and its usage the cost."""
        self._account.take(chunk)
        self._naming.chunk(chunk)
        if self._keeping is not None:
            self._keeping.take(chunk)

    async def whole(self, completion: ChatCompletion) -> None:
        """An answer in one piece passes by; returns when it is kept.

        Raises:
            StorageUnavailable: It has to be kept, and is not.
        """
        self._account.take_whole(completion)
        self._settle(is_complete=True)
        self._naming.whole(completion)
        if self._keeping is not None:
            await self._keeping.whole(completion)

    async def end(self, *, is_complete: bool) -> None:
        """Nothing comes any more; returns when a complete answer is kept.

        Raises:
            StorageUnavailable: It has to be kept, and is not.
        """
        self._settle(is_complete=is_complete)
        if self._keeping is None:
            return
        if is_complete:
            await self._keeping.complete()
        else:
            self._keeping.broken_off(None)

    def fail(self, error: BaseException) -> None:
        """Nothing comes any more, because of `error`."""
        if self._is_settled:
            return
        self._settle(is_complete=False)
        if self._keeping is not None:
            self._keeping.broken_off(error)

    def _settle(self, *, is_complete: bool) -> None:
        self._is_settled = True
        self._account.settle(is_complete=is_complete)
