"""attent where Keras users already train: in ``fit``, on any backend of Keras. TensorFlow is not imported here."""
