"""Settings that hold, and the tree that they make."""

from hushar.config.layers import Layer, Origin, Setting, as_tree, merged, value_of_text

ORIGIN = Origin("file", "key", "/")


def layer(**values):
    return Layer(tuple(Setting(tuple(name.split("__")), value, ORIGIN) for name, value in values.items()))


def test_later_layers_replace_and_none_is_absent():
    settings = merged([layer(a__b=1, a__c=2, d={"x": 1}), layer(a__b=None, d={"y": 2})])
    assert as_tree(settings.values()) == {"a": {"c": 2}, "d": {"y": 2}}


def test_tree_does_not_change_the_settings():
    settings = merged([layer(plugins__aws={}), layer(plugins__aws__region="eu")])
    assert as_tree(settings.values()) == {"plugins": {"aws": {"region": "eu"}}}
    assert settings["plugins", "aws"].value == {}


def test_value_of_text():
    assert value_of_text("5", is_text=False) == (5, ())
    assert value_of_text("5", is_text=True) == ("5", ())
    assert value_of_text("[5", is_text=False) == ("[5", ())
    value, duplicates = value_of_text('{"a": 1, "a": 2}', is_text=False)
    assert value == {"a": 2}
    assert len(duplicates) == 1
