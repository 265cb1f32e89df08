"""A shell in which the snippets of a page run one after the other, as if an operator typed them."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

LIMIT_SECONDS = 120
"""How long a snippet may take."""

PRELUDE = r"""
set -uE -o pipefail
trap 'failures="${failures:-}line $LINENO: $BASH_COMMAND; "' ERR

# The emulator serves the API under a path of its own, and the pages expect that a call succeeds.
curl() {
    local arguments=() argument
    for argument in "$@"; do
        if [[ $argument =~ ^https://([a-z0-9]+)\.execute-api\.[^/]*(/.*)?$ ]]; then
            argument="$AWS_ENDPOINT_URL/_aws/execute-api/${BASH_REMATCH[1]}${BASH_REMATCH[2]:-}"
        fi
        arguments+=("$argument")
    done
    # Also to the error output: a snippet may keep the response in a variable.
    command curl --fail-with-body --max-time 60 "${arguments[@]}" | tee -a /dev/stderr
}
"""


class Shell:
    """Variables and functions of a snippet are known in the next ones."""

    def __init__(self, folder, environment):
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            ["bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.run(PRELUDE)

    def run(self, text):
        """Runs a snippet. Returns its output and the commands that failed."""
        script, done = self.folder / "snippet", self.folder / "done"
        script.write_text(text + "\n")
        done.unlink(missing_ok=True)
        begin = os.fstat(self.output.fileno()).st_size
        line = f'failures=; source {script} </dev/null; printf %s "$failures" >{done}.new; mv {done}.new {done}\n'
        failures = self.wait(line, done)
        return os.pread(self.output.fileno(), 1 << 20, begin).decode(errors="replace"), failures

    def wait(self, line, done):
        deadline = time.monotonic() + LIMIT_SECONDS
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return "an earlier snippet has ended the shell"
        while not done.exists():
            # An unknown variable ends it.
            if self.process.poll() is not None:
                return "the shell has exited"
            if time.monotonic() > deadline:
                return f"not finished within {LIMIT_SECONDS} s"
            time.sleep(0.01)
        return done.read_text()

    def stop(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        shutil.rmtree(self.folder)
