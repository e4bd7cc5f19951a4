"""Everything that can be decided before the first request is decided at start, and told at once."""

import hashlib
import ssl

import numpy as np
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from pydantic import BaseModel, model_validator

from hushar.app.preparing import Source, prepare
from hushar.errors import ConfigurationError, Problem, SinkError, StorageError
from hushar.features import vectorize
from hushar.models.runtime import ModelError, Runtime, TensorSpec
from hushar.plugins import NUMBERS, PluginContext, Transformation
from hushar.sinks.local import LocalLogSink
from hushar.testing import MemoryLogSink, MemoryMetricSink, MemoryStorage, onnx_models

IDENTITY = {"type": "identity", "default_val": [0.5]}


async def problems_of(source):
    with pytest.raises(ConfigurationError) as caught:
        await prepare(source)
    assert caught.value.problems
    return caught.value.problems


async def the_problem(source):
    (problem,) = await problems_of(source)
    return problem


def places(problems):
    return sorted((problem.file, problem.key) for problem in problems)


class Maker:
    """A plugin's factory that keeps what it was called with."""

    def __init__(self, made):
        self.made = made
        self.calls = []

    def __call__(self, *arguments):
        self.calls.append(arguments)
        if isinstance(self.made, Exception):
            raise self.made
        return self.made


class Settings(BaseModel, extra="forbid"):
    limit: int = 3


class Checked(MemoryLogSink):
    """A log sink that knows beforehand that it cannot be opened."""

    async def check(self):
        raise ConfigurationError([Problem("", "log.uri", "there is no such bucket")])


class CheckedMetrics(MemoryMetricSink):
    async def check(self):
        raise ConfigurationError([Problem("", "metrics.namespace", "is reserved")])


class Summing(Runtime):
    """A runtime of its own: the score is the sum, times what the settings say."""

    name, version, details = "summing", "1", {}
    inputs = outputs = (TensorSpec("x", "float32", (None, None)),)
    output = outputs[0]

    def __init__(self, blob, settings):
        self.blob, self.settings, self.width = blob, settings, None

    def to_tensor(self, matrix):
        return matrix

    def run(self, tensor):
        return tensor.sum(axis=1, keepdims=True)


class TestWhatIsPrepared:
    async def test_a_good_configuration_is_everything_that_is_needed(self, workspace):
        prepared = await workspace.prepare(log={"uri": "logs"}, metrics={"sinks": ["stderr"]})
        assert [feature.columns for feature in prepared.plan.features] == ["[0]", "[1]"]
        assert prepared.configuration.model_id == prepared.served.model_id == "tested"
        assert prepared.served.runtime.name == "onnxruntime"
        assert isinstance(prepared.log_sink, LocalLogSink)
        assert list(prepared.metric_sinks) == ["stderr"]
        assert prepared.ssl_context is None
        assert prepared.source.uri == workspace.path("service.json")

    async def test_without_a_log_there_is_no_sink(self, workspace):
        assert (await workspace.prepare()).log_sink is None

    async def test_nothing_is_left_behind(self, workspace):
        before = sorted(workspace.folder.rglob("*"))
        await workspace.prepare(log={"uri": "logs", "spool_dir": "spool"})
        assert sorted(workspace.folder.rglob("*")) == before

    async def test_the_version_hangs_on_the_model_and_on_the_vectorization(self, workspace):
        versions = {(await workspace.prepare()).served.version}
        workspace.vectorize(a=IDENTITY, b={"type": "identity", "default_val": [1]})
        versions.add((await workspace.prepare()).served.version)
        workspace.write("model.onnx", onnx_models.linear(2, 2))
        versions.add((await workspace.prepare()).served.version)
        assert len(versions) == 3

    async def test_options_stand_over_the_environment_and_that_over_the_file(self, workspace):
        workspace.configure(port_number=1, model_id="file", connection_concurrency=1, host="127.0.0.1")
        prepared = await prepare(
            workspace.source(
                options={"port_number": "3"},
                overrides=["connection_concurrency=4"],
                environ={"HUSHAR_PORT": "2", "HUSHAR_MODEL_ID": "environment"},
            )
        )
        made = prepared.configuration
        assert (made.port_number, made.model_id, made.connection_concurrency) == (3, "environment", 4)
        assert made.host == "127.0.0.1"

    async def test_paths_of_the_file_are_relative_to_it_and_others_to_the_working_directory(self, workspace):
        (workspace.folder / "elsewhere").mkdir()
        elsewhere = workspace.path("elsewhere")
        source = workspace.source(directory=elsewhere, environ={"HUSHAR_LOG__URI": "logs"})
        prepared = await prepare(source)
        assert prepared.log_sink.description == f"{elsewhere}/logs"

    async def test_a_variable_that_nobody_knows_is_a_warning(self, workspace):
        prepared = await prepare(workspace.source(environ={"HUSHAR_COLOUR": "red"}))
        assert [w.split(": ")[:2] for w in prepared.loaded.warnings] == [["environment", "HUSHAR_COLOUR"]]

    async def test_kubernetes_variables_are_ignored_with_a_warning(self, workspace):
        environ = {"HUSHAR_PORT": "tcp://10.0.0.1:8279", "HUSHAR_SERVICE_HOST": "10.0.0.1"}
        prepared = await prepare(workspace.source(environ=environ))
        assert prepared.configuration.port_number == 0
        (warning,) = prepared.loaded.warnings
        assert "HUSHAR_PORT" in warning
        assert "HUSHAR_SERVICE_HOST" in warning


