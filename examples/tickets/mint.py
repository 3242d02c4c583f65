"""Prints a ticket for muster: python3 mint.py PRIVATE_KEY.pem PLAYER

Needs PyJWT with its crypto extra: pip install "PyJWT[crypto]"
"""

import sys
import time
import uuid

import jwt

key_file, player = sys.argv[1:3]
with open(key_file) as file:
    key = file.read()

now = int(time.time())
claims = {
    "iss": "muster",  # who signs: the server's ticket.issuer
    "aud": "muster",  # who it is for: the server's ticket.audience
    "sub": player,  # the player's stable id, 1 to 64 bytes
    "name": player.title(),  # what other players see
    "jti": uuid.uuid4().hex,  # new for each ticket: a ticket is good once
    "iat": now,
    "exp": now + 60,  # at most 120 s after iat
}
print(jwt.encode(claims, key, algorithm="EdDSA", headers={"typ": "muster-ticket+jwt"}))
