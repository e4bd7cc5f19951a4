"""The section `model` of the configuration, as onnxruntime gets it."""

import os
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from hushar.models.cpus import available_cpus
from hushar.models.onnx_options import check_providers, providers_of, session_options
from hushar.models.runtime import ModelError, ModelSettings
from hushar.testing import onnx_models

AVAILABLE = ("CUDAExecutionProvider", "CPUExecutionProvider")


def options_of(**settings):
    return session_options(onnxruntime, ModelSettings(**settings))


def refusal(**settings) -> tuple[str, str]:
    with pytest.raises(ModelError) as caught:
        options_of(**settings)
    return caught.value.key, str(caught.value)


class TestProviders:
    def test_the_cpu_is_the_default(self):
        assert providers_of(ModelSettings(), AVAILABLE) == (("CPUExecutionProvider",), ({},))

    def test_they_keep_their_order_and_get_their_options(self):
        settings = ModelSettings(
            providers=AVAILABLE, provider_options={"CUDAExecutionProvider": {"device_id": "1"}}
        )
        assert providers_of(settings, AVAILABLE) == (AVAILABLE, ({"device_id": "1"}, {}))

    @pytest.mark.parametrize(
        ("settings", "key", "message"),
        [
            (
                {"providers": ["ROCMExecutionProvider"]},
                "model.providers",
                "'ROCMExecutionProvider' is not available; this onnxruntime has "
                "CUDAExecutionProvider, CPUExecutionProvider",
            ),
            (
                {"providers": ["CPUExecutionProvider"] * 2},
                "model.providers",
                "'CPUExecutionProvider' is named twice",
            ),
            (
                {"provider_options": {"CUDAExecutionProvider": {"device_id": "1"}}},
                "model.provider_options",
                "'CUDAExecutionProvider' is not among the providers: CPUExecutionProvider",
            ),
            (
                {"provider_options": {"CPUExecutionProvider": {"use_arena": "1"}}},
                "model.provider_options",
                "CPUExecutionProvider takes no options; onnxruntime ignores them",
            ),
        ],
    )
    def test_what_would_be_ignored_is_refused(self, settings, key, message):
        with pytest.raises(ModelError) as caught:
            providers_of(ModelSettings(**settings), AVAILABLE)
        assert (caught.value.key, str(caught.value)) == (key, message)

    def test_a_provider_that_onnxruntime_gave_up_is_an_error(self):
        with pytest.raises(ModelError) as caught:
            check_providers(AVAILABLE, ["CPUExecutionProvider"])
        assert caught.value.key == "model.providers"
        assert str(caught.value) == (
            "'CUDAExecutionProvider' could not be used; onnxruntime fell back to CPUExecutionProvider"
        )

    def test_a_provider_that_onnxruntime_adds_is_none(self):
        check_providers(["CUDAExecutionProvider"], AVAILABLE)