class TestAllProblemsAtOnce:
    async def test_those_of_every_file_and_layer_are_named_by_where_they_were_written(
        self, workspace, monkeypatch
    ):
        monkeypatch.setattr(vectorize, "KernelVectorizer", None)
        workspace.vectorize(
            a=IDENTITY | {"default_val": []},
            b={"type": "identty", "default_val": [1]},
            c={"default_val": [1]},
        )
        workspace.configure(
            port_numbr=1,
            connection_concurrency=0,
            model={"runtime": "onyx"},
            log={"uri": "gopher://logs", "rotate_byts": 1},
            metrics={"sinks": ["stdrr"]},
            tls={"certificate": "gone.crt", "key": "gone.key"},
            plugins={"gone": {"x": 1}},
        )
        source = workspace.source(
            options={"log.workers": "none"},
            overrides=["model.sha256=" + "0" * 64, "batching.max_rows=many", "nope.key=1"],
            environ={"HUSHAR_LOG__SAMPLE_RATE": "7", "HUSHAR_MODEL__NOPE": "1", "HUSHAR_KERNEL": "cython"},
        )
        file, vectorization = workspace.path("service.json"), workspace.path("vectorization.json")
        assert places(await problems_of(source)) == sorted(
            [
                (file, "port_numbr"),
                (file, "connection_concurrency"),
                (file, "model.runtime"),
                (file, "log.uri"),
                (file, "log.rotate_byts"),
                (file, "metrics.sinks"),
                (file, "tls.certificate"),
                (file, "tls.key"),
                (file, "plugins.gone"),
                (vectorization, "feature_transformations.a.default_val"),
                (vectorization, "feature_transformations.b.type"),
                (vectorization, "feature_transformations.c.type"),
                ("environment", "HUSHAR_LOG__SAMPLE_RATE"),
                ("environment", "HUSHAR_MODEL__NOPE"),
                ("environment", "HUSHAR_KERNEL"),
                ("command line", "--log-workers"),
                ("command line", "--set model.sha256"),
                ("command line", "--set batching.max_rows"),
                ("command line", "--set nope.key"),
            ]
        )

    async def test_files_that_are_missing_do_not_hide_each_other(self, workspace):
        workspace.configure(model_path="m", vectorization_instruction_path="v", model={"runtime": "onyx"})
        problems = await problems_of(workspace.source(environ={"HUSHAR_MODEL_PATH": "gone"}))
        assert places(problems) == sorted(
            [
                ("environment", "HUSHAR_MODEL_PATH"),
                (workspace.path("service.json"), "vectorization_instruction_path"),
                (workspace.path("service.json"), "model.runtime"),
            ]
        )
        text = "\n".join(map(str, problems))
        assert workspace.path("gone") in text
        assert workspace.path("v") in text

    async def test_a_required_key_that_is_missing_is_told_with_the_other_mistakes_of_the_layers(
        self, workspace
    ):
        workspace.configure(model_id=None, host="")
        problems = await problems_of(workspace.source(overrides=["log.workers=0"]))
        file = workspace.path("service.json")
        assert places(problems) == [
            (file, "host"),
            (file, "model_id"),
            ("command line", "--set log.workers"),
        ]

    async def test_a_plugin_that_cannot_be_loaded_does_not_hide_the_mistakes_of_the_file(
        self, workspace, install_plugin
    ):
        install_plugin("broken", transformations=RuntimeError("boom"))
        workspace.configure(port_number=-1)
        problems = await problems_of(workspace.source())
        assert places(problems) == [(workspace.path("service.json"), "port_number"), ("plugins", "broken")]
        assert "boom" in str(problems[-1])

    async def test_two_plugins_that_claim_one_name_are_both_named(self, workspace, install_plugin):
        for name in ("one", "two"):
            install_plugin(name, log_sinks={"mem": Maker(MemoryLogSink())})
        problem = await the_problem(workspace.source())
        assert "'one'" in problem.message
        assert "'two'" in problem.message


