"""Sums in a graph whose order TensorFlow leaves to its threads (segframe.sum_order)."""


def large_sums(graph):
    """Names of the operations that sum three tensors and more, in the functions that it calls too."""
    definition = graph.as_graph_def()
    functions = [function.node_def for function in definition.library.function]
    return [
        node.name
        for nodes in [definition.node, *functions]
        for node in nodes
        if node.op in ("AddN", "AccumulateNV2") and sum(name[0] != "^" for name in node.input) > 2
    ]
