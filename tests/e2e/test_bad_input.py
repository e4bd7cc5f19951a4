"""The user's mistakes at start: status 2, a line on standard error that names file and key, no traceback.

`hushar check` finds the same as `hushar serve`, and both find everything at once.
"""

import json

import pytest
import trustme

SERVICE, VECTORIZATION, MODEL = "service.json", "vectorization.json", "model.onnx"


class Mistake:
    """A good configuration with something wrong in it."""

    def __init__(self, workspace, onnx_models, forker):
        self.workspace = workspace
        self.forker = forker
        self.models = onnx_models
        self.arguments = []
        self.environment = {}
        self.config = SERVICE
        workspace.configure(onnx_models.echo(1), port_number=0)

    def service(self, **changes):
        """Keys of the service configuration; None takes the key out."""
        made = json.loads(self.workspace.path(SERVICE).read_text()) | changes
        self.workspace.write(SERVICE, {key: value for key, value in made.items() if value is not None})

    def vectorize(self, order=None, **features):
        """The whole vectorization configuration."""
        made = {"feature_transformations": features, "feature_order": order or list(features)}
        self.workspace.write(VECTORIZATION, made)

    def certificate(self, name, host="localhost"):
        """NAME.crt and NAME.key in the workspace."""
        made = trustme.CA().issue_cert(host)
        self.workspace.write(f"{name}.crt", made.cert_chain_pems[0].bytes())
        self.workspace.write(f"{name}.key", made.private_key_pem.bytes())

    def run(self, command):
        """`hushar serve` or `hushar check`; the first ought to end as soon as the second."""
        return self.workspace.fork(self.forker, command, self.config, *self.arguments, env=self.environment)


IDENTITY = {"type": "identity", "default_val": [0]}


def scaling(**changes):
    return {"type": "min_max_scaling32", "min": 0, "max": 1, "default_val": [0]} | changes


def standard(**changes):
    return {"type": "standardization64", "mean": 0, "std_dev": 1, "default_val": [0]} | changes


def one_hot(**changes):
    return {"type": "one_hot_encoding", "categories": ["a"], "default_val": [0]} | changes


def embedding(**changes):
    return {"type": "embedding", "embeddings": {"a": [1]}, "default_val": [0]} | changes


def without(parameters, name):
    return {key: value for key, value in parameters.items() if key != name}


def service(**changes):
    """A step: keys of the service configuration; None takes the key out."""
    return lambda mistake: mistake.service(**changes)


def vectorize(*order, **features):
    """A step: another vectorization configuration."""
    return lambda mistake: mistake.vectorize(*order, **features)


def write(name, content):
    """A step: a file; content that is a function is given the makers of models."""

    def step(mistake):
        made = content(mistake.models) if callable(content) else content
        mistake.workspace.write(name, made)

    return step


def folder(name):
    """A step: a folder."""
    return lambda mistake: mistake.workspace.path(name).mkdir()


def certificate(name):
    """A step: NAME.crt and NAME.key."""
    return lambda mistake: mistake.certificate(name)


def config(name):
    """A step: what the command is given as its configuration."""
    return lambda mistake: setattr(mistake, "config", name)


def arguments(*words):
    """A step: further words of the command line."""
    return lambda mistake: mistake.arguments.extend(words)


def environment(**variables):
    """A step: variables of the environment."""
    return lambda mistake: mistake.environment.update(variables)