class TestTheConfigurationItself:
    async def test_a_file_that_is_not_there_is_named(self, workspace):
        problem = await the_problem(workspace.source(workspace.path("gone.json")))
        assert workspace.path("gone.json") in str(problem)

    async def test_a_scheme_that_nobody_handles_is_said_with_those_that_are(self, workspace):
        problem = await the_problem(workspace.source("gopher://hole/service.json"))
        assert "gopher://hole/service.json: no installed plugin handles the scheme 'gopher'" in str(problem)
        assert "known: file" in str(problem)

    async def test_for_s3_it_is_said_what_brings_it(self, workspace, no_plugins):
        assert "hushar-aws" in str(await the_problem(workspace.source("s3://bucket/service.json")))

    async def test_everything_can_come_from_a_plugins_storage(self, workspace, install_plugin):
        names = ("service.json", "vectorization.json", "model.onnx")
        storage = MemoryStorage(
            {f"mem://bucket/{name}": (workspace.folder / name).read_bytes() for name in names}
        )
        factory = Maker(storage)
        install_plugin("memory", storages={"mem": factory}, settings=Settings)
        prepared = await prepare(Source("mem://bucket/service.json"))
        assert prepared.configuration.model_path == "mem://bucket/model.onnx"
        assert storage.closed == 3
        first, *others = [context for (context,) in factory.calls]
        assert first == PluginContext(None, None)
        assert others == [PluginContext(Settings(limit=3), "tested")] * 2

    async def test_a_storage_that_has_no_such_configuration_is_closed_all_the_same(self, install_plugin):
        storage = MemoryStorage()
        install_plugin("memory", storages={"mem": Maker(storage)})
        assert "mem://bucket/gone.json" in str(await the_problem(Source("mem://bucket/gone.json")))
        assert storage.closed == 1


