"""Models: the runtime interface, onnxruntime behind it, and the model that is served."""
