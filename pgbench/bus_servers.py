"""The servers of NATS that the tests start, for benchmarks."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "test/helpers"))
from nats_servers import NatsCluster, NatsServer, running_cluster, running_server

__all__ = ["NatsCluster", "NatsServer", "running_cluster", "running_server"]