class TestPlugins:
    async def test_settings_reach_the_factories_of_their_plugin(self, workspace, install_plugin):
        log, metrics = Maker(MemoryLogSink()), Maker(MemoryMetricSink())
        install_plugin("memory", log_sinks={"mem": log}, metric_sinks={"mem": metrics}, settings=Settings)
        prepared = await workspace.prepare(
            log={"uri": "mem://x"}, metrics={"sinks": ["mem"]}, plugins={"memory": {"limit": 7}}
        )
        context = PluginContext(Settings(limit=7), "tested")
        assert log.calls == [("mem://x", context)]
        assert metrics.calls == [(context,)]
        assert prepared.log_sink is log.made
        assert prepared.metric_sinks == {"mem": metrics.made}
        assert prepared.plugin_settings["memory"] == Settings(limit=7)

    async def test_a_plugin_whose_settings_are_refused_does_not_get_its_factories_called(
        self, workspace, install_plugin
    ):
        makers = [Maker(MemoryStorage()), Maker(MemoryLogSink()), Maker(MemoryMetricSink())]
        storage, log, metrics = makers
        install_plugin(
            "memory",
            storages={"mem": storage},
            log_sinks={"mem": log},
            metric_sinks={"mem": metrics},
            settings=Settings,
        )
        workspace.configure(
            model_path="mem://m",
            log={"uri": "mem://x"},
            metrics={"sinks": ["mem"]},
            plugins={"memory": {"limit": "much"}},
        )
        problems = await problems_of(workspace.source(environ={"HUSHAR_PLUGINS__MEMORY__LIMT": "3"}))
        assert places(problems) == [
            (workspace.path("service.json"), "plugins.memory.limit"),
            ("environment", "HUSHAR_PLUGINS__MEMORY__LIMT"),
        ]
        assert [maker.calls for maker in makers] == [[], [], []]

    async def test_settings_of_no_plugin_get_a_hint(self, workspace, install_plugin):
        install_plugin("memory", settings=Settings)
        workspace.configure(plugins={"memry": {"limit": 1}})
        problem = await the_problem(workspace.source())
        assert problem.key == "plugins.memry"
        assert "'memory'" in problem.message

    async def test_settings_of_a_plugin_that_has_none_are_refused(self, workspace, install_plugin):
        install_plugin("memory", storages={})
        workspace.configure(plugins={"memory": {"limit": 1}})
        problem = await the_problem(workspace.source())
        assert (problem.key, problem.message) == ("plugins.memory", "this plugin has no settings")

    async def test_settings_of_a_blocked_plugin_are_refused(self, workspace, install_plugin):
        install_plugin("memory", settings=Settings)
        workspace.configure(plugins={"memory": {"limit": 1}, "block": ["memory"]})
        problem = await the_problem(workspace.source())
        assert (problem.key, problem.message) == ("plugins.memory", "this plugin is blocked")

    async def test_a_blocked_plugin_brings_nothing(self, workspace, install_plugin):
        install_plugin("memory", metric_sinks={"mem": Maker(MemoryMetricSink())})
        workspace.configure(metrics={"sinks": ["mem"]}, plugins={"block": ["memory"]})
        assert (await the_problem(workspace.source())).key == "metrics.sinks"

    async def test_without_the_built_in_parts_it_is_said_what_is_missing(self, workspace, no_plugins):
        workspace.configure(log={"uri": "logs"}, metrics={"sinks": ["stderr"]}, plugins={"block": ["hushar"]})
        problems = {problem.key: problem.message for problem in await problems_of(workspace.source())}
        assert set(problems) == {
            "model_path",
            "vectorization_instruction_path",
            "model.runtime",
            "log.uri",
            "metrics.sinks",
        }
        assert "'file'" in problems["model_path"]
        assert "known: none" in problems["model_path"]
        assert "'onnxruntime'" in problems["model.runtime"]

    async def test_a_plugins_transformation_and_runtime_are_named_in_the_configuration(
        self, workspace, install_plugin
    ):
        class Negated(Transformation):
            """Minus."""

            accepts = NUMBERS

            def transform(self, column):
                raise AssertionError("no request comes")

        install_plugin("own", transformations={"negated": Negated}, runtimes={"summing": Summing})
        workspace.vectorize(a={"type": "negated", "default_val": [1]})
        prepared = await workspace.prepare(model={"runtime": "summing", "optimization": "basic"})
        assert prepared.plan.features[0].type == "negated"
        runtime = prepared.served.runtime
        assert isinstance(runtime, Summing)
        assert runtime.settings.optimization == "basic"
        assert runtime.blob.data == (workspace.folder / "model.onnx").read_bytes()


