"""`python -m service`: run the service until SIGTERM or SIGINT."""

from __future__ import annotations

import sys

from service.app import main

sys.exit(main())
