"""Sends the metrics to a receiver of OTLP, beside the calls.

What is sent are sums since the start, so a try that fails is made good by the next, and nothing is kept for it. So
OpenTelemetry's own exporter is not used here: it tries again within a thread that can't be stopped, logs the
receiver's texts, and takes settings from the environment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from prometheus_client import CollectorRegistry

from service.telemetry.otlp_form import Times, requests_of
from service.telemetry.receiver import receiver_address, receiver_credentials, receiver_headers
from service.telemetry.resource import resource_attributes
from service.telemetry_settings import Otlp

_log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 10.0
"""As OpenTelemetry's exporters have it."""
_LAST_S: Final = 2.0
"""For the last one, as the service ends."""


class Push:
    """Sends a registry every so often. `run` has to run for it, and `aclose` to be awaited after it.

    Args:
        otlp: The receiver.
        service_name: Of the resource.
        registry: What to send.
        interval_s: How often.

    Raises:
        ConfigError: The receiver's CA can't be read.
    """

    def __init__(self, otlp: Otlp, service_name: str, registry: CollectorRegistry, interval_s: float) -> None:
        self._resource = resource_attributes(service_name)
        self._registry = registry
        self._interval_s = interval_s
        self._headers = receiver_headers(otlp)
        address, credentials = receiver_address(otlp), receiver_credentials(otlp)
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials)
        self._export: Any = MetricsServiceStub(self._channel).Export  # type: ignore[no-untyped-call]  # has no stubs
        self._start_ns = time.time_ns()
        self._is_out = False

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self._send(min(self._interval_s, _TIMEOUT_S))

    async def aclose(self) -> None:
        """Send what there is at the end, as long as that takes seconds, and close."""
        try:
            await self._send(_LAST_S)
        finally:
            await self._channel.close(None)

    async def _send(self, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                # In a thread: with thousands of series it takes tens of milliseconds.
                for request in await asyncio.to_thread(self._requests):
                    answer = await self._export(request, metadata=self._headers)
                    if rejected := answer.partial_success.rejected_data_points:
                        self._failed(f"it has rejected {rejected} figures")
                        return
        except grpc.aio.AioRpcError as error:
            self._failed(error.code().name)
        except TimeoutError:
            self._failed(f"no answer within {within_s:g} s")
        except Exception as error:  # noqa: BLE001 - a fault of the service's own, which must not end it
            self._failed(type(error).__name__)
        else:
            if self._is_out:
                _log.info("metrics: the receiver of OTLP takes them again")
            self._is_out = False

    def _requests(self) -> list[ExportMetricsServiceRequest]:
        times = Times(self._start_ns, time.time_ns())
        return list(requests_of(self._registry.collect(), self._resource, times))

    def _failed(self, why: str) -> None:
        """Tell of an outage, once; never in the receiver's words, which may quote a key."""
        if not self._is_out:
            _log.warning("metrics: the receiver of OTLP does not take them: %s", why)
        self._is_out = True
