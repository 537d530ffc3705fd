"""The kubelet's probes: native gRPC health and HTTP GET, with a new connection each time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc


@dataclass(frozen=True)
class Probe:
    """A probe of the manifests. What is left out there is as Kubernetes has it by default."""

    manifest: dict[str, Any]
    ports: dict[str, int]
    """The numbers of the container's ports that have names."""

    @property
    def initial_delay_s(self) -> float:
        return float(self.manifest.get("initialDelaySeconds", 0))

    @property
    def period_s(self) -> float:
        return float(self.manifest.get("periodSeconds", 10))

    @property
    def timeout_s(self) -> float:
        return float(self.manifest.get("timeoutSeconds", 1))

    @property
    def failures(self) -> int:
        return int(self.manifest.get("failureThreshold", 3))

    @property
    def successes(self) -> int:
        return int(self.manifest.get("successThreshold", 1))

    async def succeeds(self, address: str) -> bool:
        """Ask the pod at `address` once."""
        try:
            async with asyncio.timeout(self.timeout_s):
                if "grpc" in self.manifest:
                    return await self._asks_grpc(address)
                return await self._asks_http(address)
        except (TimeoutError, grpc.aio.AioRpcError, httpx.HTTPError):
            return False

    async def _asks_grpc(self, address: str) -> bool:
        wanted = self.manifest["grpc"]
        options = [("grpc.use_local_subchannel_pool", 1)]  # or channels to one address would share a connection
        async with grpc.aio.insecure_channel(f"{address}:{wanted['port']}", options=options) as channel:
            request = health_pb2.HealthCheckRequest(service=wanted.get("service", ""))
            stub: Any = health_pb2_grpc.HealthStub(channel)  # the stubs' types know no methods
            answer = await stub.Check(request)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def _asks_http(self, address: str) -> bool:
        wanted = self.manifest["httpGet"]
        port = self.ports[wanted["port"]] if isinstance(wanted["port"], str) else wanted["port"]
        scheme = wanted.get("scheme", "HTTP").lower()
        async with httpx.AsyncClient(verify=False, trust_env=False) as client:  # the kubelet checks no certificate
            answer = await client.get(f"{scheme}://{address}:{port}{wanted.get('path', '/')}")
        return 200 <= answer.status_code < 400
