"""Where the service is found, and who may read its key."""

from __future__ import annotations

import json

import httpx
import pytest
from typer.testing import CliRunner

from rlhf_service.cli.app import app
from rlhf_service.client import ApiError, Client, find_address
from rlhf_service.client.address import NOWHERE, SERVED, Address, config_file, is_private, keep
from rlhf_service.errors import RlhfError
from rlhf_service.storage import write_private

runner = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("RLHF_URL", "RLHF_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def serving(url: str = "http://here", key: str = "theirs") -> None:
    write_private(SERVED, json.dumps({"url": url, "api_key": key}))


def test_what_is_nearer_comes_first(monkeypatch):
    with pytest.raises(RlhfError) as nowhere:
        find_address()
    assert str(nowhere.value) == NOWHERE
    keep(Address("http://kept", "mine"), config_file())
    assert find_address() == Address("http://kept", "mine", str(config_file()))
    serving()
    assert find_address().url == "http://here"
    monkeypatch.setenv("RLHF_URL", "http://set/")
    monkeypatch.setenv("RLHF_API_KEY", " k ")
    assert find_address() == Address("http://set", "k", "RLHF_URL")
    assert find_address("http://given", "g").url == "http://given"


def test_the_service_of_a_folder_above_is_found_when_it_is_ones_own(home, monkeypatch):
    serving()
    (home / "work" / "data" / "runs").mkdir(parents=True)
    monkeypatch.chdir(home / "work" / "data" / "runs")
    assert find_address() == Address("http://here", "theirs", str(home / "work" / SERVED))
    monkeypatch.setattr("os.getuid", lambda: 12345)
    with pytest.raises(RlhfError, match="no service to talk to"):
        find_address()


def test_a_kept_key_goes_only_to_the_address_it_was_kept_with(monkeypatch):
    keep(Address("http://kept", "mine"), config_file())
    serving()
    monkeypatch.setenv("RLHF_URL", "http://kept/")
    assert find_address().api_key == "mine"
    monkeypatch.setenv("RLHF_URL", "http://elsewhere")
    with pytest.raises(RlhfError, match="no key for http://elsewhere"):
        find_address()


def test_a_key_alone_opens_the_service_that_is_known(monkeypatch):
    keep(Address("http://kept", "mine"), config_file())
    monkeypatch.setenv("RLHF_API_KEY", "other")
    assert find_address() == Address("http://kept", "other", str(config_file()))


def test_an_address_shows_no_key():
    assert "secret" not in repr(Address("http://a", "secret"))
    with Client("http://a", "secret") as client:
        assert "secret" not in repr(client.address)


class Service:
    """Stands in for httpx's sending: knows one key."""

    def __init__(self, monkeypatch, key: str) -> None:
        def answer(_: object, request: httpx.Request, **__: object) -> httpx.Response:
            if request.headers["authorization"] != f"Bearer {key}":
                return httpx.Response(401, json={"detail": "no such key"}, request=request)
            me = {"id": "key-1", "name": "mine", "tenant": "default", "scopes": ["read", "write"]}
            return httpx.Response(200, json={"data": [], **me}, request=request)

        monkeypatch.setattr(httpx.Client, "send", answer)


def test_login_tries_the_key_and_keeps_it_for_this_user_alone(monkeypatch):
    Service(monkeypatch, "right")
    wrong = runner.invoke(app, ["login", "http://service"], input="wrong\n")
    assert wrong.exit_code == 1 and "no such key" in wrong.output
    assert not config_file().exists()
    right = runner.invoke(app, ["login", "http://service/"], input="right\n")
    assert right.exit_code == 0, right.output
    assert "right" not in right.output
    assert is_private(config_file())
    assert config_file().stat().st_mode & 0o777 == 0o600
    told = runner.invoke(app, ["where"]).output
    assert told == f"http://service (from {config_file()})\nmine of default: read write\n"
    assert runner.invoke(app, ["jobs"]).exit_code == 0
    assert "deleted" in runner.invoke(app, ["logout"]).output
    assert runner.invoke(app, ["jobs"]).exit_code == 2


def test_login_takes_the_key_of_the_environment_and_says_what_comes_before(monkeypatch):
    Service(monkeypatch, "right")
    monkeypatch.setenv("RLHF_API_KEY", "right")
    ran = runner.invoke(app, ["login", "http://service"])
    assert ran.exit_code == 0 and "RLHF_API_KEY is set and comes before it" in ran.output


@pytest.mark.parametrize(
    ("url", "key", "says"), [("service", "k", "http://service"), ("http://s", "ké", "no API key")]
)
def test_login_refuses_what_can_be_none(url, key, says):
    ran = runner.invoke(app, ["login", url], input=f"{key}\n")
    assert ran.exit_code == 1 and says in ran.output


def test_an_address_where_nobody_answers_says_where_it_is_from(monkeypatch):
    keep(Address("http://127.0.0.1:1", "k"), config_file())
    from rlhf_service.client import Retry

    with Client(retry=Retry(tries=1)) as client, pytest.raises(ApiError) as fault:
        client.jobs.list()
    assert str(config_file()) in str(fault.value)
