"""Train and time the force fields that users know, each in a virtual environment of its own.

    python -m benchmarks.peers install [NAME...]    one environment per peer below runs/peers/envs
    python -m benchmarks.peers speed [NAME...]      milliseconds on a 564-atom box, one thread
    python -m benchmarks.peers turns NAME NAME...   the same, call by call in turn, as ratios
    python -m benchmarks.peers train [NAME...] --minutes 10
    python -m benchmarks.peers race [NAME...]       trained models, call by call in turn
    python -m benchmarks.peers table                markdown, and figures of error against time

The set is NaCl(aq); PEERS_SET=silicon before a command makes it silicon. A race is

    python -m benchmarks.peers train NAME... --recipe own --cpu
    python -m benchmarks.peers race NAME...

for each set, then `table`. `--cpu` counts minutes of the CPU: on a machine that is shared, others
take none of them.

A peer is one module here (`nequip`, `mace`, ...), run by its own interpreter as

    python -m benchmarks.peers.NAME speed --out FILE.json --threads 1
    python -m benchmarks.peers.NAME train --recipe common|own --seconds 600 --out FOLDER
    python -m benchmarks.peers.NAME serve --trained FOLDER

The first writes its timings; the second writes `run.json` and, for every time mark and split,
`<split>@<seconds>.npz` with `energy` (frames) and `forces` (atoms of all frames, 3), in the order
of `runs/peers/data/<set>/<split>.extxyz`; the third times a call of the trained model whenever it
is asked. Whatever answers to that can be one more line in `registry.PEERS`: a package in its own
environment, or a script around the scalewise command. Peers that are programs, not modules of
PyTorch (`deepmd`, `polymlp`, `uf3`, `nep`), have no `speed` and only their own recipe.

A call gives energy and forces of a frame whose atoms have moved a little since the last one.
scalewise and LAMMPS (`uf3`) keep a neighbor list with a skin, as in dynamics; `deepmd`, `polymlp`
and `nep` offer none in Python and search in every call; modules of PyTorch (`nequip`, `mace`) are
given theirs, which is not timed.

Only the module `scalewise` imports the project; a peer's module may use only what its own
requirements install besides torch, numpy and ase. scalewise trains once per time mark, because its
schedule is fitted to the budget; its time includes its validations.
"""