MISTAKES = {
    # the file itself
    "no such file": (["absent.json"], [config("absent.json")]),
    "a folder": (["folder.json"], [folder("folder.json"), config("folder.json")]),
    "JSON that ends too early": ([SERVICE, "line 3"], [write(SERVICE, b'{\n"model_path": "m",\n')]),
    "JSON with a comma too many": ([SERVICE, "line"], [write(SERVICE, b'{\n"a": 1,\n}')]),
    "JSON that is a list": ([SERVICE], [write(SERVICE, [])]),
    "no text": ([SERVICE], [write(SERVICE, b'{"model_id": "\xff"}')]),
    "TOML with a mistake": (
        ["service.toml", "line 2"],
        [write("service.toml", b'model_id = "m"\nport_number =\n'), config("service.toml")],
    ),
    "a suffix that says nothing": (
        ["service.yaml"],
        [write("service.yaml", b"model_id: m\n"), config("service.yaml")],
    ),
    "a key twice": ([SERVICE, "model_id"], [write(SERVICE, b'{"model_id": "a",\n "model_id": "b"}')]),
    # its keys
    "a required key is missing": ([SERVICE, "model_id"], [service(model_id=None)]),
    "an unknown key": ([SERVICE, "port_numbr", "port_number"], [service(port_numbr=1)]),
    "an unknown key in a section": (
        [SERVICE, "log.rotate_byte", "rotate_bytes"],
        [service(log={"rotate_byte": 1})],
    ),
    "an unknown section": ([SERVICE, "btching", "batching"], [service(btching={})]),
    "a section that is a number": ([SERVICE, "log"], [service(log=3)]),
    "text for a number": ([SERVICE, "port_number"], [service(port_number="80")]),
    "a number for text": ([SERVICE, "model_id"], [service(model_id=3)]),
    "true for a number": ([SERVICE, "connection_concurrency"], [service(connection_concurrency=True)]),
    "a unit in a value": ([SERVICE, "log.rotate_bytes", "64MiB"], [service(log={"rotate_bytes": "64MiB"})]),
    "a port above all ports": ([SERVICE, "port_number", "65535"], [service(port_number=70000)]),
    "no calls at all": ([SERVICE, "connection_concurrency"], [service(connection_concurrency=0)]),
    "a negative time": ([SERVICE, "server.drain_seconds"], [service(server={"drain_seconds": -1})]),
    "a rate above one": ([SERVICE, "log.sample_rate"], [service(log={"sample_rate": 1.5})]),
    "a segment that is too small": ([SERVICE, "log.rotate_bytes"], [service(log={"rotate_bytes": 1000})]),
    "an interval below a second": (
        [SERVICE, "metrics.interval_seconds"],
        [service(metrics={"interval_seconds": 0.5})],
    ),
    "an unknown choice": ([SERVICE, "log.acknowledge", "spooled"], [service(log={"acknowledge": "maybe"})]),
    "an empty model id": ([SERVICE, "model_id"], [service(model_id="")]),
    "a control character in the model id": ([SERVICE, "model_id"], [service(model_id="a\nb")]),
    "an unknown kernel": ([SERVICE, "kernel", "reference"], [service(kernel="fast")]),
    "an unknown metric sink": ([SERVICE, "metrics.sinks", "stdrr"], [service(metrics={"sinks": ["stdrr"]})]),
    # other ways to say it
    "an unknown --set key": (["log.rotate_byts", "--set"], [arguments("--set", "log.rotate_byts=1")]),
    "a wrong type by --set": (["log.rotate_bytes", "--set"], [arguments("--set", "log.rotate_bytes=many")]),
    "a --set without a value": (["--set"], [arguments("--set", "log.rotate_bytes")]),
    "a wrong type in the environment": (["HUSHAR_PORT"], [environment(HUSHAR_PORT="eighty")]),
    "a wrong number in the environment": (
        ["HUSHAR_LOG__SAMPLE_RATE"],
        [environment(HUSHAR_LOG__SAMPLE_RATE="7")],
    ),
    "an unknown key in the environment": (["HUSHAR_LOG__NOPE"], [environment(HUSHAR_LOG__NOPE="1")]),
    # what it points to
    "no vectorization file": (["gone.json"], [service(vectorization_instruction_path="gone.json")]),
    "no model file": (["model_path", "gone.onnx"], [service(model_path="gone.onnx")]),
    "no model file by URI": (
        ["model_path", "file:///gone/model.onnx"],
        [service(model_path="file:///gone/model.onnx")],
    ),
    "an unknown scheme": ([SERVICE, "model_path", "gopher"], [service(model_path="gopher://model.onnx")]),
    "a scheme whose plugin is not there": (
        [SERVICE, "model_path", "nfs2"],
        [service(model_path="nfs2://b/m.onnx")],
    ),
    "an unknown scheme of a log": ([SERVICE, "log.uri", "gopher"], [service(log={"uri": "gopher://logs"})]),
    "a log where nothing can be written": (
        ["log.uri", "file/logs"],
        [write("file", b""), service(log={"uri": "file/logs"})],
    ),
    "a spool where nothing can be written": (
        ["log.spool_dir", "file/spool"],
        [write("file", b""), service(log={"uri": "logs", "spool_dir": "file/spool"})],
    ),
    "no certificate": (
        [SERVICE, "tls.certificate", "gone.crt"],
        [service(tls={"certificate": "gone.crt", "key": "gone.key"})],
    ),
    "a certificate without a key": (
        [SERVICE, "tls.key"],
        [certificate("a"), service(tls={"certificate": "a.crt"})],
    ),
    "a key of another certificate": (
        [SERVICE, "tls.", "a.crt", "b.key"],
        [certificate("a"), certificate("b"), service(tls={"certificate": "a.crt", "key": "b.key"})],
    ),
    "a certificate that is none": (
        [SERVICE, "tls.certificate"],
        [certificate("a"), write("a.crt", b"no PEM"), service(tls={"certificate": "a.crt", "key": "a.key"})],
    ),
    # the model
    "an empty model": (["model_path", MODEL], [write(MODEL, b"")]),
    "a model that is noise": (["model_path", MODEL], [write(MODEL, b"\x93NUMPY" * 99)]),
    "half a model": (["model_path", MODEL], [write(MODEL, lambda models: models.mlp(1, 0)[:200])]),
    "an unknown operator": (
        [MODEL, "NoSuchOperator"],
        [write(MODEL, lambda models: models.unknown_operator())],
    ),
    "an opset from the future": ([MODEL], [write(MODEL, lambda models: models.unknown_opset())]),
    "a model that wants text": (
        [SERVICE, "model_path", "string"],
        [write(MODEL, lambda models: models.text_input())],
    ),
    "another model than was pinned": (["model.sha256"], [service(model={"sha256": "0" * 64})]),
    "an unknown runtime": ([SERVICE, "model.runtime", "onyx"], [service(model={"runtime": "onyx"})]),
    "an unknown output": (["model.output", "scoers", "scores"], [service(model={"output": "scoers"})]),
    "a provider that is not available": (
        ["model.providers", "CUDAExecutionProvider"],
        [service(model={"providers": ["CUDAExecutionProvider"]})],
    ),
    # the vectorization
    "vectorization that is no JSON": ([VECTORIZATION, "line 1"], [write(VECTORIZATION, b"{")]),
    "a list for the transformations": (
        [VECTORIZATION, "feature_transformations"],
        [write(VECTORIZATION, {"feature_transformations": [], "feature_order": []})],
    ),
    "no order": (
        [VECTORIZATION, "feature_order"],
        [write(VECTORIZATION, {"feature_transformations": {"height": IDENTITY}})],
    ),
    "an unknown key beside the order": (
        [VECTORIZATION, "feature_ordr"],
        [
            write(
                VECTORIZATION,
                {"feature_transformations": {}, "feature_order": [], "feature_ordr": []},
            )
        ],
    ),
    "no features": ([VECTORIZATION], [vectorize()]),
    "a transformation without a type": (
        [VECTORIZATION, "height", "type"],
        [vectorize(height={"default_val": [0]})],
    ),
    "an unknown type": (
        [VECTORIZATION, "height", "one_hot_encoding"],
        [vectorize(height=IDENTITY | {"type": "one_hot_encodng"})],
    ),
    "an unknown parameter": ([VECTORIZATION, "height", "maxx"], [vectorize(height=scaling(maxx=3))]),
    "a missing parameter": (
        [VECTORIZATION, "height", "mean"],
        [vectorize(height=without(standard(), "mean"))],
    ),
    "a parameter that is text": ([VECTORIZATION, "height", "mean"], [vectorize(height=standard(mean="0"))]),
    "min equals max": ([VECTORIZATION, "height", "min"], [vectorize(height=scaling(max=0))]),
    "min equals max in float32": (
        [VECTORIZATION, "height", "min"],
        [vectorize(height=scaling(min=1, max=1 + 1e-12))],
    ),
    "no deviation": ([VECTORIZATION, "height", "std_dev"], [vectorize(height=standard(std_dev=0))]),
    "no deviation in float32": (
        [VECTORIZATION, "height", "std_dev"],
        [vectorize(height=standard(type="standardization32", std_dev=1e-60))],
    ),
    "an empty default": (
        [VECTORIZATION, "height", "default_val"],
        [vectorize(height=IDENTITY | {"default_val": []})],
    ),
    "a default that is a number": (
        [VECTORIZATION, "height", "default_val"],
        [vectorize(height=IDENTITY | {"default_val": 0})],
    ),
    "no categories": ([VECTORIZATION, "height", "categories"], [vectorize(height=one_hot(categories=[]))]),
    "a category twice": (
        [VECTORIZATION, "height", "categories", "a"],
        [vectorize(height=one_hot(categories=["a", "b", "a"], default_val=[0] * 3))],
    ),
    "no embeddings": ([VECTORIZATION, "height", "embeddings"], [vectorize(height=embedding(embeddings={}))]),
    "embeddings of unequal length": (
        [VECTORIZATION, "height", "embeddings", "bb"],
        [vectorize(height=embedding(embeddings={"a": [1], "bb": [1, 2]}))],
    ),
    "an embedding of no length": (
        [VECTORIZATION, "height", "embeddings"],
        [vectorize(height=embedding(embeddings={"a": []}))],
    ),
    "half a unit of categories": (
        [VECTORIZATION, "height", "default_val", "31"],
        [vectorize(height=one_hot(categories=["a", "b"], default_val=[0] * 31))],
    ),
    "half a unit of an embedding": (
        [VECTORIZATION, "height", "default_val"],
        [vectorize(height=embedding(embeddings={"a": [1, 2]}, default_val=[0]))],
    ),
    "a feature without a transformation": (
        [VECTORIZATION, "feature_order", "age"],
        [vectorize(["height", "age"], height=IDENTITY)],
    ),
    "a feature without a place": (
        [VECTORIZATION, "age"],
        [vectorize(["height"], height=IDENTITY, age=IDENTITY)],
    ),
    "a feature at two places": (
        [VECTORIZATION, "feature_order", "height"],
        [vectorize(["height", "height"], height=IDENTITY)],
    ),
}
"""What is wrong: the words of a line that must be said, and the steps that lead there."""


