"""What a browser's page does: logs in over HTTP with cookies, and opens WebSockets with the carriers that pages have."""

import http.cookiejar
import json
import re
import urllib.error
import urllib.parse
import urllib.request

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


class Browser:
    """One visitor with its cookies."""

    def __init__(self):
        self.jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def cookie(self, name):
        return next((cookie.value for cookie in self.jar if cookie.name == name), None)

    def get(self, url):
        """Status and body."""
        return self._open(urllib.request.Request(url))

    def post(self, url, form=None, body=None, headers=None):
        """Status and body. A form goes as forms do, a body as JSON."""
        data = urllib.parse.urlencode(form or {}).encode() if body is None else json.dumps(body).encode()
        kind = "application/x-www-form-urlencoded" if body is None else "application/json"
        return self._open(urllib.request.Request(url, data, {"Content-Type": kind, **(headers or {})}))

    def post_with_csrf(self, page, url, form=None):
        """Posts with the token that the form of `page` holds, as Django wants it."""
        _, text = self.get(page)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', text)
        return self.post(url, {**(form or {}), "csrfmiddlewaretoken": token[1] if token else ""})

    def _open(self, request):
        try:
            with self._opener.open(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def open_websocket(address, path="/v1/play?join=quick:arena", subprotocols=None, headers=None, origin=None):
    """Opens a link and returns the subprotocol chosen and the first message; or `HTTP STATUS slug`, or `CODE slug`."""
    try:
        link = connect(
            f"ws://{address}{path}",
            subprotocols=subprotocols,
            additional_headers=headers or {},
            origin=origin,
            compression=None,
            open_timeout=10,
        )
    except InvalidStatus as refusal:
        problem = json.loads(refusal.response.body or b"{}")
        return f"HTTP {refusal.response.status_code} {problem.get('detail') or problem.get('type')}"
    with link:
        try:
            first = link.recv(timeout=10)
            if first[0] == WELCOME:
                return link.subprotocol, first
            link.recv(timeout=10)
        except ConnectionClosed as closed:
            if closed.rcvd:
                return f"{closed.rcvd.code} {closed.rcvd.reason}"
        return "closed without a word"


WELCOME = 0
