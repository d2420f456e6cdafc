"""Engines that run models outside of training: torch, ONNX Runtime, OpenVINO; export and its checks; devices."""
