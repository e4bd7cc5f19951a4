"""hushar: a gRPC model-inference server. Named features in, scores out.

Importing this package imports nothing else: `import hushar.rpc` or `import hushar.client` must not
pay for numpy, onnxruntime or pydantic.
"""

__version__ = "0.1.0"
