"""Train and time the force fields that users know, each in a virtual environment of its own.

    python -m benchmarks.peers install [NAME...]    one environment per peer below runs/peers/envs
    python -m benchmarks.peers speed [NAME...]      milliseconds on a 564-atom box, one thread
    python -m benchmarks.peers turns NAME NAME...   the same, call by call in turn, as ratios
    python -m benchmarks.peers train [NAME...] --minutes 10
    python -m benchmarks.peers table                markdown, and a figure of error against time

A peer is one module here (`nequip`, `mace`, ...), run by its own interpreter as

    python -m benchmarks.peers.NAME speed --out FILE.json --threads 1
    python -m benchmarks.peers.NAME train --recipe common|own --seconds 600 --out FOLDER

The first writes its timings; the second writes `run.json` and, for every time mark and split,
`<split>@<seconds>.npz` with `energy` (frames) and `forces` (atoms of all frames, 3), in the order
of `runs/peers/data/<split>.extxyz`. Whatever answers to that can be one more line in
`registry.PEERS`: a package in its own environment, or a script around the scalewise command.

Only the module `scalewise` imports the project; a peer's module may use only what its own
requirements install besides torch, numpy and ase. scalewise trains once per time mark, because its
schedule is fitted to the budget; its time includes its validations.
"""
