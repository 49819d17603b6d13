"""The `docker` package of Python: the examples of its documentation, then each call of containers, images and system.

Runs against the engine of $DOCKER_HOST, which has the image busybox. Every step is tried; those that failed are named
at the end.
"""

import io
import os
import socket
import sys
import tarfile
import tempfile
import threading
import time
import traceback

import docker
from docker.types import Healthcheck, LogConfig, Mount, Ulimit

client = docker.from_env(version="1.45", timeout=60)
low = client.api


failed = []


def step(function):
    print("step", function.__name__, flush=True)
    try:
        function()
    except Exception:
        failed.append(function.__name__)
        traceback.print_exc()
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)
    return function


def fails(kind, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"{call} did not fail with {kind}")


@step
def readme():
    assert client.containers.run("busybox", "echo hello world") == b"hello world\n"
    container = client.containers.run("busybox", ["echo", "reticulating splines"], detach=True)
    assert container in client.containers.list(all=True)
    found = client.containers.get(container.id)
    assert found.attrs["Config"]["Image"] == "busybox"
    found.wait()
    assert found.logs() == b"reticulating splines\n"
    assert "busybox:latest" in [tag for image in client.images.list() for tag in image.tags]


@step
def logs():
    container = client.containers.run(
        "busybox", "sh -c 'for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.2; done'", detach=True
    )
    lines = list(container.logs(stream=True, follow=True))
    assert b"".join(lines).count(b"\n") == 6, lines
    assert container.logs(stderr=False) == b"out 1\nout 2\nout 3\n"
    assert container.logs(stdout=False, tail=1) == b"err 3\n"
    stamped = container.logs(stderr=False, timestamps=True).splitlines()
    assert stamped[0].split(b" ", 1)[1] == b"out 1" and stamped[0].startswith(b"20"), stamped
    assert container.logs(since=int(time.time()) + 100) == b""
    assert container.logs(until=1) == b""


@step
def failures():
    error = fails(docker.errors.ContainerError, client.containers.run, "busybox", "sh -c 'echo no >&2; exit 3'")
    assert error.exit_status == 3 and error.stderr == b"no\n", error
    fails(docker.errors.ImageNotFound, low.create_container, "no-such-image:none", "true")
    fails(docker.errors.NotFound, client.containers.get, "nosuch")
    fails(docker.errors.ImageNotFound, client.images.get, "nosuch")
    error = fails(docker.errors.APIError, client.containers.run, "busybox", "nosuch-program")
    assert error.status_code == 400 and "executable file not found in $PATH" in error.explanation, error
    client.containers.create("busybox", name="taken")
    error = fails(docker.errors.APIError, client.containers.create, "busybox", name="taken")
    assert error.status_code == 409 and error.is_client_error(), error


@step
def execs():
    container = client.containers.run("busybox", "sleep 300", detach=True)
    code, output = container.exec_run("sh -c 'echo out; echo err >&2; exit 4'", demux=True)
    assert (code, output) == (4, (b"out\n", b"err\n")), (code, output)
    assert container.exec_run("env", environment={"A": "b c"}).output.count(b"A=b c\n") == 1
    assert container.exec_run("pwd", workdir="/tmp").output == b"/tmp\n"
    assert container.exec_run("id -u", user="65534").output == b"65534\n"
    assert container.exec_run("test -t 1").exit_code == 1
    assert container.exec_run("test -t 1", tty=True).exit_code == 0
    pieces = list(container.exec_run("sh -c 'echo a; sleep 0.3; echo b'", stream=True).output)
    assert pieces == [b"a\n", b"b\n"], pieces
    detached = container.exec_run("touch /made", detach=True)
    assert not detached.exit_code
    for _ in range(100):
        if container.exec_run("test -e /made").exit_code == 0:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("a detached exec has not run")
    result = container.exec_run("nosuch-program")
    assert b"executable file not found in $PATH" in result.output and result.exit_code in (126, 127), result
    fails(docker.errors.NotFound, low.exec_inspect, "nosuch")


