"""The sentences of docs/options.md that no section says."""

INTRODUCTION = """\
# Options

What an option file may hold, printed by `basicsr options > docs/options.md`. **Bold** keys have to be there; where no
default stands, it is `~`, nothing. A key that is not here is refused, with the near names; [the command](cli.md) says
how values are read.

**What files share is written once.** `base: FILE`, or a list of files, names option files to start from: beside the
file that names it, in a folder above, or one that comes with the project. Later files go over earlier ones, mapping
by mapping: `train: {total_iter: 5}` changes that key of `train:` alone. Lists are replaced as a whole; `key: ~` takes
a whole mapping out. Over that go `demo:` (with `basicsr train --demo`), then `--force_yml KEY:KEY=VALUE`. The copy in
the folder of an experiment is complete.
"""
DATASETS = """\
`train` and `val` in training, `val` or `test` in tests, also with a number behind (`val_1`, `test_2`). For all data
sets:
"""
NETWORKS = """\
`network_g: {type: NAME, …}`, where NAME is one of `basicsr list arch`; beside it stand the arguments of its class.
`upscale` (or `scale`) may be left out: it is the `scale` of the file. Discriminators go under `network_d:`.
"""
BACKBONES = """\
What `backbone: {type: NAME, …}` of MGA and AMSR takes, with the published defaults. For MGA `split_blocks` is the
number of its blocks.
"""
OTHERS = 'Further networks, with the defaults of their classes (**bold**: required):\n'
TRANSFORMS = """\
Under `transforms:` of a training set or of `train:`, with `target: lq` or `gt` beside the type, and under
`degradations:` of DegradedPairDataset ([images](data.md), [SFM](sfm.md)).
"""
OPTIMIZERS = """\
`optim_g: {type: NAME, …}`: MGAModel takes any optimizer of torch.optim with its arguments, but for `lr`, which the
steps give. BasicSR's models need `lr`, and know OPTIMIZERS. Their schedulers:
"""
