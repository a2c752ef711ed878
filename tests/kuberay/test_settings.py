"""The operator's file, and where the Kubernetes API is."""

from __future__ import annotations

import pytest
import yaml

from cluster.kuberay.api import server_of
from cluster.kuberay.settings import KubeRaySettings
from rlhf_service.errors import LauncherError
from tests.kuberay.conftest import POD


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("namespace: Rlhf!", "namespace"),
        ("namespace: rlhf\nhead: {}", "head: Value error, a pod template"),
        ("namespace: rlhf\nimage: x", "image: Extra"),
        ("namespace: [", "no YAML"),
        (None, "No such file"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(tmp_path, text, said):
    path = tmp_path / "kuberay.yaml"
    whole = {"namespace": "n", "auth_secret": "s", "head": POD, "cpu_worker": POD}
    if text is not None:
        path.write_text(text if "[" in text else yaml.safe_dump(whole | yaml.safe_load(text)))
    with pytest.raises(LauncherError, match=said):
        KubeRaySettings.read(path)


def test_in_a_pod_the_server_is_known_and_elsewhere_it_must_be_named(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(LauncherError, match="api_server"):
        server_of("")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    assert server_of("") == "https://[fd00::1]:443"