@step
def exec_socket():
    container = client.containers.run("busybox", "sleep 300", detach=True)
    made = low.exec_create(container.id, "cat", stdin=True, tty=False)
    stream = low.exec_start(made["Id"], socket=True)
    raw = stream._sock
    raw.sendall(b"through the socket\n")
    raw.shutdown(socket.SHUT_WR)
    received = b""
    while piece := raw.recv(4096):
        received += piece
    assert received == b"\x01\0\0\0\0\0\0\x13through the socket\n", received
    state = low.exec_inspect(made["Id"])
    assert state["ExitCode"] == 0 and not state["Running"] and state["OpenStdin"], state
    raw.close()
    # a terminal whose output is wanted in frames: who starts it says how it is read
    made = low.exec_create(container.id, ["printf", "in frames"], tty=True)
    raw = low.exec_start(made["Id"], socket=True)._sock
    assert raw.recv(8) == b"\x01\0\0\0\0\0\0\x09" and raw.recv(9) == b"in frames"
    raw.close()
    # resized while it runs
    made = low.exec_create(container.id, "sh -c 'sleep 0.5; stty size'", tty=True)
    threading.Timer(0.2, low.exec_resize, (made["Id"],), {"height": 31, "width": 91}).start()
    assert low.exec_start(made["Id"], tty=True) == b"31 91\r\n"


@step
def attach():
    container = client.containers.create("busybox", "cat", stdin_open=True)
    raw = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})._sock
    container.start()
    raw.sendall(b"echoed\n")
    assert raw.recv(8) == b"\x01\0\0\0\0\0\0\x07" and raw.recv(7) == b"echoed\n"
    raw.close()
    container.kill()
    container = client.containers.create("busybox", "echo attached")
    pieces = container.attach(stream=True)
    container.start()
    assert b"".join(pieces) == b"attached\n"
    terminal = client.containers.create("busybox", "tty", tty=True, stdin_open=True)
    pieces = terminal.attach(stream=True)
    terminal.start()
    assert b"".join(pieces) == b"/dev/pts/0\r\n"