class TestStorages:
    @pytest.mark.parametrize("key", ["model_path", "vectorization_instruction_path"])
    async def test_an_unknown_scheme_is_named_with_its_key(self, workspace, key):
        workspace.configure(**{key: "gopher://hole/x"})
        problem = await the_problem(workspace.source())
        assert (problem.file, problem.key) == (workspace.path("service.json"), key)
        assert "'gopher'" in problem.message
        assert "known: file" in problem.message

    @pytest.mark.parametrize(
        "error",
        [StorageError("mem://m is down"), ConfigurationError([Problem("", "model_path", "mem://m is down")])],
    )
    async def test_what_a_storage_raises_is_named_after_the_key(self, workspace, install_plugin, error):
        install_plugin("memory", storages={"mem": Maker(error)})
        workspace.configure(model_path="mem://m")
        problem = await the_problem(workspace.source())
        assert problem == Problem(workspace.path("service.json"), "model_path", "mem://m is down")


class TestSinks:
    async def test_an_unknown_metric_sink_gets_a_hint(self, workspace, no_plugins):
        workspace.configure(metrics={"sinks": ["stdrr"]})
        problem = await the_problem(workspace.source())
        assert problem.key == "metrics.sinks"
        assert "'stdrr'" in problem.message
        assert "installed: stderr" in problem.message

    async def test_a_sink_knows_the_key_and_the_file_is_added(self, workspace, install_plugin):
        install_plugin(
            "memory",
            log_sinks={"mem": Maker(Checked())},
            metric_sinks={"mem": Maker(CheckedMetrics())},
        )
        workspace.configure(metrics={"sinks": ["mem"]})
        problems = await problems_of(workspace.source(options={"log.uri": "mem://x"}))
        assert places(problems) == [
            (workspace.path("service.json"), "metrics.namespace"),
            ("command line", "--log-uri"),
        ]

    async def test_a_problem_that_names_its_file_keeps_it(self, workspace, install_plugin):
        problem = Problem("credentials.ini", "key", "is empty")
        install_plugin("memory", log_sinks={"mem": Maker(ConfigurationError([problem]))})
        workspace.configure(log={"uri": "mem://x"})
        assert await the_problem(workspace.source()) == problem

    @pytest.mark.parametrize("key", ["uri", "spool_dir"])
    async def test_a_directory_that_cannot_be_written_to_is_named(self, workspace, key):
        workspace.write("file", b"")
        workspace.configure(log={"uri": "logs"} | {key: "file/inside"})
        problem = await the_problem(workspace.source())
        assert problem.key == f"log.{key}"
        assert workspace.path("file/inside") in problem.message


