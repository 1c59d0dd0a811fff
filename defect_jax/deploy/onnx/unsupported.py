"""The one error for what cannot be said in ONNX."""


class Unsupported(ValueError):
    """A primitive, a parameter of one, or a dtype that the converter does not know.

    The message names it, and the primitive where it was met.
    """
