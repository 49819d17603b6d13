"""The package `testcontainers` of Python: generic containers, waiting for logs, copies and execution."""

import re
import urllib.request

from testcontainers.core.container import DockerContainer
from testcontainers.core.waiting_utils import wait_for_logs

server = "sh -c 'mkdir -p /www; echo hello > /www/index.html; echo ready to accept; exec httpd -f -p 80 -h /www'"
with DockerContainer("busybox").with_command(server).with_exposed_ports(80) as container:
    wait_for_logs(container, "ready to accept", timeout=30)
    port = container.get_exposed_port(80)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/index.html", timeout=10) as answer:
        assert answer.read() == b"hello\n"
    result = container.exec(["sh", "-c", "echo out; exit 3"])
    assert (result.exit_code, result.output) == (3, b"out\n"), result
    assert b"ready to accept\n" in container.get_logs()[0]
    wrapped = container.get_wrapped_container()
    assert wrapped.status in ("created", "running") and re.fullmatch("[0-9a-f]{64}", wrapped.id)

with (
    DockerContainer("busybox", tty=True)
    .with_env("WORD", "of environment")
    .with_name("tc-python")
    .with_command("sh -c 'echo $WORD; sleep 300'")
    .with_kwargs(labels={"made": "by-python"}, mem_limit="64m") as container
):
    wait_for_logs(container, lambda text: "of environment" in text, timeout=30)
    assert container.get_wrapped_container().name == "tc-python"
print("all steps passed")
