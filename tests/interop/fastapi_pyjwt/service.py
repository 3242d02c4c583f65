"""A FastAPI service that signs its users' tokens with PyJWT and an Ed25519 key.

uvicorn service:app --port 8003
"""

import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordRequestForm

app = FastAPI()
SIGNING_KEY = Path(os.environ["SIGNING_KEY"]).read_text()
SALT = secrets.token_bytes(16)


def scrambled(password: str) -> bytes:
    return hashlib.scrypt(password.encode(), salt=SALT, n=2**14, r=8, p=1)


USERS = {
    "ada": {"name": "Ada", "password": scrambled("correct horse"), "disabled": False},
    "mallory": {"name": "Mallory", "password": scrambled("battery staple"), "disabled": True},
}


def issue(player: str, audience: str = "game", seconds: int = 300) -> str:
    now = int(time.time())
    claims = {"iss": "https://accounts.example", "aud": audience, "sub": player, "name": USERS[player]["name"]}
    return jwt.encode(claims | {"iat": now, "exp": now + seconds}, SIGNING_KEY, algorithm="EdDSA")


@app.post("/token")
def token(form: Annotated[OAuth2PasswordRequestForm, Depends()]):
    user = USERS.get(form.username)
    if user is None or not secrets.compare_digest(user["password"], scrambled(form.password)):
        raise HTTPException(status_code=401, detail="wrong name or password")
    if user["disabled"]:
        raise HTTPException(status_code=403, detail="this account is disabled")
    return {"access_token": issue(form.username), "token_type": "bearer"}
