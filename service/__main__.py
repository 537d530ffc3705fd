"""`python -m service`: run the service until SIGTERM or SIGINT; `python -m service store …` tends its store."""

from __future__ import annotations

import os
import sys

from service.logs import open_standard_streams

open_standard_streams()  # before gRPC is imported, which opens descriptors

# The embedded model's process is started beside a running gRPC, which logs a line about every fork
# unless it is told that no child will use it. It reads this when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

if sys.argv[1:2] == ["store"]:
    from service.config import load_config
    from service.storage import commands

    sys.exit(commands.main(sys.argv[2:], lambda: load_config().storage))
if sys.argv[1:]:
    sys.stderr.write("usage: python -m service [store COMMAND …]\n")
    sys.exit(2)

from service.app import main

sys.exit(main())
