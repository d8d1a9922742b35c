"""One node: its containerd and its kubelet in a mount namespace of their own.

Some paths are built into programs: /var/lib/cni, /var/lib/kubelet, /run/containerd and
/var/log/containers. In its mount namespace, each node has these folders for itself. The kernel
unmounts everything when the namespace's last process ends, even after SIGKILL.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cgroups
import processes
from binaries import Binaries
from commands import run
from credentials import Credentials
from errors import ClusterError
from images import PAUSE
from instance import Instance
from network import Block, name_servers

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
# containerd, CNI plugins and kubelet write to these folders with any settings.
PRIVATE_FOLDERS = ("/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers")
# node-2 rotates early and often: a test sees the rotation of a log within seconds.
LOG_ROTATION: Mapping[str, Mapping[str, Any]] = {
    "node-1": {"containerLogMaxSize": "10Mi"},
    "node-2": {"containerLogMaxSize": "1Mi", "containerLogMaxFiles": 50, "containerLogMonitorInterval": "3s"},
}
# Later mounts of the machine appear in the node, but mounts of the node do not appear outside.
# Within the node, mounts are shared, as pods with mountPropagation expect.
ENTER_NAMESPACE = """
mount --make-rshared /
for folder in $PRIVATE; do mount --bind "$0$folder" "$folder"; done
exec "$@"
"""


@dataclass(frozen=True)
class Node:
    """One node; the fields are the inputs of its settings."""

    name: str
    instance: Instance
    binaries: Binaries
    credentials: Credentials
    block: Block

    @property
    def folder(self) -> Path:
        """The folder of all files that the node writes."""
        return self.instance.node_folder(self.name)

    @property
    def socket(self) -> Path:
        """The socket on which containerd listens."""
        return self.folder / "containerd.sock"

    @property
    def path(self) -> str:
        """The PATH of containerd, which looks there for its shim and for runc."""
        own = self.binaries.containerd
        return f"{own}:{os.environ['PATH']}" if own else os.environ["PATH"]

    @property
    def containerd(self) -> str:
        """The name of the component."""
        return f"containerd-{self.name}"

    @property
    def kubelet(self) -> str:
        """The name of the component."""
        return f"kubelet-{self.name}"

    def start_containerd(self) -> None:
        """Start the container runtime with the node's pod network."""
        (self.folder / "cni").mkdir(parents=True)
        (self.folder / "cni" / "pods.conflist").write_text(json.dumps(self._cni()))
        config = self.folder / "containerd.toml"
        config.write_text(self._containerd_config())
        for folder in PRIVATE_FOLDERS:
            Path(folder).mkdir(parents=True, exist_ok=True)
            Path(f"{self.folder}/private{folder}").mkdir(parents=True)
        enter = ENTER_NAMESPACE.replace("$PRIVATE", " ".join(PRIVATE_FOLDERS))
        shell: list[str | Path] = [
            "unshare",
            "--mount",
            "--propagation",
            "slave",
            "sh",
            "-euc",
            enter,
            self.folder / "private",
        ]
        processes.start(self.instance, self.containerd, [*shell, "containerd", "--config", config], path=self.path)

    def start_kubelet(self) -> None:
        """Start the kubelet in containerd's mount namespace."""
        cgroups.create(self.instance.cgroup(self.name))
        (self.folder / "kubelet" / "plugins").mkdir(parents=True)
        config = self.folder / "kubelet.json"
        config.write_text(json.dumps(self._kubelet_config(), indent=2))
        pid = processes.pid_of(self.instance, self.containerd)
        enter = ["nsenter", f"--mount=/proc/{pid}/ns/mnt"]
        processes.start(self.instance, self.kubelet, [*enter, *self._kubelet_command(config)])

    def load_images(self, archive: Path) -> None:
        """Load all images of an OCI archive."""
        ctr = self.binaries.containerd / "ctr" if self.binaries.containerd else "ctr"
        run([ctr, "--address", self.socket, "--namespace", "k8s.io", "images", "import", archive])

    def _kubelet_command(self, config: Path) -> list[str | Path]:
        return [
            self.binaries.kubernetes,
            "kubelet",
            f"--config={config}",
            f"--kubeconfig={self.credentials.kubeconfig(f'system:node:{self.name}')}",
            f"--root-dir={self.folder}/kubelet",
            f"--cert-dir={self.folder}/kubelet-certificates",
            f"--hostname-override={self.name}",
            f"--node-ip={self.block.node(self.name)}",
        ]

    def _containerd_config(self) -> str:
        return CONTAINERD_CONFIG.format(
            folder=self.folder,
            socket=self.socket,
            pause=PAUSE,
            plugins=_cni_plugins(),
            # Without the right to lower the OOM score, runc would fail to start every sandbox.
            restrict_oom_score="false" if _may_lower_oom_score() else "true",
        )

    def _cni(self) -> dict[str, Any]:
        address_management = {
            "type": "host-local",
            "dataDir": str(self.folder / "cni-addresses"),
            "ranges": [[{"subnet": str(self.block.pods(self.name))}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {
            "type": "bridge",
            "bridge": self.instance.bridge(self.name),
            "isGateway": True,
            "ipam": address_management,
        }
        return {"cniVersion": "0.4.0", "name": f"{self.instance.name}-{self.name}", "plugins": [bridge]}

    def _kubelet_config(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": str(self.block.node(self.name)),
            "healthzPort": 0,
            "readOnlyPort": 0,
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "podLogsDir": str(self.folder / "pod-logs"),
            "volumePluginDir": str(self.folder / "kubelet" / "plugins"),
            "clusterDNS": name_servers(),
            "resolvConf": "/etc/resolv.conf",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.credentials.ca)},
            },
            "authorization": {"mode": "Webhook"},
            **RESOURCES,
            **LOG_ROTATION[self.name],
            "cgroupRoot": self.instance.cgroup(self.name),
            # The kubelet renews it every 5 s; a node counts as dead after 20 s without a renewal.
            "nodeLeaseDurationSeconds": 20,
        }


RESOURCES: Mapping[str, Any] = {
    "cgroupDriver": "cgroupfs",
    "failCgroupV1": False,
    "enforceNodeAllocatable": [],
    "failSwapOn": False,
    # Otherwise the kubelet measures the root file system's device, which may not be in /dev.
    "localStorageCapacityIsolation": False,
    # A full disk is the developer's task: evicting pods or deleting images would not help.
    "evictionHard": {
        "memory.available": "100Mi",
        "nodefs.available": "0%",
        "nodefs.inodesFree": "0%",
        "imagefs.available": "0%",
        "imagefs.inodesFree": "0%",
    },
    "imageGCHighThresholdPercent": 100,
    "oomScoreAdj": 0,
    "makeIPTablesUtilChains": False,
}

CONTAINERD_CONFIG = """\
version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.native", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = {restrict_oom_score}
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def _cni_plugins() -> Path:
    for folder in CNI_FOLDERS:
        if (folder / "bridge").exists():
            return folder
    raise ClusterError(
        f"CNI plugin `bridge` is missing in {' and '.join(map(str, CNI_FOLDERS))}: install containernetworking-plugins"
    )


def _may_lower_oom_score() -> bool:
    """Whether this process holds CAP_SYS_RESOURCE (capability 24)."""
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> 24 & 1)
