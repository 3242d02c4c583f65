"""A FastAPI service that signs its users' tokens with python-jose and a shared secret.

uvicorn service:app --port 8004
"""

import hashlib
import os
import secrets
from datetime import datetime, timedelta, timezone
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordRequestForm
from jose import jwt

app = FastAPI()
SECRET_KEY = os.environ["JWT_SECRET"]
SALT = secrets.token_bytes(16)


def scrambled(password: str) -> bytes:
    return hashlib.scrypt(password.encode(), salt=SALT, n=2**14, r=8, p=1)


USERS = {
    "ada": {"id": 7, "password": scrambled("correct horse"), "disabled": False},
    "mallory": {"id": 8, "password": scrambled("battery staple"), "disabled": True},
}


def issue(player: str, audience: str = "game", seconds: int = 300) -> str:
    expires = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    account = {"id": USERS[player]["id"], "nick": player.title()}
    claims = {"sub": player, "aud": audience, "exp": expires, "account": account}
    return jwt.encode(claims, SECRET_KEY, algorithm="HS256")


@app.post("/token")
def token(form: Annotated[OAuth2PasswordRequestForm, Depends()]):
    user = USERS.get(form.username)
    if user is None or not secrets.compare_digest(user["password"], scrambled(form.password)):
        raise HTTPException(status_code=401, detail="wrong name or password")
    if user["disabled"]:
        raise HTTPException(status_code=403, detail="this account is disabled")
    return {"access_token": issue(form.username), "token_type": "bearer"}
