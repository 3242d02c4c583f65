"""The players of four kinds of backend log in, and play: over WebSocket, over WebTransport, and as their pages do.

run.sh calls it. Each backend is a real one, on a port of its own, with a muster of its own, whose settings are the
`muster.toml` beside it.
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path

from browser import Browser, open_websocket
from processes import HERE, Muster, Service, fail, folder, run, shared_secret

TRANSPORTS = ("websocket", "webtransport")
PYTHON = sys.executable
secrets_seen = []
checks = 0


def expect(what, got, wanted):
    """Ends the test when they differ."""
    global checks
    checks += 1
    if got != wanted:
        fail(f"{what}: {got!r} instead of {wanted!r}")


def seen(secret):
    """Notes a ticket, token or cookie that no log may hold."""
    secrets_seen.append(secret)
    return secret


def expect_on_both(what, muster, wanted, **how):
    for transport in TRANSPORTS:
        expect(f"{what} over {transport}", muster.play(transport, **how), wanted)


def expect_link(what, opened, subprotocol, player):
    """A WebSocket of a page is open, with this subprotocol, and Welcome names the player."""
    expect(f"{what}: a Welcome", isinstance(opened, tuple) or opened, True)
    expect(f"{what}: the subprotocol", opened[0], subprotocol)
    expect(f"{what}: the player", player.encode() in opened[1], True)


def expect_no_secret(name, muster):
    """The server stops, and its whole log, at the level `trace`, tells of refusals and holds no secret."""
    log = muster.stop()
    expect(f"{name}: refusals in the log", "slug=\"bad-ticket\"" in log, True)
    for secret in secrets_seen:
        expect(f"{name}: no ticket, token or cookie in the log", secret in log, False)


def django_session(binary, node):
    """Session cookies: muster asks the site whose a cookie is."""
    home = folder("django_session")
    site_file = HERE / "django_session" / "game_site.py"
    variables = {"SECRET_KEY": "0" * 50, "DATABASE": str(home / "db.sqlite3"), "TICKET_KEY": str(home / "ticket.pem")}
    manage = lambda *verb: run([PYTHON, site_file, *verb], home, variables)  # noqa: E731
    manage("migrate", "--verbosity", "0")
    manage("shell", "--verbosity", "0", "-c", ADD_DJANGO_USERS)
    run([binary, "key", "generate", "--out", home / "ticket.pem"], home)
    site = Service([PYTHON, site_file, "runserver", "127.0.0.1:0", "--noreload"], home, variables)
    muster = Muster(binary, "django_session", home, {"http://127.0.0.1:8001": site.url})

    def log_in(name, password):
        browser = Browser()
        login = f"{site.url}/login/"
        status, page = browser.post_with_csrf(login, login, {"username": name, "password": password})
        expect(f"{name} logs in with Django", (status, page), (200, f"Hello, {name}"))
        seen(browser.cookie("sessionid"))
        return browser

    ada, bob = log_in("ada", "correct horse"), log_in("bob", "battery staple")
    cookie = lambda browser: f"Cookie: csrftoken=x; sessionid={browser.cookie('sessionid')}"  # noqa: E731
    expect_on_both("a session cookie", muster, "django:1", headers=[cookie(ada)])
    page = {"subprotocols": ["muster.1"], "origin": site.url}
    held = {"Cookie": f"sessionid={ada.cookie('sessionid')}"}
    expect_link("the site's page", open_websocket(muster.address, headers=held, **page), "muster.1", "django:1")

    # A page that is not listed has the player's cookie too: a browser sends it along.
    other = open_websocket(muster.address, headers=held, subprotocols=["muster.1"], origin="http://evil.example")
    expect("the cookie from another page", other, "HTTP 403 forbidden")
    from_there = muster.play("webtransport", headers=[cookie(ada), "Origin: http://evil.example"])
    expect("the same over webtransport", "turned the WebTransport request away" in from_there, True)
    unknown = seen("0123456789abcdefghijklmnopqrstuv")
    expect_on_both("a cookie of nobody", muster, "4401 bad-ticket", headers=[f"Cookie: sessionid={unknown}"])

    # What a page does for WebTransport, whose requests never carry cookies.
    for transport in TRANSPORTS:
        status, ticket = ada.post_with_csrf(f"{site.url}/login/", f"{site.url}/muster/ticket")
        expect("the site mints a ticket", status, 200)
        expect(f"a ticket over {transport}", muster.play(transport, ticket=seen(ticket)), "django:1")
        expect(f"the same over {transport}", muster.play(transport, ticket=ticket), "4409 ticket-used")
    expect("no ticket without a login", Browser().post(f"{site.url}/muster/ticket")[0], 403)

    def page_of(browser):
        cookies = {"COOKIES": cookie(browser).removeprefix("Cookie: ").replace("=x", f"={browser.cookie('csrftoken')}")}
        return run(["node", node / "in_node.mjs", site.url, f"http://{muster.address}"], home, cookies).strip()

    expect("the page with muster's client", page_of(ada), "django:1")
    ended = cookie(ada)
    ada.post_with_csrf(f"{site.url}/login/", f"{site.url}/logout/")
    expect_on_both("a cookie after the logout", muster, "4401 bad-ticket", headers=[ended])
    told = open_websocket(muster.address, headers=held, **page)
    expect("the page of somebody who has logged out", told, "4401 bad-ticket")
    expect("the same with muster's client", page_of(ada), "0 no-ticket")

    expect_on_both("the other player", muster, "django:2", headers=[cookie(bob)])
    manage("shell", "--verbosity", "0", "-c", DISABLE_BOB)
    expect_on_both("a disabled user", muster, "4403 forbidden", headers=[cookie(bob)])
    told = open_websocket(muster.address, headers={"Cookie": cookie(bob).removeprefix("Cookie: ")}, **page)
    expect("the page of a disabled user", told, "4403 forbidden")
    expect_no_secret("django_session", muster)


def django_simplejwt(binary, _):
    """Access tokens of simplejwt, signed with a shared secret and with a private key."""
    home = folder("django_simplejwt")
    site_file = HERE / "django_simplejwt" / "game_site.py"
    run([binary, "key", "generate", "--alg", "RS256", "--out", home / "site.pem"], home)
    common = {"SECRET_KEY": "0" * 50, "DATABASE": str(home / "db.sqlite3")}
    hs256 = {**common, "JWT_SECRET": seen(shared_secret(home / "secret.jwk"))}
    rs256 = {**common, "JWT_PRIVATE_KEY": str(home / "site.pem")}
    run([PYTHON, site_file, "migrate", "--verbosity", "0"], home, hs256)
    shell = lambda code, env: run([PYTHON, site_file, "shell", "--verbosity", "0", "-c", code], home, env)  # noqa: E731
    shell(ADD_DJANGO_USERS, hs256)
    serve = [PYTHON, site_file, "runserver", "127.0.0.1:0", "--noreload"]
    site, other_site = Service(serve, home, hs256), Service(serve, home, rs256)
    muster = Muster(binary, "django_simplejwt", home, {"http://127.0.0.1:8002": site.url})

    def log_in(at, name="ada", password="correct horse"):
        status, answer = Browser().post(f"{at.url}/api/token/", body={"username": name, "password": password})
        expect(f"{name} obtains a pair", status, 200)
        pair = json.loads(answer)
        return seen(pair["access"]), seen(pair["refresh"])

    access, refresh = log_in(site)
    expect_on_both("an access token", muster, "django:1", ticket=access)
    page = {"origin": site.url}
    by_query = lambda token: f"/v1/play?token={token}&join=quick:arena"  # noqa: E731
    expect_link("?token=", open_websocket(muster.address, by_query(access), **page), None, "django:1")
    pair = open_websocket(muster.address, subprotocols=["bearer", access], **page)
    expect_link("bearer and the token", pair, "bearer", "django:1")
    expect_on_both("the other signature", muster, "rs256:1", ticket=log_in(other_site)[0])

    # It lasts no longer than muster allows, so that what it is for is all that tells it apart.
    expect_on_both("a refresh token", muster, "4401 bad-ticket", ticket=refresh)
    status, renewed = Browser().post(f"{site.url}/api/token/refresh/", body={"refresh": refresh})
    expect("a refreshed access token", status, 200)
    expect("it plays", muster.play("websocket", ticket=seen(json.loads(renewed)["access"])), "django:1")
    expired = seen(shell(SIMPLEJWT_EXPIRED, hs256).strip())
    expect_on_both("an expired token", muster, "4401 ticket-expired", ticket=expired)
    expect("it by ?token=", open_websocket(muster.address, by_query(expired), **page), "HTTP 401 ticket-expired")
    forged = seen(shell(SIMPLEJWT_ACCESS, {**common, "JWT_SECRET": "another secret of at least 32 bytes"}).strip())
    expect_on_both("a token of another secret", muster, "4401 bad-ticket", ticket=forged)
    shell(DISABLE_BOB, hs256)
    status, _ = Browser().post(f"{site.url}/api/token/", body={"username": "bob", "password": "battery staple"})
    expect("a disabled user gets no token", status, 401)
    expect_no_secret("django_simplejwt", muster)


def fastapi(binary, kind, home, variables, port, player):
    """What the two FastAPI services have in common: logins, carriers, and who is refused."""
    app_folder = HERE / kind
    service = Service([PYTHON, "-m", "uvicorn", "service:app", "--port", "0", "--app-dir", app_folder], home, variables)
    muster = Muster(binary, kind, home, {f"http://127.0.0.1:{port}": service.url})
    log_in = lambda name, password: Browser().post(  # noqa: E731
        f"{service.url}/token", {"username": name, "password": password}
    )
    status, answer = log_in("ada", "correct horse")
    expect("ada obtains a token", status, 200)
    token = seen(json.loads(answer)["access_token"])
    expect_on_both("a token", muster, player, ticket=token)
    by_header = open_websocket(muster.address, headers={"Authorization": f"Bearer {token}"})
    expect_link("the header", by_header, None, player)
    pair = open_websocket(muster.address, subprotocols=["bearer", token], origin=service.url)
    expect_link("bearer and the token", pair, "bearer", player)

    issue = lambda call: seen(  # noqa: E731
        run([PYTHON, "-c", f"from service import issue; print(issue({call}))"], app_folder, variables).strip()
    )
    expect_on_both("an expired token", muster, "4401 ticket-expired", ticket=issue("'ada', seconds=-30"))
    elsewhere = issue("'ada', audience='shop'")
    expect_on_both("a token for another audience", muster, "4401 bad-ticket", ticket=elsewhere)
    refused = open_websocket(muster.address, subprotocols=["bearer", elsewhere], origin=service.url)
    expect("it by the subprotocol", refused, "4401 bad-ticket")
    expect("a disabled user gets no token", log_in("mallory", "battery staple")[0], 403)
    expect("nor does a wrong password", log_in("ada", "wrong horse")[0], 401)
    expect_no_secret(kind, muster)


def fastapi_pyjwt(binary, _):
    """EdDSA tokens of PyJWT."""
    home = folder("fastapi_pyjwt")
    run([binary, "key", "generate", "--alg", "EdDSA", "--out", home / "accounts.pem"], home)
    fastapi(binary, "fastapi_pyjwt", home, {"SIGNING_KEY": str(home / "accounts.pem")}, 8003, "ada")


def fastapi_jose(binary, _):
    """HS256 tokens of python-jose, with the player in a nested claim."""
    home = folder("fastapi_jose")
    secret = seen(shared_secret(home / "secret.jwk"))
    fastapi(binary, "fastapi_jose", home, {"JWT_SECRET": secret}, 8004, "acct:7")


def node_oidc(binary, node):
    """Access tokens of an identity provider, whose keys muster fetches."""
    home = folder("node_oidc")
    provider = Service(["node", node / "provider.mjs", "0"], home)
    muster = Muster(binary, "node_oidc", home, {"http://127.0.0.1:8005": provider.url})

    def log_in(**form):
        whole = {"username": "ada", "password": "correct horse", "client_id": "game", **form}
        status, answer = Browser().post(f"{provider.url}/token", whole)
        expect("ada obtains tokens", status, 200)
        tokens = json.loads(answer)
        return seen(tokens["access_token"]), seen(tokens["id_token"])

    short, ends = log_in(client_id="kiosk")[0], time.monotonic() + KIOSK_SECONDS + LEEWAY
    access, id_token = log_in()
    expect_on_both("an access token", muster, "u-1815", ticket=access)
    pair = open_websocket(muster.address, subprotocols=["bearer", access], origin=provider.url)
    expect_link("bearer and the token", pair, "bearer", "u-1815")
    expect_on_both("a token for another audience", muster, "4401 bad-ticket", ticket=log_in(resource="shop")[0])
    # Its audience is right, since the client is called as the game is.
    expect_on_both("an ID token", muster, "4401 bad-ticket", ticket=id_token)
    expect("a disabled user gets no token", Browser().post(f"{provider.url}/token", DISABLED)[0], 400)

    provider.process.send_signal(signal.SIGHUP)
    provider.await_line("signs with a new key")
    rotated = log_in()[0]
    deadline = time.monotonic() + JWKS_PAUSE + 5
    while (outcome := muster.play("websocket", ticket=rotated)) == "4401 bad-ticket" and time.monotonic() < deadline:
        pass  # muster asks for unknown keys once in so many seconds
    expect("a token of the new key", outcome, "u-1815")
    expect("it over webtransport", muster.play("webtransport", ticket=rotated), "u-1815")
    expect("a token of the old key, which is still published", muster.play("websocket", ticket=access), "u-1815")

    time.sleep(max(0, ends + 1 - time.monotonic()))
    expect_on_both("an expired token", muster, "4401 ticket-expired", ticket=short)
    expect_no_secret("node_oidc", muster)


ADD_DJANGO_USERS = """
from django.contrib.auth import get_user_model
get_user_model().objects.create_user("ada", password="correct horse")
get_user_model().objects.create_user("bob", password="battery staple")
"""
DISABLE_BOB = """
from django.contrib.auth import get_user_model
get_user_model().objects.filter(username="bob").update(is_active=False)
"""
SIMPLEJWT_ACCESS = """
from django.contrib.auth import get_user_model
from rest_framework_simplejwt.tokens import AccessToken
token = AccessToken.for_user(get_user_model().objects.get(username="ada"))
print(token)
"""
SIMPLEJWT_EXPIRED = SIMPLEJWT_ACCESS.replace(
    "print",
    """
from datetime import timedelta
token.set_exp(lifetime=timedelta(seconds=-30))
print""",
)
DISABLED = {"username": "mallory", "password": "battery staple", "client_id": "game"}
# What a kiosk's tokens are good for (node_oidc/provider.mjs), and muster's defaults: tickets.leeway, outbound.jwks_pause.
KIOSK_SECONDS = 1
LEEWAY = 5
JWKS_PAUSE = 10

KINDS = [django_session, django_simplejwt, fastapi_pyjwt, fastapi_jose, node_oidc]


def main():
    global checks
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--muster", required=True, type=Path, help="the binary")
    parser.add_argument("--node", required=True, type=Path, help="the folder with Node's programs and modules")
    parser.add_argument("only", nargs="*", help="kinds of backend; all if none is named")
    flags = parser.parse_args()
    for kind in KINDS:
        if not flags.only or kind.__name__ in flags.only:
            began, checks = time.monotonic(), 0
            kind(flags.muster.resolve(), flags.node.resolve())
            print(f"{kind.__name__}: {checks} checks in {time.monotonic() - began:.1f} s", flush=True)


main()
