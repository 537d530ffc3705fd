"""`python -m service.health_probe ADDRESS …`: exits with 0 if the replica that listens there takes calls.

For container engines without gRPC probes of their own. The first address that answers tells; further ones are for
replicas whose health is at another port. Nothing is read of the configuration, whose file may be wrong by now while
the service goes on with the last one.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

_TIMEOUT_S: Final = 2.0
"""For each address: two of them fit into the images' five seconds."""


def main(addresses: list[str]) -> int:
    """The exit code: 0 where the replica takes calls, 1 where it does not or none answers, 2 without an address."""
    if not addresses:
        sys.stderr.write("usage: python -m service.health_probe ADDRESS …\n")
        return 2
    for address in addresses:
        takes_calls = _takes_calls(address)
        if takes_calls is not None:
            return 0 if takes_calls else 1
    sys.stderr.write(f"no health service answers at {' or '.join(addresses)}\n")
    return 1


def _takes_calls(address: str) -> bool | None:
    """What the health service at `address` says of the whole replica; None where there is none."""
    options = [("grpc.enable_http_proxy", 0)]  # the way to providers, not to this machine
    with grpc.insecure_channel(address, options=options) as channel:
        try:
            stub: Any = HealthStub(channel)  # its type stubs know no methods
            answer: HealthCheckResponse = stub.Check(HealthCheckRequest(), timeout=_TIMEOUT_S)
        except grpc.RpcError:
            return None
    return answer.status == HealthCheckResponse.SERVING


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
