"""The sealed ONNX file: how it is built and how it runs. Nothing that runs it imports torch."""
