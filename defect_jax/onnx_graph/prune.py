"""Leaves out what no output needs: a traced function computes more than it returns."""

from defect_jax.onnx_graph.graph import Graph


def prune(graph: Graph) -> None:
    """Takes away, in place, nodes and initializers that lead to no output."""
    needed = {output.name for output in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    graph.nodes = kept[::-1]
    graph.initializers = {n: array for n, array in graph.initializers.items() if n in needed}
