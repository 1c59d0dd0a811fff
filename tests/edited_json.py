"""JSON as somebody else might have edited it: every value replaced, every name taken away."""

import json

MARK = "@@here@@"
# As text, since no Python value is written like some of them.
EDITS = {
    "null": "null",
    "list": "[]",
    "object": "{}",
    "object in object": '{"a": {"b": 1}}',
    "text": '"x"',
    "long text": '"' + "x" * 10_000 + '"',
    "escape sequence": '"\\u001b]52;c;aGk=\\u0007"',
    "half a character": '"\\ud800"',
    "path out": '"../../../../tmp/x"',
    "true": "true",
    "NaN": "NaN",
    "infinity": "Infinity",
    "1e400": "1e400",
    "400 digits": "9" * 400,
    "5000 digits": "9" * 5000,
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "minus one": "-1",
    "zero": "0",
    "tiny": "1e-300",
    "half": "0.5",
    "huge": "1000000000",
    "huge list": "[1000000000, 1000000000]",
    "mixed list": '[1, "x", null, [2], {}]',
}


def paths(node, path=()):
    """Yields the path of every value below the top: of objects, lists and what is in them."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for name, child in items:
        yield (*path, name)
        if isinstance(child, dict | list):
            yield from paths(child, (*path, name))


def replaced(value, path, text):
    """The JSON of a value, with what is at a path replaced by a text."""
    copy = json.loads(json.dumps(value))
    _parent(copy, path)[path[-1]] = MARK
    return json.dumps(copy).replace(f'"{MARK}"', text, 1)


def without(value, path):
    """The JSON of a value, without what is at a path."""
    copy = json.loads(json.dumps(value))
    del _parent(copy, path)[path[-1]]
    return json.dumps(copy)


def with_more(value, path):
    """The JSON of a value, with a name too many beside what is at a path."""
    copy = json.loads(json.dumps(value))
    parent = _parent(copy, path)
    parent.update(extra=1) if isinstance(parent, dict) else parent.append("extra")
    return json.dumps(copy)


def _parent(node, path):
    for name in path[:-1]:
        node = node[name]
    return node