class TestTheModel:
    async def test_the_compiled_kernel_is_refused_where_it_was_not_built(self, workspace, monkeypatch):
        monkeypatch.setattr(vectorize, "KernelVectorizer", None)
        problem = await the_problem(workspace.source(overrides=["kernel=cython"]))
        assert (problem.file, problem.key) == ("command line", "--set kernel")
        assert "'reference'" in problem.message

    async def test_a_kernel_that_does_not_exist_is_refused(self, workspace):
        workspace.configure(kernel="fast")
        assert (await the_problem(workspace.source())).key == "kernel"

    @pytest.mark.parametrize("kernel", ["auto", "reference"])
    async def test_the_reference_kernel_is_always_there(self, workspace, kernel):
        assert (await workspace.prepare(kernel=kernel)).configuration.kernel == kernel

    async def test_the_models_digest_is_compared(self, workspace):
        digest = hashlib.sha256((workspace.folder / "model.onnx").read_bytes()).hexdigest()
        assert await workspace.prepare(model={"sha256": digest.upper()})
        workspace.configure(model={"sha256": "0" * 64})
        problem = await the_problem(workspace.source())
        assert problem.key == "model.sha256"
        assert digest in problem.message

    @pytest.mark.parametrize(
        ("section", "key"),
        [
            ({"output": "nope"}, "model.output"),
            ({"runtime": "onyx"}, "model.runtime"),
            ({"providers": ["NoSuchProvider"]}, "model.providers"),
        ],
    )
    async def test_what_the_runtime_does_not_know_is_named_with_its_key(self, workspace, section, key):
        workspace.configure(model=section)
        assert (await the_problem(workspace.source())).key == key

    async def test_a_corrupt_model_is_the_fault_of_model_path(self, workspace):
        workspace.write("model.onnx", b"\x00\x01")
        problem = await the_problem(workspace.source())
        assert (problem.file, problem.key) == (workspace.path("service.json"), "model_path")

    async def test_the_wrong_width_lists_each_feature_with_its_columns(self, workspace):
        workspace.vectorize(a=IDENTITY, pair={"type": "identity", "default_val": [1, 2]})
        problem = await the_problem(workspace.source())
        assert problem.file == workspace.path("vectorization.json")
        for part in ("3 columns", "has 2", "a[0]", "pair[1:3]"):
            assert part in problem.message

    async def test_a_model_that_fails_on_default_values_is_found_before_the_first_request(self, workspace):
        workspace.write("model.onnx", onnx_models.failing_on(0.5, width=2))
        problem = await the_problem(workspace.source())
        assert problem.key == "model_path"
        assert "default values" in problem.message

    async def test_with_warmup_off_the_model_is_not_run(self, workspace):
        workspace.write("model.onnx", onnx_models.failing_on(0.5, width=2))
        assert await workspace.prepare(model={"warmup": False})

    async def test_what_a_plugins_runtime_refuses_is_told(self, workspace, install_plugin):
        install_plugin("own", runtimes={"own": Maker(ModelError("model.session_config", "what is that?"))})
        workspace.configure(model={"runtime": "own"})
        problem = await the_problem(workspace.source())
        assert (problem.key, problem.message) == ("model.session_config", "what is that?")


class Unfinished(Summing):
    """A runtime that forgets what it must say of itself."""

    def __init__(self, blob, settings):
        pass


class Failing(MemoryLogSink):
    async def check(self):
        raise OSError(13, "Permission denied")


class FailingMetrics(MemoryMetricSink):
    async def check(self):
        raise SinkError("nobody there")


class Nameless(MemoryLogSink):
    description = None


class FailingStorage(MemoryStorage):
    async def read(self, uri):
        raise OSError(5, "Input/output error")


class ForgetfulStorage(MemoryStorage):
    async def read(self, uri):
        return None


class BadSettings(BaseModel, extra="forbid"):
    @model_validator(mode="before")
    @classmethod
    def _check(cls, values):
        return values["limit"]


class BadInit(Transformation):
    accepts = NUMBERS

    def __init__(self, parameters):
        raise KeyError("x\x1b")

    def transform(self, column):
        raise AssertionError


class BadUnit(Transformation):
    accepts = NUMBERS
    unit = None

    def transform(self, column):
        raise AssertionError


