"""The processes around the stacks: the AWS emulator, Twilio's simulator, and a domain in front of the function URLs."""

import ctypes
import http.client
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

REGION = "us-test-1"
"""Does not exist, so that nothing can depend on the name of a region, and no request can reach AWS."""

START_SECONDS = 60


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def end_with_parent():
    """Kills a child process when this one ends, even after SIGKILL. Only Linux has this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def start(command, log, environment):
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        # Its children are in its process group.
        start_new_session=True,
        preexec_fn=end_with_parent,
        text=True,
    )


def stop(process):
    """Stops a process and its children."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=5)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


class Emulator:
    """MiniStack, with IAM enforced. Functions are child processes of it and inherit its environment."""

    def __init__(self, folder):
        self.log = folder / "emulator.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # It caches unpacked functions here.
        temporary = folder / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        self.process = start(
            [sys.executable, "-m", "ministack"],
            open(self.log, "w", encoding="utf-8"),
            # Nothing else: a variable that the template does not declare must not reach a function.
            {
                "PATH": "/usr/bin:/bin",
                "TMPDIR": str(temporary),
                "HOME": str(temporary),
                "GATEWAY_PORT": str(self.port),
                "BIND_HOST": "127.0.0.1",
                "MINISTACK_REGION": REGION,
                "AWS_ENDPOINT_URL": self.url,
                # Some of the functions' clients read only these.
                "AWS_ENDPOINT_URL_SQS": self.url,
                "AWS_ENDPOINT_URL_S3": self.url,
                "AWS_ENDPOINT_URL_SNS": self.url,
                "AWS_ENDPOINT_URL_SECRETS_MANAGER": self.url,
                "AUTH": "true",
            },
        )
        threading.Thread(target=shutil.copyfileobj, args=(self.process.stdout, sys.stderr), daemon=True).start()
        self.wait()

    def wait(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=5).read()
                return
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None:
                    raise RuntimeError("the emulator has exited") from None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def stop(self):
        stop(self.process)


class Twilio:
    """This project's simulator of Twilio."""

    def __init__(self, binary, folder, account, tokens, api_keys, numbers):
        self.log = folder / "twilio.log"
        options = ["--port", "0", "--account-sid", account]
        for token in tokens:
            options += ["--auth-token", token]
        for api_key in api_keys:
            options += ["--api-key", api_key]
        for number, webhook in numbers.items():
            options += ["--number", f"{number}={webhook}" if webhook else number]
        self.process = start([str(binary), *options], open(self.log, "w", encoding="utf-8"), {"PATH": "/usr/bin:/bin"})
        self.url = self.process.stdout.readline().strip().rstrip("/")
        if not self.url:
            raise RuntimeError("the simulator of Twilio did not start")

    def stop(self):
        stop(self.process)


class Domain:
    """A domain in front of the function URLs, which selects the function by path. Stands for a customer's own domain.

    The emulator finds the function by the `Host` header.
    """

    def __init__(self, emulator):
        self.hosts = {}
        hosts = self.hosts
        emulator_port = emulator.port

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                connection = http.client.HTTPConnection("127.0.0.1", emulator_port, timeout=30)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                headers["Host"] = hosts.get(self.path.split("?")[0], "unknown")
                connection.request("POST", self.path, body, headers)
                response = connection.getresponse()
                content = response.read()
                self.send_response(response.status)
                self.send_header("content-type", response.getheader("content-type", "text/plain"))
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                connection.close()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def route(self, path, url):
        """Sends requests for a path to a function URL."""
        self.hosts[path] = url.removeprefix("https://").split("/")[0]

    def stop(self):
        self.server.shutdown()