class TestSessionOptions:
    @pytest.mark.parametrize(
        ("optimization", "level"),
        [
            ("none", onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL),
            ("basic", onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC),
            ("extended", onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED),
            ("all", onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL),
        ],
    )
    def test_optimization(self, optimization, level):
        assert options_of(optimization=optimization).graph_optimization_level == level

    def test_threads_within_an_operator_follow_the_processors(self):
        assert options_of().intra_op_num_threads == available_cpus()
        assert options_of(intra_op_threads=5).intra_op_num_threads == 5
        assert options_of(intra_op_threads=0).intra_op_num_threads == 0  # onnxruntime's own choice

    def test_a_session_by_default_where_the_system_knows_no_affinity(self, loaded, monkeypatch):
        """macOS; what is counted there instead is in test_cpus.py."""
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        assert options_of().intra_op_num_threads == available_cpus()
        assert loaded(onnx_models.linear(2, 1)).run(np.ones((3, 2), np.float32)).shape == (3, 1)

    @pytest.mark.parametrize(
        ("threads", "mode"),
        [
            (1, onnxruntime.ExecutionMode.ORT_SEQUENTIAL),
            (2, onnxruntime.ExecutionMode.ORT_PARALLEL),
            (0, onnxruntime.ExecutionMode.ORT_PARALLEL),
        ],
    )
    def test_threads_across_operators_have_an_effect(self, threads, mode):
        options = options_of(inter_op_threads=threads)
        assert (options.inter_op_num_threads, options.execution_mode) == (threads, mode)

    def test_session_entries_are_passed_on(self):
        options = options_of(session_config={"session.intra_op.allow_spinning": "0", "ep.new.key": "x"})
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        assert options.get_session_config_entry("ep.new.key") == "x"

    @pytest.mark.parametrize(
        ("settings", "key", "message"),
        [
            (
                {"optimization": "al"},
                "model.optimization",
                "'al' is none of none, basic, extended, all, did you mean 'all'?",
            ),
            (
                {"arena_extend": "double"},
                "model.arena_extend",
                "'double' is none of same_as_requested, next_power_of_two",
            ),
            (
                {"session_config": {"session.intra_op.allow_spining": "0"}},
                "model.session_config",
                "unknown entry 'session.intra_op.allow_spining', "
                "did you mean 'session.intra_op.allow_spinning'?",
            ),
        ],
    )
    def test_unknown_words_are_refused(self, settings, key, message):
        assert refusal(**settings) == (key, message)

    def test_an_entry_that_onnxruntime_refuses(self):
        key, message = refusal(session_config={"": "1"})
        assert key == "model.session_config"
        assert message.startswith("entry '': ")

    def test_a_value_that_onnxruntime_cannot_read(self, loaded):
        settings = {"session.intra_op_thread_affinities": "junk"}
        with pytest.raises(ModelError, match="junk") as caught:
            loaded(onnx_models.linear(1, 1), session_config=settings, intra_op_threads=2)
        assert caught.value.key == "model.session_config"


class TestArena:
    @pytest.mark.parametrize(
        ("arena_extend", "shared"), [("same_as_requested", "1"), ("next_power_of_two", "")]
    )
    def test_the_arena_of_the_environment_is_the_one_that_can_be_configured(self, arena_extend, shared):
        options = options_of(arena_extend=arena_extend)
        if shared:
            assert options.get_session_config_entry("session.use_env_allocators") == shared
        else:
            with pytest.raises(RuntimeError):
                options.get_session_config_entry("session.use_env_allocators")

    @pytest.mark.parametrize("arena_extend", ["same_as_requested", "next_power_of_two"])
    def test_models_beside_each_other_run_with_either(self, loaded, arena_extend):
        one = loaded(onnx_models.linear(2, 1), arena_extend=arena_extend)
        other = loaded(onnx_models.linear(3, 1), arena_extend=arena_extend)
        assert one.run(np.ones((2, 2), np.float32)).shape == (2, 1)
        assert other.run(np.ones((2, 3), np.float32)).shape == (2, 1)

    def test_it_grows_by_what_is_asked_for(self):
        """kSameAsRequested of onnxruntime's ArenaExtendStrategy is 1; by 0, the default, it doubles."""
        registered = []
        onnx = self.registering(lambda memory, arena: registered.append((memory.name, arena)))
        session_options(onnx, ModelSettings())
        session_options(onnx, ModelSettings(arena_extend="next_power_of_two"))
        assert [(name, arena.arena_extend_strategy) for name, arena in registered] == [("Cpu", 1)]

    def test_a_version_that_registers_an_arena_only_once_keeps_the_first(self):
        """onnxruntime 1.19 raises for the second; a fake, since one version is installed."""
        message = "An allocator for this device has already been registered for sharing."
        options = session_options(self.refusing(message), ModelSettings())
        assert options.get_session_config_entry("session.use_env_allocators") == "1"

    def test_another_error_of_the_arena_is_not_hidden(self):
        with pytest.raises(RuntimeError, match="no memory"):
            session_options(self.refusing("no memory"), ModelSettings())

    def refusing(self, message: str):
        def refuse(memory, arena):
            raise RuntimeError(message)

        return self.registering(refuse)

    def registering(self, register):
        """onnxruntime with another `create_and_register_allocator`."""
        real = {name: getattr(onnxruntime, name) for name in dir(onnxruntime) if not name.startswith("_")}
        return SimpleNamespace(**(real | {"create_and_register_allocator": register}))
