"""ONNX in, network out: load, fold, shapes, stages, geometry, slices, images, labels."""
