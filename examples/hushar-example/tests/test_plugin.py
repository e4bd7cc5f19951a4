"""The plugin as hushar sees it."""

import pluggy

import hushar_example
from hushar.plugins import hookspecs


def test_every_hook_is_one_of_hushars_and_brings_its_part():
    manager = pluggy.PluginManager("hushar")
    manager.add_hookspecs(hookspecs)
    manager.register(hushar_example, "example")
    manager.check_pending()
    assert manager.hook.hushar_settings() == [hushar_example.Settings]
    assert list(manager.hook.hushar_transformations()[0]) == ["square_root"]
    assert list(manager.hook.hushar_runtimes()[0]) == ["linear-json"]
    assert list(manager.hook.hushar_log_sinks()[0]) == ["jsonl"]