class TestMisbehavingPlugins:
    """Whatever a plugin's code raises or returns, the problem names the plugin and the hook."""

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (KeyError("x"), "KeyError('x')"),
            (None, "expected a LogSink, got None"),
            (MemoryMetricSink(), "expected a LogSink, got an instance of MemoryMetricSink"),
            (Failing(), "PermissionError(13, 'Permission denied')"),
            (Nameless(), "expected a str, got None"),
        ],
    )
    async def test_a_log_sink(self, workspace, install_plugin, made, said):
        install_plugin("bad", log_sinks={"mem": Maker(made)})
        workspace.configure(log={"uri": "mem://x"})
        assert str(await the_problem(workspace.source())) == f"plugins: bad: hushar_log_sinks: 'mem': {said}"

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (KeyError("x"), "KeyError('x')"),
            (MemoryLogSink(), "expected a MetricSink, got an instance of MemoryLogSink"),
            (FailingMetrics(), "SinkError('nobody there')"),
        ],
    )
    async def test_a_metric_sink(self, workspace, install_plugin, made, said):
        install_plugin("bad", metric_sinks={"mem": Maker(made)})
        workspace.configure(metrics={"sinks": ["mem"]})
        problem = await the_problem(workspace.source())
        assert str(problem) == f"plugins: bad: hushar_metric_sinks: 'mem': {said}"

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (KeyError("x"), "KeyError('x')"),
            (None, "expected a Storage, got None"),
            (FailingStorage(), "OSError(5, 'Input/output error')"),
            (ForgetfulStorage(), "expected a Blob, got None"),
        ],
    )
    @pytest.mark.parametrize("of_the_configuration", [True, False])
    async def test_a_storage(self, workspace, install_plugin, made, said, of_the_configuration):
        install_plugin("bad", storages={"mem": Maker(made)})
        workspace.configure(model_path="mem://m")
        problem = await the_problem(workspace.source("mem://service.json" if of_the_configuration else None))
        assert str(problem) == f"plugins: bad: hushar_storages: 'mem': {said}"

    async def test_a_storage_that_fails_is_closed_all_the_same(self, workspace, install_plugin):
        storage = FailingStorage()
        install_plugin("bad", storages={"mem": Maker(storage)})
        workspace.configure(model_path="mem://m")
        await the_problem(workspace.source())
        assert storage.closed == 1

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (Maker(ZeroDivisionError("division by zero")), "ZeroDivisionError('division by zero')"),
            (Maker(None), "expected a Runtime, got None"),
            (Unfinished, "the runtime has no width"),
        ],
    )
    async def test_a_runtime(self, workspace, install_plugin, made, said):
        install_plugin("bad", runtimes={"own": made})
        workspace.configure(model={"runtime": "own"})
        problem = await the_problem(workspace.source())
        assert str(problem) == f"plugins: bad: hushar_runtimes: 'own': {said}"

    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            (BadInit, r"KeyError('x\x1b')"),
            (BadUnit, "TypeError(\"'NoneType' object cannot be interpreted as an integer\")"),
        ],
    )
    async def test_a_transformation_is_told_with_its_feature_and_with_the_mistakes_of_others(
        self, workspace, install_plugin, kind, said
    ):
        install_plugin("bad", transformations={"own": kind})
        workspace.vectorize(a={"type": "own", "default_val": [1]}, b={"type": "identity", "default_val": []})
        first, second = await problems_of(workspace.source())
        assert str(first) == f"plugins: bad: hushar_transformations: 'own': feature_transformations.a: {said}"
        assert second.key == "feature_transformations.b.default_val"

    async def test_settings(self, workspace, install_plugin):
        install_plugin("bad", settings=BadSettings)
        problem = await the_problem(workspace.source())
        assert str(problem) == "plugins: bad: hushar_settings: KeyError('limit')"

    async def test_the_traceback_is_a_message_of_level_debug(self, workspace, install_plugin, capsys):
        install_plugin("bad", log_sinks={"mem": Maker(KeyError("x"))})
        workspace.configure(log={"uri": "mem://x"}, log_level="debug")
        await the_problem(workspace.source())
        said = capsys.readouterr().err
        assert "debug hushar.plugins: plugin bad: hushar_log_sinks: 'mem'" in said
        assert "Traceback" in said


class TestTheVectorization:
    @pytest.mark.parametrize("content", [b"{", b'["a"]'])
    async def test_a_file_that_is_none_is_named_once(self, workspace, content):
        workspace.write("vectorization.json", content)
        assert (await the_problem(workspace.source())).file == workspace.path("vectorization.json")

    async def test_its_width_is_not_judged_while_something_else_is_wrong_with_it(self, workspace):
        workspace.vectorize(["a", "a"], a=IDENTITY)
        (problem,) = await problems_of(workspace.source())
        assert problem.key == "feature_order[1]"


