"""The group of commands: what there is, how it is found, and the exit status of everything."""

import importlib
import os
import subprocess
import sys

import click
import pytest

from hushar.cli import root
from hushar.errors import ConfigurationError, Problem, StorageError
from hushar.plugins.hookspecs import BUILTIN_COMMANDS


@pytest.fixture
def install_command(install_plugin):
    """install_command(function): `hushar extra` runs it."""

    def install(function):
        install_plugin("extra", commands=[click.command("extra")(function)])

    return install


def raising(error):
    def command():
        raise error

    return command


class TestCommands:
    def test_the_built_in_ones_are_those_that_no_plugin_can_have(self):
        assert set(root.COMMANDS) == BUILTIN_COMMANDS

    @pytest.mark.parametrize(("name", "module"), root.COMMANDS.items())
    def test_each_stands_in_its_module_under_its_name(self, name, module):
        assert importlib.import_module(module).command.name == name

    @pytest.mark.parametrize("name", root.COMMANDS)
    def test_each_has_a_help(self, hushar, name):
        ran = hushar(name, "--help")
        assert ran.status == 0
        assert ran.out.startswith(f"Usage: hushar {name}")

    @pytest.mark.parametrize("flag", ["-h", "--help"])
    def test_help_lists_all_with_a_line_each(self, hushar, flag):
        ran = hushar(flag)
        assert (ran.status, ran.err) == (0, "")
        lines = ran.out.split("Commands:\n")[1].splitlines()
        names = [line.split()[0] for line in lines]
        assert names[: len(root.COMMANDS)] == list(root.COMMANDS)
        assert all(len(line.split()) > 2 for line in lines)

    def test_no_arguments_show_the_help(self, hushar):
        ran = hushar()
        assert "Usage: hushar" in ran.out + ran.err

    def test_a_command_that_does_not_exist_is_the_users_mistake(self, hushar):
        ran = hushar("srve")
        assert (ran.status, ran.out) == (2, "")
        assert "No such command 'srve'" in ran.err


class TestPluginCommands:
    def test_one_runs_like_any_other(self, hushar, install_command):
        install_command(lambda: click.echo("ran"))
        assert hushar("extra").out == "ran\n"

    def test_it_stands_behind_the_built_in_ones_in_the_help(self, hushar, install_command):
        def extra():
            """Do more."""

        install_command(extra)
        lines = hushar("--help").out.rstrip().splitlines()
        assert lines[-1].split() == ["extra", "Do", "more."]

    def test_a_plugin_that_cannot_be_loaded_is_told_where_commands_are_listed(self, hushar, install_plugin):
        install_plugin("broken", commands=RuntimeError("boom"))
        ran = hushar("--help")
        assert ran.status == 0
        assert "plugins: broken" in ran.err
        assert "boom" in ran.err
        assert "serve" in ran.out

    def test_it_does_not_stand_in_the_way_of_the_others(self, hushar, install_plugin):
        install_plugin("broken", commands=RuntimeError("boom"))
        ran = hushar("version")
        assert (ran.status, ran.err) == (0, "")

    def test_it_may_be_why_a_command_is_missing(self, hushar, install_plugin):
        install_plugin("broken", commands=RuntimeError("boom"))
        ran = hushar("extra")
        assert ran.status == 2
        assert "boom" in ran.err
        assert "No such command 'extra'" in ran.err


class TestExitStatus:
    def test_what_a_command_returns_is_the_status(self, hushar, install_command):
        install_command(lambda: 3)
        assert hushar("extra").status == 3

    def test_what_is_no_number_is_success(self, hushar, install_command):
        install_command(lambda: "done")
        assert hushar("extra").status == 0

    def test_a_command_may_exit(self, hushar, install_command):
        install_command(lambda: click.get_current_context().exit(4))
        assert hushar("extra").status == 4

    def test_a_wrong_option_is_the_users_mistake(self, hushar):
        ran = hushar("check", "--nope")
        assert (ran.status, ran.out) == (2, "")
        assert "--nope" in ran.err

    def test_every_problem_of_a_configuration_is_a_line(self, hushar, install_command):
        problems = [Problem("a.json", "log.uri", "is wrong"), Problem("b.json", "", "is no JSON")]
        install_command(raising(ConfigurationError(problems)))
        ran = hushar("extra")
        assert (ran.status, ran.out) == (2, "")
        assert ran.err.splitlines() == ["a.json: log.uri: is wrong", "b.json: is no JSON"]

    def test_a_uri_that_cannot_be_read_is_the_users_mistake(self, hushar, install_command):
        install_command(raising(StorageError("cannot read x: gone")))
        ran = hushar("extra")
        assert (ran.status, ran.err) == (2, "cannot read x: gone\n")

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
    def test_an_interrupted_command_has_that_of_an_interrupted_shell_command(
        self, hushar, install_command, error
    ):
        install_command(raising(error))
        ran = hushar("extra")
        assert ran.status == 130
        assert "Traceback" not in ran.err

    def test_anything_else_is_a_fault_of_the_program(self, hushar, install_command):
        install_command(raising(ZeroDivisionError()))
        with pytest.raises(ZeroDivisionError):
            hushar("extra")

    @pytest.mark.slow
    def test_a_fault_has_a_traceback_and_status_1(self, tmp_path):
        program = (
            "import sys; from hushar.cli import root; root.COMMANDS = {'x': 'no_such_module'}\n"
            "sys.argv = ['hushar', 'x']; sys.exit(root.main())"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "Traceback" in done.stderr


class TestAReaderThatLeaves:
    """`hushar schema service | head`: what reads has what it wanted."""

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--help"],
            ["serve", "--help"],
            ["version"],
            ["plugins"],
            ["schema", "service"],
            ["check", "--demo"],
        ],
        ids=" ".join,
    )
    def test_is_no_error(self, hushar, monkeypatch, arguments):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            ran = hushar(*arguments)
            monkeypatch.undo()
            # What is still in the stream must not fail either: Python writes it at exit.
        assert (ran.status, ran.err) == (0, "")

    @pytest.mark.slow
    def test_is_no_error_for_the_whole_process(self):
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-m", "hushar", "schema", "service"]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--help"], ["version"], ["plugins"], ["schema", "service"]], ids=" ".join
)
def test_what_runs_no_model_does_not_wait_for_its_library(arguments):
    program = (
        "import sys; from hushar.cli import main; sys.argv[0] = 'hushar'; main()\n"
        "heavy = {'onnxruntime', 'onnx', 'grpc', 'rich.console'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout
    assert done.stderr == "[]\n"
