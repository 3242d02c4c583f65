"""A Django REST API whose users log in with djangorestframework-simplejwt, whole in one file.

python game_site.py migrate && python game_site.py runserver 8002
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

import django
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.conf import settings
from django.core.management import execute_from_command_line
from django.urls import path

if "JWT_PRIVATE_KEY" in os.environ:
    # The pair: the API alone signs, and muster holds nothing that is secret.
    private = load_pem_private_key(Path(os.environ["JWT_PRIVATE_KEY"]).read_bytes(), password=None)
    signing = {"ALGORITHM": "RS256", "SIGNING_KEY": private, "VERIFYING_KEY": private.public_key()}
else:
    # The default of simplejwt: one secret, which muster needs too.
    signing = {"ALGORITHM": "HS256", "SIGNING_KEY": os.environ["JWT_SECRET"]}

settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
    },
    SIMPLE_JWT={
        "ACCESS_TOKEN_LIFETIME": timedelta(minutes=5),
        "REFRESH_TOKEN_LIFETIME": timedelta(minutes=45),
        **signing,
    },
)
django.setup()

from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView  # noqa: E402

urlpatterns = [
    path("api/token/", TokenObtainPairView.as_view()),
    path("api/token/refresh/", TokenRefreshView.as_view()),
]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
