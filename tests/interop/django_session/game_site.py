"""A Django site with accounts and sessions, whole in one file, that tells muster who its visitors are.

python game_site.py migrate && python game_site.py runserver 8001
"""

import os
import sys
import time
import uuid
from pathlib import Path

import django
import jwt
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse, JsonResponse
from django.urls import path

LOGIN_PAGE = """<form method="post">{% csrf_token %}{{ form.as_p }}<button>Log in</button></form>"""

settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [("django.template.loaders.locmem.Loader", {"registration/login.html": LOGIN_PAGE})],
            },
        }
    ],
    LOGIN_URL="/login/",
    LOGIN_REDIRECT_URL="/play/",
    LOGOUT_REDIRECT_URL="/login/",
)
django.setup()

from django.contrib.auth import SESSION_KEY, get_user_model  # noqa: E402
from django.contrib.auth.decorators import login_required  # noqa: E402
from django.contrib.auth.views import LoginView, LogoutView  # noqa: E402
from django.views.decorators.http import require_POST  # noqa: E402


# Asked by muster for each new link, with the cookies of the player's own request.
def who_plays(request):
    if request.user.is_authenticated:
        return JsonResponse({"sub": f"django:{request.user.pk}", "name": request.user.get_username()})
    # Django forgets a disabled user's login; whoever holds the session may be told why.
    stored = request.session.get(SESSION_KEY)
    disabled = stored and get_user_model().objects.filter(pk=stored, is_active=False).exists()
    return JsonResponse({}, status=403 if disabled else 401)


# Fetched by the page for a WebTransport link, which carries no cookies.
@login_required
@require_POST
def game_ticket(request):
    now = int(time.time())
    claims = {"iss": "muster", "aud": "muster", "sub": f"django:{request.user.pk}", "jti": uuid.uuid4().hex}
    claims |= {"name": request.user.get_username(), "iat": now, "exp": now + 60}
    key = Path(os.environ["TICKET_KEY"]).read_text()
    ticket = jwt.encode(claims, key, algorithm="EdDSA", headers={"typ": "muster-ticket+jwt"})
    return HttpResponse(ticket, content_type="text/plain")


urlpatterns = [
    path("login/", LoginView.as_view()),
    path("logout/", LogoutView.as_view()),
    path("play/", login_required(lambda request: HttpResponse("Hello, " + request.user.get_username()))),
    path("muster/auth", who_plays),
    path("muster/ticket", game_ticket),
]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
