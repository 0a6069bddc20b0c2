"""Build and run the detector's ONNX file. Running it never imports torch."""
