"""`hushar version`: what somebody who reports a bug is asked for."""

import importlib.metadata
import platform

import pytest

import hushar as package
from hushar.features import vectorize
from hushar.features.vectorize import kernel_name


def test_it_says_the_versions_of_hushar_and_of_what_it_stands_on(hushar):
    ran = hushar("version")
    assert (ran.status, ran.err) == (0, "")
    first, *rest = ran.out.splitlines()
    assert first == f"hushar {package.__version__}"
    assert f"python {platform.python_version()} ({platform.system()} {platform.machine()})" in rest
    for name in ("onnxruntime", "numpy", "purerpc", "trio", "protobuf"):
        assert f"{name} {importlib.metadata.version(name)}" in rest


def test_it_is_the_version_of_the_installed_distribution(hushar):
    assert hushar("version").out.startswith(f"hushar {importlib.metadata.version('hushar')}\n")


def test_it_says_which_kernel_vectorizes(hushar, monkeypatch):
    monkeypatch.delenv("HUSHAR_KERNEL", raising=False)
    assert f"kernel: {kernel_name()}" in hushar("version").out.splitlines()


def test_the_environment_decides_on_the_kernel(hushar, monkeypatch):
    monkeypatch.setenv("HUSHAR_KERNEL", "reference")
    assert "kernel: reference" in hushar("version").out.splitlines()


def test_it_takes_no_arguments(hushar):
    assert hushar("version", "more").status == 2


@pytest.mark.parametrize("kernel", ["fast", "", "null", '"cython"'])
def test_an_unknown_kernel_is_refused_as_serve_refuses_it(hushar, monkeypatch, kernel):
    monkeypatch.setenv("HUSHAR_KERNEL", kernel)
    ran, served = hushar("version"), hushar("serve", "--demo")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("environment: HUSHAR_KERNEL: expected ")
    assert (served.status, served.err) == (2, ran.err)


def test_the_compiled_kernel_where_it_was_not_built_is_refused_as_serve_refuses_it(hushar, monkeypatch):
    monkeypatch.setattr(vectorize, "KernelVectorizer", None)
    monkeypatch.setenv("HUSHAR_KERNEL", "cython")
    ran, served = hushar("version"), hushar("serve", "--demo")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("environment: HUSHAR_KERNEL: the compiled kernel was not built")
    assert (served.status, served.err) == (2, ran.err)


def test_other_settings_of_the_environment_are_no_matter(hushar, monkeypatch):
    monkeypatch.setenv("HUSHAR_KERNEL", "auto")
    monkeypatch.setenv("HUSHAR_PORT_NUMBER", "many")
    assert hushar("version").status == 0
