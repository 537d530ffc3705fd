"""Which models are served: a generation of the configuration, and the one that holds now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from service.dispatch.dispatcher import Dispatcher
from service.routing import model_not_found


class Served:
    """The models of one generation.

    A reload puts another generation in its place; what only this one had, such as connections to a provider
    that is configured no more, may go when the last call that uses it is over.

    Args:
        models: In the order of the configuration.
        on_unused: Called once, when it has been retired and no call uses it any more.
    """

    def __init__(self, models: Mapping[str, Dispatcher], on_unused: Callable[[], None] = lambda: None) -> None:
        self.models = models
        self._on_unused = on_unused
        self._calls = 0
        self._is_retired = False

    def resolve(self, model_id: str) -> Dispatcher:
        """Who answers for the model of that id.

        Raises:
            RequestError: MODEL_NOT_FOUND, param `model`.
        """
        dispatcher = self.models.get(model_id)
        if dispatcher is None:
            raise model_not_found(model_id)
        return dispatcher

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within the block, nothing that the models need goes away."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            self._tell_if_unused()

    def retire(self) -> None:
        """Take note that no call will begin any more. Once only."""
        self._is_retired = True
        self._tell_if_unused()

    def _tell_if_unused(self) -> None:
        if self._is_retired and not self._calls:
            self._on_unused()


class Current:
    """Holds the generation that new calls use. A call reads `served` once, so that all it sees fits together."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def swap(self, served: Served) -> None:
        """Have new calls use `served`; those that run keep what they began with."""
        last, self.served = self.served, served
        last.retire()