class TestTls:
    @pytest.fixture
    def certificate(self, workspace):
        """Makes NAME.crt and NAME.key."""

        def make(name):
            made = trustme.CA().issue_cert("localhost")
            workspace.write(f"{name}.crt", made.cert_chain_pems[0].bytes())
            workspace.write(f"{name}.key", made.private_key_pem.bytes())
            return made

        return make

    async def test_both_files_make_a_context(self, workspace, certificate):
        certificate("a")
        prepared = await workspace.prepare(tls={"certificate": "a.crt", "key": "a.key"})
        assert prepared.ssl_context.minimum_version == ssl.TLSVersion.TLSv1_2

    async def test_one_without_the_other_is_refused(self, workspace, certificate):
        certificate("a")
        workspace.configure(tls={"certificate": "a.crt"})
        assert (await the_problem(workspace.source())).key.startswith("tls.")

    @pytest.mark.parametrize("gone", ["crt", "key"])
    async def test_a_file_that_is_not_there_is_named(self, workspace, certificate, gone):
        certificate("a")
        (workspace.folder / f"a.{gone}").unlink()
        workspace.configure(tls={"certificate": "a.crt", "key": "a.key"})
        problem = await the_problem(workspace.source())
        assert problem.key == {"crt": "tls.certificate", "key": "tls.key"}[gone]
        assert workspace.path(f"a.{gone}") in problem.message

    async def test_files_that_do_not_belong_together_are_named(self, workspace, certificate):
        certificate("a")
        certificate("b")
        workspace.configure(tls={"certificate": "a.crt", "key": "b.key"})
        problem = await the_problem(workspace.source())
        assert problem.key == "tls.certificate"
        assert workspace.path("a.crt") in problem.message
        assert workspace.path("b.key") in problem.message

    async def test_an_authority_that_is_none_is_named(self, workspace, certificate):
        certificate("a")
        workspace.write("ca", b"no PEM")
        workspace.configure(tls={"certificate": "a.crt", "key": "a.key", "client_ca": "ca"})
        assert (await the_problem(workspace.source())).key == "tls.client_ca"

    async def test_a_key_with_a_password_is_refused_and_nobody_asked_for_it(self, workspace, certificate):
        made = certificate("a")
        workspace.write("a.key", encrypted(made.private_key_pem.bytes()))
        workspace.configure(tls={"certificate": "a.crt", "key": "a.key"})
        problem = await the_problem(workspace.source())
        assert problem.key == "tls.certificate"
        assert "the key is encrypted" in problem.message


class TestTokens:
    async def test_they_are_read_at_start(self, workspace):
        workspace.write("tokens", b"one\ntwo\n")
        assert (await workspace.prepare(auth={"token_file": "tokens"})).tokens == {"one", "two"}
        assert (await workspace.prepare()).tokens is None

    async def test_a_file_that_is_not_there_is_named_by_where_it_was_written(self, workspace):
        problem = await the_problem(workspace.source(overrides=["auth.token_file=gone"]))
        assert (problem.file, problem.key) == ("command line", "--set auth.token_file")
        assert workspace.path("gone") in problem.message


@pytest.mark.parametrize(("window", "fits"), [(100_004, False), (100_005, True)])
async def test_a_window_has_room_for_the_largest_message(workspace, window, fits):
    workspace.configure(server={"max_receive_bytes": 100_000}, http2={"stream_window_bytes": window})
    if fits:
        await prepare(workspace.source())
    else:
        problem = await the_problem(workspace.source())
        assert problem.key == "http2.stream_window_bytes"
        assert "server.max_receive_bytes (100000)" in problem.message


def encrypted(pem):
    key = serialization.load_pem_private_key(pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


async def test_scores_come_out_of_what_was_prepared(workspace):
    runtime = (await workspace.prepare()).served.runtime
    scores = runtime.run(runtime.to_tensor(np.array([[1, 2]], np.float32)))
    assert scores.tolist() == [[-1.75]]
