"""The section `model` of the configuration, as onnxruntime wants it."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from hushar.models.cpus import available_cpus
from hushar.models.messages import short_text
from hushar.models.runtime import ModelError, ModelSettings
from hushar.nearest import did_you_mean

SILENT = 4
"""onnxruntime's severity FATAL: it writes nothing to stderr. What it raises says the same."""

CPU = "CPUExecutionProvider"

_LEVELS: Mapping[str, str] = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_ARENAS = ("same_as_requested", "next_power_of_two")
_SAME_AS_REQUESTED = 1  # of onnxruntime's arena_extend_strategy

# onnxruntime takes every key and ignores those it does not know, so a misspelt one would do nothing.
# A key that is none of these is passed on (a newer version may know it) unless it nearly is one.
_CONFIG_KEYS = frozenset(
    {
        "ep.context_embed_mode",
        "ep.context_enable",
        "ep.context_file_path",
        "optimization.disable_specified_optimizers",
        "optimization.enable_cast_chain_elimination",
        "optimization.enable_gelu_approximation",
        "optimization.minimal_build_optimizations",
        "session.allow_released_opsets_only",
        "session.debug_layout_transformation",
        "session.disable_aot_function_inlining",
        "session.disable_cpu_ep_fallback",
        "session.disable_double_qdq_remover",
        "session.disable_prepacking",
        "session.disable_quant_qdq",
        "session.dynamic_block_base",
        "session.enable_quant_qdq",
        "session.enable_quant_qdq_cleanup",
        "session.force_spinning_stop",
        "session.graph_optimizations_loop_level",
        "session.inter_op.allow_spinning",
        "session.inter_op.spin_backoff_max",
        "session.inter_op.spin_duration_us",
        "session.intra_op.allow_spinning",
        "session.intra_op.spin_backoff_max",
        "session.intra_op.spin_duration_us",
        "session.intra_op_thread_affinities",
        "session.load_model_format",
        "session.model_external_initializers_file_folder_path",
        "session.optimized_model_external_initializers_file_name",
        "session.qdq_matmulnbits_accuracy_level",
        "session.qdq_matmulnbits_block_size",
        "session.qdqisint8allowed",
        "session.save_model_format",
        "session.set_denormal_as_zero",
        "session.strict_shape_type_inference",
        "session.use_device_allocator_for_initializers",
        "session.use_env_allocators",
        "session.x64quantprecision",
    }
)
_MISSPELT = 0.93  # of difflib's ratio: one or two wrong letters in a key of that length


def providers_of(
    settings: ModelSettings, available: Sequence[str]
) -> tuple[tuple[str, ...], tuple[Mapping[str, str], ...]]:
    """The providers to ask for and the options of each, in order; the CPU's where none is named.

    Raises ModelError with the key `model.providers` for one that this onnxruntime has not, or that
    is named twice, and `model.provider_options` for options that would go nowhere.
    """
    names = tuple(settings.providers) or (CPU,)
    for name in names:
        if name not in available:
            raise ModelError(
                "model.providers",
                f"{name!r} is not available; this onnxruntime has {', '.join(available)}",
            )
        if names.count(name) > 1:
            raise ModelError("model.providers", f"{name!r} is named twice")
    for name in settings.provider_options:
        if name not in names:
            raise ModelError(
                "model.provider_options", f"{name!r} is not among the providers: {', '.join(names)}"
            )
    if settings.provider_options.get(CPU):
        raise ModelError("model.provider_options", f"{CPU} takes no options; onnxruntime ignores them")
    return names, tuple(settings.provider_options.get(name, {}) for name in names)


def check_providers(asked: Sequence[str], given: Sequence[str]) -> None:
    """Refuse a session that does without a provider which was asked for.

    onnxruntime goes on with the others when one cannot start, a GPU's without its libraries for
    example. Raises ModelError with the key `model.providers`.
    """
    for name in asked:
        if name not in given:
            raise ModelError(
                "model.providers", f"{name!r} could not be used; onnxruntime fell back to {', '.join(given)}"
            )


def session_options(onnxruntime: Any, settings: ModelSettings) -> Any:
    """An onnxruntime.SessionOptions.

    Operators run beside each other only with `inter_op_threads` other than 1: onnxruntime has that
    pool in its parallel execution mode only. Raises ModelError with the key of the setting at fault.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    level = _known("model.optimization", settings.optimization, tuple(_LEVELS))
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[level])
    threads = settings.intra_op_threads
    options.intra_op_num_threads = available_cpus() if threads is None else threads
    options.inter_op_num_threads = settings.inter_op_threads
    if settings.inter_op_threads != 1:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    if _known("model.arena_extend", settings.arena_extend, _ARENAS) == "same_as_requested":
        _share_arena(onnxruntime)
        options.add_session_config_entry("session.use_env_allocators", "1")
    for key, value in settings.session_config.items():
        _add_entry(options, key, value)
    return options


def _known(key: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise ModelError(key, f"{value!r} is none of {', '.join(known)}{did_you_mean(value, known)}")
    return value


def _share_arena(onnxruntime: Any) -> None:
    """Give onnxruntime's environment a CPU arena that grows by what is asked for.

    A session's own arena doubles with each extension and never shrinks, and from Python it cannot be
    configured: the CPU provider ignores `arena_extend_strategy`. Allocators of the environment can.
    They belong to the process. Registered again, the new one is for the sessions after it; older
    versions refuse that, and the first one, which is just the same, stays.
    """
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    arena = onnxruntime.OrtArenaCfg({"arena_extend_strategy": _SAME_AS_REQUESTED})
    try:
        onnxruntime.create_and_register_allocator(memory, arena)
    except RuntimeError as error:
        if "already been registered" not in str(error):
            raise


def _add_entry(options: Any, key: str, value: str) -> None:
    if key not in _CONFIG_KEYS:
        near = difflib.get_close_matches(key, _CONFIG_KEYS, n=1, cutoff=_MISSPELT)
        if near:
            raise ModelError("model.session_config", f"unknown entry {key!r}, did you mean {near[0]!r}?")
    try:
        options.add_session_config_entry(key, value)
    except (RuntimeError, TypeError) as error:
        raise ModelError("model.session_config", f"entry {key!r}: {short_text(error)}") from error