@pytest.fixture
def mistaken(workspace, onnx_models, forker):
    """A good configuration, to be spoiled."""
    return Mistake(workspace, onnx_models, forker)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_stops_the_start_with_a_line_that_names_its_place(mistake, mistaken):
    words, steps = MISTAKES[mistake]
    for step in steps:
        step(mistaken)
    serve, check = mistaken.run("serve"), mistaken.run("check")
    for done in (serve, check):
        assert done.returncode == 2, done
        assert "Traceback" not in done.stdout + done.stderr, done
    lines = [line for line in serve.stderr.splitlines() if all(word in line for word in words)]
    assert lines, (words, serve.stderr)
    assert set(lines) <= set(check.stderr.splitlines()), (lines, check.stderr)


def test_a_width_that_is_not_the_models_lists_each_feature_with_its_columns(mistaken, onnx_models):
    mistaken.workspace.write(MODEL, onnx_models.echo(4))
    mistaken.vectorize(age=IDENTITY, colour=one_hot(categories=["a", "b"], default_val=[0] * 4))
    for done in (mistaken.run("serve"), mistaken.run("check")):
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        for word in (VECTORIZATION, "age", "colour", "5", "4"):
            assert word in done.stderr


def test_every_mistake_of_every_file_is_found_at_once(mistaken):
    mistaken.service(
        port_number=-1,
        nonsense=1,
        log={"uri": "gopher://x", "sample_rate": 2},
        model={"runtime": "onyx"},
        model_path="gone.onnx",
    )
    mistaken.vectorize(
        ["a", "b", "b", "gone"],
        a=scaling(min=3),
        b=standard(std_dev=-1, extra=1),
        c=one_hot(categories=["q", "q"]),
    )
    expected = [
        (SERVICE, "port_number"),
        (SERVICE, "nonsense"),
        (SERVICE, "log.uri"),
        (SERVICE, "log.sample_rate"),
        (SERVICE, "model.runtime"),
        ("model_path", "gone.onnx"),
        (VECTORIZATION, "a", "min"),
        (VECTORIZATION, "b", "std_dev"),
        (VECTORIZATION, "b", "extra"),
        (VECTORIZATION, "c", "categories"),
        (VECTORIZATION, "feature_order", "gone"),
        (VECTORIZATION, "feature_order", "b"),
    ]
    for done in (mistaken.run("serve"), mistaken.run("check")):
        assert done.returncode == 2
        lines = done.stderr.splitlines()
        missing = [words for words in expected if not any(all(w in line for w in words) for line in lines)]
        assert missing == [], done.stderr


def test_variables_that_kubernetes_sets_by_itself_are_no_mistake(workspace, onnx_models):
    workspace.configure(onnx_models.echo(1))
    variables = {
        "HUSHAR_PORT": "tcp://10.0.0.1:8279",
        "HUSHAR_SERVICE_HOST": "10.0.0.1",
        "HUSHAR_PORT_8279_TCP": "tcp://10.0.0.1:8279",
    }
    done = workspace.run("check", SERVICE, env=variables)
    assert done.returncode == 0, done.stderr
    assert "HUSHAR_PORT" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["serve"], ["serve", "a", "b"], ["serve", "--nonsense"], ["nonsense"], ["serve", SERVICE, "--demo"]],
)
def test_a_command_line_that_makes_no_sense_is_the_users_mistake(arguments, workspace, onnx_models):
    workspace.configure(onnx_models.echo(1), port_number=0)
    done = workspace.run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
