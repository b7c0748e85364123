"""The graph of a network's forward pass, and its three pieces around the list of body blocks (torch.fx).

Not by torch.export, which reads networks everywhere else: its graphs, those of `torch.export.unflatten` included, hold
operators in place of modules, in the mode and on the side of every size condition that they were traced with (dropout
is gone or stays for ever, a block that asks for 7 pixels refuses smaller patches), and can be neither copied nor
pickled. The pieces train, are saved and copied, and take patches of any size as the network's own modules do; tests
hold them to it.
"""
from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import NamedTuple

from torch import fx, nn

from basicsr_amsr.errors import UserError, suggestion


class ChainGraphs(NamedTuple):
    """stem(x), middle(body's input, body's output), tail(feature, x), see chain.py."""

    stem: fx.Graph
    middle: fx.Graph
    tail: fx.Graph


class PartTracer(fx.Tracer):
    """Looks only into the modules that hold one of `paths`; every other module is one call."""

    def __init__(self, paths: Collection[str]) -> None:
        super().__init__()
        self.parents = {path.rsplit('.', up)[0] for path in paths for up in range(1, path.count('.') + 1)}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self.parents


def read_graphs(net: nn.Module, body: str, tail: str) -> ChainGraphs:
    """Trace `net.forward` and cut it before the body's first block, behind its last, and before `tail`.

    Raises:
        UserError: a path leads nowhere, the forward pass cannot be read, the blocks are no plain chain, or a piece
            needs more than what it is given.
    """
    name = type(net).__name__
    blocks = [f'{body}.{key}' for key, _ in find(net, 'body', body).named_children()]
    find(net, 'tail', tail)
    if not blocks:
        raise UserError(f"{name}: body '{body}' is no list of blocks: give an nn.ModuleList or nn.Sequential.")
    try:
        graph = PartTracer([*blocks, tail]).trace(net)
    except (fx.proxy.TraceError, TypeError, RuntimeError, AttributeError) as error:
        reason = ' '.join(str(error).split())[:120]
        raise UserError(f'{name}: its forward pass cannot be cut by name, because its course depends on the image '
                        f'({reason}): write extract, reconstruct and a split (docs/backbones.md).') from error
    image = next(node for node in graph.nodes if node.op == 'placeholder')
    calls = {path: [node for node in graph.nodes if node.op == 'call_module' and node.target == path]
             for path in (*blocks, tail)}
    for path, nodes in calls.items():
        if len(nodes) != 1 or len(nodes[0].all_input_nodes) != 1:
            raise UserError(f"{name}: '{path}' is called {len(nodes)} times or with several inputs: it has to be "
                            'called once, with one.')
    chain = [calls[path][0] for path in blocks]
    for before, after in pairwise(chain):
        if after.all_input_nodes != [before] or list(before.users) != [after]:
            raise UserError(f"{name}: '{before.target}' and '{after.target}' are no plain chain: every block of "
                            f"'{body}' has to be given what the one before it gives, and nothing else may use it.")
    start, end, feature = chain[0].all_input_nodes[0], chain[-1], calls[tail][0].all_input_nodes[0]
    output = next(node for node in graph.nodes if node.op == 'output').all_input_nodes[0]
    stem = Piece(name, 'stem', {image: 'x'})
    middle = Piece(name, 'middle', {start: 'start', end: 'end'})
    last = Piece(name, 'tail', {feature: 'feature', image: 'x'})
    pieces = ChainGraphs(stem.up_to(start), middle.up_to(feature), last.up_to(output))
    shared = ((stem.modules | set(blocks)) & (middle.modules | last.modules)) | (middle.modules & last.modules)
    weighed = sorted(path for path in shared if any(True for _ in net.get_submodule(path).parameters()))
    if weighed:
        raise UserError(f'{name}: behind its body it uses what another part has computed ({", ".join(weighed)}): '
                        'write extract, reconstruct and a split (docs/backbones.md).')
    return pieces


class Piece:
    """A part of a graph as a graph of its own: what leads from its inputs to its output.

    What computes without weights may be part of several pieces. `modules` are the paths of the modules used.
    """

    def __init__(self, name: str, piece: str, inputs: Mapping[fx.Node, str]) -> None:
        self.name, self.piece = name, piece
        self.graph = fx.Graph()
        self.copies = {node: self.graph.placeholder(label) for node, label in inputs.items()}
        self.modules: set[str] = set()

    def up_to(self, output: fx.Node) -> fx.Graph:
        """The graph whose result is `output`."""
        wanted = set()
        waiting = [output]
        while waiting:
            node = waiting.pop()
            if node not in wanted and node not in self.copies:
                wanted.add(node)
                waiting.extend(node.all_input_nodes)
        for node in output.graph.nodes:  # in the order of the forward pass
            if node in wanted:
                if node.op == 'placeholder':
                    raise UserError(f'{self.name}: its {self.piece} uses {node.target}, which it is not given: write '
                                    'extract, reconstruct and a split (docs/backbones.md).')
                if node.op == 'call_module':
                    self.modules.add(str(node.target))
                self.copies[node] = self.graph.node_copy(node, self.copies.__getitem__)
        self.graph.output(self.copies[output])
        return self.graph


def find(net: nn.Module, what: str, path: str) -> nn.Module:
    """The module at an attribute path; a UserError that names near ones."""
    try:
        return net.get_submodule(path)
    except AttributeError:
        names = [name for name, _ in net.named_modules() if name and name.count('.') <= path.count('.')]
        raise UserError(f"{type(net).__name__}: {what} '{path}' is none of its modules. "
                        f'{suggestion(path, names)}') from None
