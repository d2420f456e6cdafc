"""What runs a model outside of training: torch, ONNX Runtime, OpenVINO; export and its checks; devices."""