@step
def archives():
    container = client.containers.run("busybox", "sleep 300", detach=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("folder/file.txt")
        entry.size, entry.mode, entry.uid = 5, 0o640, 7
        tar.addfile(entry, io.BytesIO(b"bytes"))
    assert container.put_archive("/tmp", packed.getvalue())
    assert container.exec_run("stat -c '%a %u %s' /tmp/folder/file.txt").output == b"640 7 5\n"
    pieces, stat = container.get_archive("/tmp/folder")
    assert stat["name"] == "folder" and stat["linkTarget"] == "", stat
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert tar.getnames() == ["folder", "folder/file.txt"], tar.getnames()
        assert tar.extractfile("folder/file.txt").read() == b"bytes"
    fails(docker.errors.NotFound, container.get_archive, "/no/such/path")
    fails(docker.errors.NotFound, container.put_archive, "/no/such/path", packed.getvalue())
    changes = {change["Path"]: change["Kind"] for change in container.diff()}
    assert changes["/tmp/folder/file.txt"] == 1 and changes["/tmp"] == 0, changes


@step
def exported():
    container = client.containers.run("busybox", "touch /marker", detach=True)
    container.wait()
    with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as tar:
        names = tar.getnames()
        assert "marker" in names and "bin/busybox" in names, names
    image = container.commit(repository="made-by-commit", tag="one", changes=["CMD ls /marker", "ENV A=b"])
    assert client.containers.run("made-by-commit:one", remove=True) == b"/marker\n"
    assert image.attrs["Config"]["Env"][-1] == "A=b", image.attrs
    client.images.remove("made-by-commit:one")


@step
def looking():
    container = client.containers.run("busybox", "sleep 300", detach=True, name="looked-at", labels={"a": "b"})
    top = container.top()
    assert "PID" in top["Titles"] and top["Processes"][0][-1] == "sleep 300", top
    assert container.top(ps_args="-o pid,args")["Titles"] == ["PID", "COMMAND"]
    stats = container.stats(stream=False)
    assert stats["name"] == "/looked-at" and stats["pids_stats"]["current"] == 1, stats
    assert stats["cpu_stats"]["cpu_usage"]["total_usage"] > 0 and stats["precpu_stats"]["system_cpu_usage"] > 0
    assert stats["networks"]["eth0"]["tx_bytes"] >= 0 and stats["memory_stats"]["usage"] > 0
    stream = container.stats(stream=True, decode=True)
    first, second = next(stream), next(stream)
    assert second["precpu_stats"] == first["cpu_stats"]
    assert [found.name for found in client.containers.list(filters={"label": "a=b"})] == ["looked-at"]
    assert client.containers.list(filters={"label": "a=c"}) == []
    assert client.containers.list(filters={"status": "exited"}) == []
    assert client.containers.list(filters={"name": "^/looked-at$"}, sparse=True)[0].status == "running"
    container.rename("seen")
    container.reload()
    assert container.name == "seen"
    container.update(mem_limit="64m", memswap_limit="128m", cpu_shares=77)
    container.reload()
    assert container.attrs["HostConfig"]["Memory"] == 64 << 20 and container.attrs["HostConfig"]["CpuShares"] == 77


@step
def life():
    container = client.containers.run("busybox", "sleep 300", detach=True, stop_signal="SIGKILL")
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.restart(timeout=0)
    container.reload()
    assert container.status == "running"
    container.kill("SIGTERM")
    container.stop(timeout=1)
    container.reload()
    assert container.status == "exited" and container.attrs["State"]["ExitCode"] == 137
    assert container.wait() == {"StatusCode": 137}
    container.start()
    threading.Timer(0.2, container.kill).start()
    assert container.wait(condition="next-exit")["StatusCode"] == 137
    threading.Timer(1, container.remove).start()
    container.wait(condition="removed", timeout=20)
    fails(docker.errors.NotFound, client.containers.get, container.id)
    gone = client.containers.run("busybox", "sleep 1", detach=True, auto_remove=True)
    gone.wait(condition="removed")
    fails(docker.errors.NotFound, gone.reload)


@step
def settings():
    # the engine may see another root than this program does
    root = os.environ.get("ENGINE_ROOT", "")
    with tempfile.TemporaryDirectory(dir=root + "/tmp") as folder:
        folder = folder.removeprefix(root)
        with open(f"{root}{folder}/given", "w") as file:
            file.write("from outside")
        run = lambda command, **options: client.containers.run("busybox", command, remove=True, **options)
        assert run("cat /v/given", volumes={folder: {"bind": "/v", "mode": "ro"}}) == b"from outside"
        fails(docker.errors.ContainerError, run, "touch /v/x", volumes=[f"{folder}:/v:ro"])
        mount = Mount("/m", folder, type="bind", read_only=True)
        assert run("cat /m/given", mounts=[mount]) == b"from outside"
    assert run("sh -c 'touch /kept/x && ls /kept'", volumes={"sdk-volume": {"bind": "/kept", "mode": "rw"}}) == b"x\n"
    assert run("ls /kept", volumes=["sdk-volume:/kept"]) == b"x\n"
    assert b"tmpfs" in run("grep ' /t ' /proc/mounts", tmpfs={"/t": "size=1m"})
    assert run("hostname", hostname="named") == b"named\n"
    assert b"1.2.3.4\tother" in run("cat /etc/hosts", extra_hosts={"other": "1.2.3.4"})
    assert run("cat /etc/resolv.conf", dns=["9.9.9.9"]).count(b"nameserver 9.9.9.9") == 1
    assert run("sh -c 'ulimit -n'", ulimits=[Ulimit(name="nofile", soft=123, hard=456)]) == b"123\n"
    assert run("cat /proc/sys/net/ipv4/ip_forward", sysctls={"net.ipv4.ip_forward": "0"}) == b"0\n"
    assert run("id -G", user="5:6", group_add=["7"]) == b"6 7\n"
    assert run("cat /proc/self/oom_score_adj", oom_score_adj=321) == b"321\n"
    assert run("sh -c 'echo $A'", environment=["A=x"], entrypoint=None) == b"x\n"
    assert run(["-c", "echo $0", "zero"], entrypoint="sh") == b"zero\n"
    assert run("ls /sys/class/net", network_mode="none") == b"lo\n"
    assert b"NoNewPrivs:\t1" in run("grep NoNewPrivs /proc/self/status", security_opt=["no-new-privileges"])
    assert b"CapEff:\t0000000000000000" in run("grep CapEff /proc/self/status", cap_drop=["ALL"])
    assert run("sh -c 'exec ps -o args | head -2 | tail -1'", init=True).startswith(b"/sbin/docker-init")
    assert run("stat -c %F /dev/given", devices=["/dev/null:/dev/given:rwm"]) == b"character special file\n"
    fails(docker.errors.ContainerError, run, "touch /x", read_only=True)


@step
def ports():
    container = client.containers.run(
        "busybox",
        "httpd -f -p 80 -h /bin",
        detach=True,
        ports={"80/tcp": ("127.0.0.1", None), "81/udp": 0},
        log_config=LogConfig(type="json-file", config={"max-size": "1m"}),
    )
    container.reload()
    bound = container.ports["80/tcp"][0]
    assert bound["HostIp"] == "127.0.0.1" and container.ports["81/udp"][0]["HostPort"] != "0", container.ports
    assert low.port(container.id, 80)[0] == bound
    for _ in range(100):
        try:
            with socket.create_connection(("127.0.0.1", int(bound["HostPort"])), timeout=5) as web:
                web.sendall(b"GET /nothing HTTP/1.0\r\n\r\n")
                assert (answer := web.recv(12)).startswith(b"HTTP/1."), answer
                break
        except ConnectionError:
            time.sleep(0.05)
    else:
        raise AssertionError("the published port does not answer")


@step
def health():
    check = Healthcheck(test=["CMD-SHELL", "test -e /tmp/well"], interval=200_000_000, retries=1)
    container = client.containers.run("busybox", "sleep 300", detach=True, healthcheck=check)
    expect = lambda wanted: any(
        (container.reload(), container.health == wanted, time.sleep(0.05))[1] for _ in range(200)
    )
    assert expect("unhealthy"), container.attrs["State"]
    container.exec_run("touch /tmp/well")
    assert expect("healthy"), container.attrs["State"]
    assert container.attrs["State"]["Health"]["Log"][-1]["ExitCode"] == 0


@step
def restarts():
    policy = {"Name": "on-failure", "MaximumRetryCount": 2}
    container = client.containers.run("busybox", "false", detach=True, restart_policy=policy)
    for _ in range(200):
        container.reload()
        if container.status == "exited" and container.attrs["RestartCount"] == 2:
            return
        time.sleep(0.05)
    raise AssertionError(container.attrs)


@step
def events():
    since = time.time() - 0.5
    watch = client.events(decode=True, filters={"type": "container"})
    seen = []
    thread = threading.Thread(target=lambda: [seen.append(event["Action"]) for event in watch], daemon=True)
    thread.start()
    time.sleep(0.3)
    client.containers.run("busybox", "true", remove=True)
    wanted = ["create", "attach", "start", "die", "destroy"]
    for _ in range(100):
        if "destroy" in seen:
            break
        time.sleep(0.05)
    watch.close()
    assert [action for action in seen if action in wanted] in (
        ["create", "start", "die", "destroy"],
        ["create", "attach", "start", "die", "destroy"],
        ["create", "start", "attach", "die", "destroy"],
    ), seen
    past = [event["Action"] for event in client.events(since=since, until=time.time() + 1, decode=True)]
    assert "start" in past and "die" in past, past


@step
def images():
    image = client.images.get("busybox")
    assert image.tag("sdk/renamed", "two") and image.tag("sdk/renamed:three")
    assert "sdk/renamed:two" in client.images.get("sdk/renamed:three").tags
    image.reload()
    packed = b"".join(image.save(named="sdk/renamed:two"))
    client.images.remove("sdk/renamed:two")
    client.images.remove("sdk/renamed:three")
    loaded = client.images.load(packed)
    assert [found.tags for found in loaded] and "sdk/renamed:two" in loaded[0].tags, loaded
    assert loaded[0].id == image.id
    assert image.history()[0]["Tags"], image.history()
    assert client.images.list(filters={"reference": "sdk/renamed"})[0].id == image.id
    assert client.images.list(name="sdk/renamed") and image not in client.images.list(filters={"dangling": True})
    client.images.remove("sdk/renamed:two", force=True)
    fails(docker.errors.ImageNotFound, client.images.get, "sdk/renamed:two")
    fails(docker.errors.ImageNotFound, client.images.remove, "sdk/renamed:two")
    assert client.images.prune(filters={"label": "nobody-has-this"})["SpaceReclaimed"] == 0
    made = low.import_image_from_data(b"".join(client.containers.create("busybox").export()), repository="sdk/made")
    assert "sha256:" in made and client.containers.run("sdk/made", "echo made", remove=True) == b"made\n"
    client.images.remove("sdk/made")


@step
def system():
    assert client.ping() and client.version()["ApiVersion"] >= "1.45"
    info = client.info()
    client.containers.create("busybox")
    assert client.info()["Containers"] == info["Containers"] + 1 and info["OSType"] == "linux"
    usage = client.df()
    assert len(usage["Containers"]) == 1 and usage["Images"][0]["Size"] > 0, usage
    assert client.containers.prune()["ContainersDeleted"]
    assert [network.name for network in client.networks.list(names=["bridge"])] == ["bridge"]
    assert client.networks.get("none").attrs["Driver"] == "null"


low.remove_volume("sdk-volume", force=True)
client.close()
sys.exit(f"failed: {failed}" if failed else 0)
