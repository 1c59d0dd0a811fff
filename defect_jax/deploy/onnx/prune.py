"""Leaves out what no output needs: a traced function computes more than it returns."""

from defect_jax.deploy.onnx.graph import Graph


def prune(graph: Graph) -> None:
    """Takes away, in place, nodes and initializers that lead to no output."""
    _prune_nodes(graph)
    needed = set(graph.all_read())
    for name in graph.initializers.keys() - needed:
        del graph.initializers[name]


def _prune_nodes(graph: Graph) -> None:
    needed = {output.name for output in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.output):
            if node.name in graph.bodies:
                _prune_nodes(graph.bodies[node.name])
            kept.append(node)
            needed.update(graph.reads(node))
    graph.nodes = kept[::-1]
