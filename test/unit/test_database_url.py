"""The address of the database: either it is clear what every part is, or nothing of it is shown."""

import itertools
from pathlib import Path
from urllib.parse import quote

import pytest

from stream import config
from stream.database_url import parse, with_login
from stream.errors import ConfigError
from stream.postgres import client_environment

SECRET = "hunter2"


@pytest.mark.parametrize(
    "password",
    [
        *(f"{SECRET}{sign}rest{SECRET}" for sign in "/?#@%"),
        *(f"{one}{SECRET}{two}x" for one, two in itertools.permutations("/?#@", 2)),
        f"12/{SECRET}",  # a port, and a name
        f"{SECRET}%zz",
        f"{SECRET}%00",
        f"{SECRET}\t",
    ],
)
@pytest.mark.parametrize(
    "form", ["postgresql://tw:{}@host:5432/db", "postgres://{}@host/db?sslmode=require"]
)
def test_an_ambiguous_address_is_refused_and_not_shown(
    tmp_path: Path, password: str, form: str
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"# x\ndatabase: '{form.format(password)}'\n")
    with pytest.raises(ConfigError, match="ercent-encode") as caught:
        config.load(file, {})
    assert SECRET not in str(caught.value)
    assert str(caught.value).startswith(f"{file}, line 2: database cannot be read")
    with pytest.raises(ConfigError, match="ercent-encode") as caught:
        config.load(None, {"TWITTERSTREAM_DATABASE": form.format(password)})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host:54x2/db",
        "postgresql://u:p@host:port/db",
        "postgresql://u@h/db#x",
        "postgresql://h/db?sslmode",
        "postgresql:///a/b",
        "postgresql://u:p@db..example/db",
        f"postgresql://u:p@{'a' * 64}.example/db",
        "postgresql://u:p@h:99999/db",
    ],
)
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        parse(url)


def test_every_part_of_an_address_is_read() -> None:
    password = "p@ss:w/rd%#?&+ü €"
    url = (
        f"postgresql://tw%20user:{quote(password, safe='')}@a:1,[::1]:2,%2Frun%2Fpg/d%20b"
        "?sslmode=require&connect_timeout=5&application_name=x"
        "&options=-c%20statement_timeout%3D5s"
    )
    address = parse(url)
    assert (address.user, address.password, address.name) == ("tw user", password, "d b")
    assert (address.hosts, address.ports) == (("a", "::1", "/run/pg"), ("1", "2", ""))
    assert address.connect_timeout == 5
    assert "connect_timeout" not in address.driver_url
    assert address.driver_url.endswith(
        "?sslmode=require&application_name=x&options=-c%20statement_timeout%3D5s"
    )
    assert password not in repr(address)
    assert client_environment(url) == {
        "PGHOST": "a,::1,/run/pg",
        "PGPORT": "1,2,",
        "PGUSER": "tw user",
        "PGPASSWORD": password,
        "PGDATABASE": "d b",
        "PGSSLMODE": "require",
        "PGCONNECT_TIMEOUT": "5",
        "PGAPPNAME": "x",
        "PGOPTIONS": "-c statement_timeout=5s",
    }


@pytest.mark.parametrize(
    "url",
    [
        *("postgres://", "postgresql:///db", "postgresql://u:a:b@h"),
        "postgresql:///db?host=/run/pg&port=5433",
    ],
)
def test_an_address_with_few_parts_is_passed_on_unchanged(url: str) -> None:
    assert parse(url).driver_url == url


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("channel_binding=require", "'channel_binding', which is not supported"),
        ("statement_timeout=5", "options=-c%20name=value"),
        ("connect_timeout=soon", "connect_timeout"),
    ],
)
def test_the_error_names_a_parameter_that_is_not_supported(parameters: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(f"postgresql://u:{SECRET}@h/db?{parameters}")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hunter2@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:hun/ter2@hunter2@host/db", "postgresql://me:***@host/db"),
        ("postgresql://:hunter2@/db?host=/run", "postgresql://:***@/db?host=/run"),
        ("postgresql://me@h/db?password=hunter2&a=1", "postgresql://me@h/db?password=***&a=1"),
        ("postgresql://h/db?sslPassword=hunter2", "postgresql://h/db?sslPassword=***"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert config.safe_url(url) == shown


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("postgresql://tw:pw@host:5433/db?sslmode=require", "host:5433/a%2Fb?sslmode=require"),
        ("postgres://a,b:1/db?user=tw&password=pw&passfile=x", "a,b:1/a%2Fb"),
        ("postgresql:///db?host=/run/pg&options=-c%20a=b", "/a%2Fb?host=/run/pg"),
    ],
)
def test_the_address_for_another_user_has_nothing_of_the_first(url: str, other: str) -> None:
    assert with_login(url, "me", "s/c", "a/b") == f"postgresql://me:s%2Fc@{other}"
