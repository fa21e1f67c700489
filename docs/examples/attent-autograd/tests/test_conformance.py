"""Every rule of attent's specification, as a test of its own."""

import attent_conformance


class TestAutograd(attent_conformance.Suite):
    backend = "autograd"
