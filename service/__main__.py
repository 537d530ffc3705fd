"""`python -m service`: run the service until SIGTERM or SIGINT."""

from __future__ import annotations

import os
import sys

from service.logs import open_standard_streams

open_standard_streams()  # before gRPC is imported, which opens descriptors

# The embedded model's process is started beside a running gRPC, which logs a line about every fork
# unless it is told that no child will use it. It reads this when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

from service.app import main

sys.exit(main())
