"""The bus of deploy/cluster/: real servers with its file, and the secrets that its script makes."""

import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from nats_servers import NatsCluster, NatsServer, running_cluster
from tools import ROOT, run, tool

CLUSTER = ROOT / "deploy/cluster"
HOST = "localhost"  # the tests' name of each machine


def make_secrets(folder: Path, *hosts: str) -> Path:
    tool("openssl")
    run("sh", CLUSTER / "make-secrets.sh", folder, *hosts)
    return folder


class DeployedServer(NatsServer):
    """A server with the deployed file; its secrets are beside the folders of the servers."""

    def configuration(self, routes: Sequence[int]) -> str:
        text = (CLUSTER / "nats-server.conf").read_text(encoding="utf-8")
        moved = {
            "/etc/nats": str(self.folder),
            "/var/lib/nats": str(self.store),
            "0.0.0.0:4222": f"127.0.0.1:{self.port}",
            "127.0.0.1:8222": f"127.0.0.1:{self.monitor_port}",
            "0.0.0.0:6222": f"127.0.0.1:{self.route_port}",
        }
        moved |= {f"host{n}:6222": f"{HOST}:{port}" for n, port in enumerate(routes, 1)}
        for old, new in moved.items():
            assert f'"{old}' in text or f"//{old}" in text, old
            text = text.replace(old, new)
        shutil.copytree(
            self.folder.parent / "secrets" / HOST, self.folder / "secrets", dirs_exist_ok=True
        )
        return text


@contextlib.asynccontextmanager
async def deployed_bus(folder: Path) -> AsyncIterator[NatsCluster]:
    """Three servers; their secrets are in a folder of this name."""
    if not (folder / "secrets").exists():
        make_secrets(folder / "secrets", HOST)
    async with running_cluster(folder, server=DeployedServer) as cluster:
        yield cluster
