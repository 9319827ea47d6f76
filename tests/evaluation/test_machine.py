"""Proves that the facts of a machine can be kept beside figures, and do not say whose it is."""

import getpass
import json
import platform
import socket

from serotine.evaluation.machine import machine_facts


def test_facts_are_plain_values_and_missing_packages_are_none():
    facts = machine_facts(["numpy", "no-such-package"])
    assert json.loads(json.dumps(facts)) == facts
    assert facts["python"] == platform.python_version()
    assert facts["packages"]["numpy"]
    assert facts["packages"]["no-such-package"] is None
    assert facts["cores"] >= 1


def test_neither_the_host_nor_the_user_nor_a_folder_is_named():
    text = json.dumps(machine_facts())
    assert socket.gethostname() not in text
    assert f'"{getpass.getuser()}"' not in text
    assert "/home/" not in text
