"""Hints about missing extras install from a clone, because rnnserve is in no package index."""

import pytest

from rnnserve.common.extras import install_command, missing_package


@pytest.mark.parametrize(
    ("extras", "command"),
    [
        ((), "pip install ."),
        (("web",), "pip install '.[web]'"),
        (("server", "client"), "pip install '.[server,client]'"),
    ],
)
def test_install_command_names_every_extra(extras, command):
    assert install_command(*extras).endswith(f" {command}")


def test_missing_package_names_package_and_remedy():
    message = missing_package("grpcio", "server")
    assert message.startswith("needs the package grpcio")
    assert message.endswith(install_command("server"))
