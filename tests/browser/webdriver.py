"""A browser for tests: the few WebDriver commands they need, without a dependency."""

import base64
import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
START_TIMEOUT = 30.0
WAIT_TIMEOUT = 20.0

# The driver is on this machine: no proxy of the environment stands between.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Browser:
    """Headless chromium behind a chromedriver of its own."""

    def __init__(
        self, browser: str, driver: str, *, profile: Path, width: int, height: int
    ) -> None:
        self.process = subprocess.Popen(
            [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.url = f"http://127.0.0.1:{self._port()}"
        self.session = ""
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND",  # no page may use the network
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
        ]
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": browser, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = self._call(
            "POST", "/session", {"capabilities": {"alwaysMatch": capabilities}}
        )
        self.session = f"/session/{made['sessionId']}"

    def close(self) -> None:
        if self.session:
            self._call("DELETE", self.session)
        self.process.terminate()
        self.process.wait(timeout=10)
        self.process.stdout.close()

    def open(self, path: Path, fragment: str = "") -> None:
        """Open a page from disk, perhaps with what stands behind its address."""
        self.path = path
        self._call("POST", f"{self.session}/url", {"url": path.as_uri() + fragment})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript; elements may be passed and returned."""
        body = {"script": script, "args": list(arguments)}
        return self._call("POST", f"{self.session}/execute/sync", body)

    def run_async(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript that calls its last argument with the result."""
        body = {"script": script, "args": list(arguments)}
        return self._call("POST", f"{self.session}/execute/async", body)

    def wait(self, script: str, expected: Any, *arguments: Any) -> None:
        """Wait until a script gives what is expected; the browser sends events late."""
        deadline = time.monotonic() + WAIT_TIMEOUT
        while (found := self.run(script, *arguments)) != expected:
            if time.monotonic() > deadline:
                raise AssertionError(f"{script}: {found!r}; expected {expected!r}")
            time.sleep(0.02)

    def find(self, selector: str) -> list[dict[str, str]]:
        body = {"using": "css selector", "value": selector}
        return self._call("POST", f"{self.session}/elements", body)

    def click(self, element: dict[str, str]) -> None:
        """Click as a person does: scroll there, and fail if something covers it."""
        self._call("POST", f"{self.session}/element/{element[ELEMENT]}/click", {})

    def type(self, element: dict[str, str], text: str) -> None:
        name = element[ELEMENT]
        self._call("POST", f"{self.session}/element/{name}/value", {"text": text})

    def hover(self, element: dict[str, str]) -> None:
        """Put the mouse on the middle of an element."""
        move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": element}
        mouse = {"type": "pointer", "id": "mouse", "actions": [move]}
        self._call("POST", f"{self.session}/actions", {"actions": [mouse]})

    def allow_clipboard(self) -> None:
        """Let pages read what they have copied; they may write without asking."""
        for name in ("clipboard-read", "clipboard-write"):
            body = {"descriptor": {"name": name}, "state": "granted"}
            self._call("POST", f"{self.session}/permissions", body)

    def console(self) -> list[dict[str, Any]]:
        """What the page has said since the last call, errors and warnings included."""
        return self._call("POST", f"{self.session}/se/log", {"type": "browser"})

    def resize(self, width: int, height: int) -> None:
        body = {
            "cmd": "Emulation.setDeviceMetricsOverride",
            "params": {
                "width": width,
                "height": height,
                "deviceScaleFactor": 1,
                "mobile": False,
            },
        }
        self._call("POST", f"{self.session}/goog/cdp/execute", body)

    def dark(self, *, is_dark: bool) -> None:
        feature = {
            "name": "prefers-color-scheme",
            "value": "dark" if is_dark else "light",
        }
        body = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": [feature]}}
        self._call("POST", f"{self.session}/goog/cdp/execute", body)

    def screenshot(self, path: Path) -> None:
        data = self._call("GET", f"{self.session}/screenshot")
        path.write_bytes(base64.b64decode(data))

    def _port(self) -> int:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            line = self.process.stdout.readline().decode()
            if "successfully on port" in line:
                return int(line.rsplit(maxsplit=1)[-1].rstrip("."))
        raise RuntimeError("chromedriver did not name its port")

    def _call(self, method: str, path: str, body: dict | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with _DIRECT.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(error.read().decode()) from None
