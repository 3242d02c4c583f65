"""Starts backends, musters and players as processes, and ends them all, whatever happens."""

import atexit
import base64
import json
import os
import re
import secrets
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
READY_WITHIN = 60
PLAYING_WITHIN = 30

_scratch = tempfile.TemporaryDirectory(prefix="muster-interop-")
WORK = Path(_scratch.name)
_running = []


def fail(why):
    raise SystemExit(f"interop: {why}")


@atexit.register
def _end_all():
    for process in _running:
        process.terminate()
    for process in _running:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _scratch.cleanup()


signal.signal(signal.SIGTERM, lambda *_: fail("ended by SIGTERM"))


class Service:
    """A process that says where it listens; `log` is all it ever wrote."""

    def __init__(self, command, folder, environment=None, says=r"(http://127\.0\.0\.1:\d+)"):
        self.log = ""
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env=clean_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        _running.append(self.process)
        threading.Thread(target=self._read, daemon=True).start()
        self.url = self.await_line(says).group(1)

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.log += line
                self._changed.notify_all()
        with self._changed:
            self.log += "(it has ended)\n"
            self._changed.notify_all()

    def await_line(self, pattern):
        found = lambda: re.search(pattern, self.log) or self.log.endswith("(it has ended)\n")  # noqa: E731
        with self._changed:
            self._changed.wait_for(found, READY_WITHIN)
            match = re.search(pattern, self.log)
        return match or fail(f"no line like {pattern!r} within {READY_WITHIN} s:\n{self.log}")


class Muster(Service):
    """A muster with the `muster.toml` of a backend, whose addresses are replaced by the true ones."""

    def __init__(self, binary, kind, folder, addresses):
        self.binary = binary
        text = (HERE / kind / "muster.toml").read_text()
        for written, true in addresses.items():
            text = text.replace(written, true)
        (folder / "muster.toml").write_text(text)
        run([binary, "cert", "generate", "--out", folder / "cert"], folder)
        command = [binary, "serve", "--config", "muster.toml", "--listen", "127.0.0.1:0", "--log-level", "trace"]
        super().__init__(command, folder, says=r"serves on (127\.0\.0\.1:\d+),")
        self.address = self.url
        self.hash = self.await_line(r"certificate +sha-256 ([0-9a-f]{64})").group(1)

    def play(self, transport, ticket=None, headers=()):
        """What became of a player of the Rust client: its id, or the refusal as `CODE slug`."""
        command = [self.binary, "play", "--url", f"muster://{self.address}", "--certificate-hash", self.hash]
        command += ["--transport", transport, "--seconds", str(PLAYING_WITHIN), "--json"]
        command += [flag for header in headers for flag in ("--header", header)]
        variables = {"MUSTER_TICKET": ticket} if ticket else {}
        with subprocess.Popen(
            list(map(str, command)),
            env=clean_environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as player:
            summary = {}
            for line in player.stdout:
                summary = json.loads(line)
                # The session's state has come: what was to be shown is shown.
                if summary.get("tick", 0) > 0:
                    player.send_signal(signal.SIGINT)
            said = player.stderr.read()
        refused = re.search(r"the server said ([a-z-]+) \((\d+)\)", said)
        if refused:
            return f"{refused[2]} {refused[1]}"
        if player.returncode != 0:
            return f"exit code {player.returncode}: {said.strip()}"
        return summary["player"] if summary["snapshots"] > 0 else f"no snapshot in {PLAYING_WITHIN} s"

    def stop(self):
        """Everything it logged, once it has stopped as it should."""
        self.process.send_signal(signal.SIGTERM)
        self.await_line(r"\(it has ended\)")
        if self.process.wait() != 0:
            fail(f"muster ended with {self.process.returncode}:\n{self.log}")
        return self.log


def folder(name):
    """An empty folder for one backend and its muster."""
    path = WORK / name
    path.mkdir()
    return path


def run(command, cwd, environment=None):
    """The output of a command that must succeed."""
    command = list(map(str, command))
    done = subprocess.run(command, cwd=cwd, env=clean_environment(environment), capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"{' '.join(command[:4])} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def clean_environment(more=None):
    """Nothing of muster's or Python's own settings reaches the processes unless a test says so."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MUSTER", "PYTHON"))}
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"} | (more or {})


def shared_secret(file):
    """A new secret as the text that Python backends are configured with; muster reads it from `file`, as a JWK."""
    secret = secrets.token_urlsafe(32)
    k = base64.urlsafe_b64encode(secret.encode()).rstrip(b"=").decode()
    file.write_text(json.dumps({"kty": "oct", "alg": "HS256", "k": k}))
    return secret
