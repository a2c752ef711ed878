"""Where a driver's log is found."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from tests.kuberay.conftest import wait_until


def test_logs_are_those_of_the_dashboard_then_of_the_folder_then_of_the_operator(
    operator, launcher, make_request, monkeypatch
):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ray-secret")
    asked = []

    class Dashboard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["authorization"]))
            content = json.dumps({"logs": "epoch 1"}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return None

    request = make_request()
    name = request.submission_id
    launcher.submit(request)
    assert launcher.logs(name) == ""
    server = HTTPServer(("127.0.0.1", 0), Dashboard)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    operator.start(name, dashboard=f"127.0.0.1:{server.server_port}")
    wait_until(lambda: launcher.logs(name) == "epoch 1", "the dashboard's log")
    assert asked[0] == (f"/api/jobs/{name}/logs", "Bearer ray-secret")
    server.shutdown()
    server.server_close()

    operator.say(name, jobDeploymentStatus="Failed", reason="AppFailed", message="exit 1")
    wait_until(lambda: launcher.logs(name) == "AppFailed: exit 1", "the operator's word")
    (launcher._jobs / request.job_id / "driver-a1.log").write_text("the driver failed")
    assert launcher.logs(name) == "the driver failed"
