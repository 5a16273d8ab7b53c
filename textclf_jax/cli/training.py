"""What `textclf pretrain` and `textclf finetune` share: find the run, check its config, train."""

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textclf_jax.config.file import AnyConfig, Kind, load_config
from textclf_jax.errors import UserError
from textclf_jax.experiments.folders import find_run, project_root
from textclf_jax.files import why_not_writable

if TYPE_CHECKING:
    from textclf_jax.runs.pretrained import Pretrained


def add_training_parser(subparsers: "argparse._SubParsersAction", command: str, kind: Kind, text: str) -> None:
    """Declares the arguments of a training command; `text` is its help."""
    parser = subparsers.add_parser(command, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("name", help=f"the run experiments/{kind}/NAME")
    add_set_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="check config, data and model, but do not train")
    parser.add_argument(
        "--profile", metavar="STEPS", help="trace so many steps once warm; the same as --set training.profile=STEPS"
    )
    parser.add_argument(
        "--changed-data", action="store_true", help="go on with an interrupted run although its data has changed"
    )
    parser.add_argument("--fresh", action="store_true", help="start over, even if the run was interrupted or finished")
    group = parser.add_argument_group(
        "several processes", "SLURM, Open MPI and Kubernetes tell these; elsewhere give all three to each process"
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="the host of process 0, and a free port of it")
    group.add_argument(
        "--num-processes", type=int, metavar="N", help="how many there are; 1 runs alone, on a cluster too"
    )
    group.add_argument("--process-id", type=int, metavar="I", help="which one this is, from 0")


def add_set_option(parser: argparse.ArgumentParser) -> None:
    """Declares `--set`, whose values become `args.overrides`."""
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="SECTION.KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="override keys of the config, e.g. --set training.epochs=3 training.learning_rate=1e-4",
    )


def train(kind: Kind, args: argparse.Namespace) -> int:
    """Trains the run that is named in `args` and returns the exit code."""
    enter_project(args)
    folder = find_run(kind, args.name)
    overrides = [*args.overrides, *([] if args.profile is None else [f"training.profile={args.profile}"])]
    config = loaded_config(kind, folder, overrides)
    # jax takes a second to import: only a valid config gets here
    from textclf_jax.runtime.processes import Launch, join

    train = functools.partial(
        train_config, config, folder, dry_run=args.dry_run, fresh=args.fresh, changed_data=args.changed_data
    )
    if not join(Launch(args.coordinator, args.num_processes, args.process_id)):
        return train()
    from textclf_jax.cli.together import among_others

    return among_others(train)


def train_run(
    kind: Kind,
    folder: Path,
    overrides: Sequence[str] = (),
    *,
    dry_run: bool = False,
    fresh: bool = False,
    changed_data: bool = False,
) -> int:
    """Trains the run in a folder and returns the exit code; arguments as for `fit`."""
    config = loaded_config(kind, folder, overrides)
    return train_config(config, folder, dry_run=dry_run, fresh=fresh, changed_data=changed_data)


def loaded_config(kind: Kind, folder: Path, overrides: Sequence[str]) -> AnyConfig:
    """The config of the run in a folder; prints the notes on it."""
    loaded = load_config(folder / "config.yaml", overrides, kind)
    for note in loaded.notes:
        print(f"note: {note}", file=sys.stderr)
    return loaded.config


def train_config(config: AnyConfig, folder: Path, *, dry_run: bool, fresh: bool, changed_data: bool) -> int:
    """Trains what a config describes and returns the exit code; arguments as for `fit`."""
    from textclf_jax.runtime.processes import is_first
    from textclf_jax.training.fit import fit

    config, pretrained = _start(config)
    code = fit(config, folder, dry_run=dry_run, fresh=fresh, changed_data=changed_data, pretrained=pretrained)
    if dry_run and not code and is_first():
        from textclf_jax.interop.exporting import formats_told

        print("\n".join(formats_told(config)))
    return code


def enter_project(args: argparse.Namespace, *paths: str) -> None:
    """Leaves the folder `experiments/` of a project, or one below it, for the project's own.

    All paths of runs and configs start in the current folder, so nowhere else has a meaning for them there.

    Args:
      args: of the command.
      paths: which of its attributes are paths (or None); they become the same paths from the folder that is entered.
    """
    here, root = Path.cwd(), project_root()
    if root == Path():
        return
    os.chdir(root)
    print(f"note: working in {root}, the folder of the project", file=sys.stderr)
    for name in paths:
        if (path := getattr(args, name)) is not None:
            setattr(args, name, type(path)(os.path.relpath(here / path)))


def check_out_folder(out: Path) -> None:
    """Raises UserError where the report could not be written, before anything is computed; makes nothing."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a folder")
    folder = next(path for path in (out, *out.absolute().parents) if path.exists())
    if reason := why_not_writable(folder):
        raise UserError(f"--out {out}: {folder} cannot be written ({reason}). Name another, or mend the rights.")


def _start(config: AnyConfig) -> "tuple[AnyConfig, Pretrained | None]":
    """The config, with the architecture that the pretrained weights need, and the weights, or None."""
    from textclf_jax.runs.pretrained import start_path
    from textclf_jax.runtime.device import set_up_device

    path = start_path(config)
    if path is None:
        return config, None
    from textclf_jax.interop.starting import load_start

    set_up_device(config.training)  # JAX must know its device before weights are loaded
    pretrained, config, notes = load_start(path, config)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return config, pretrained
