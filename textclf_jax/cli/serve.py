"""`textclf serve NAME`: predictions for programs and browsers, over HTTP."""

import argparse

from textclf_jax.experiments.folders import find_model
from textclf_jax.extras import require
from textclf_jax.serve.settings import Settings, check_settings

DEFAULT = Settings()


def add_parser(subparsers: "argparse._SubParsersAction") -> None:
    parser = subparsers.add_parser(
        "serve",
        help="answer requests over HTTP",
        description="Answer requests over HTTP with a trained classifier: POST /predict, and a page to try it in a "
        "browser. There is no authentication. Ctrl-C or SIGTERM ends it when all that was accepted is answered.",
    )
    parser.add_argument("name", help="the run experiments/finetuning/NAME, or the path of its folder or model.ckpt")
    parser.add_argument(
        "--host",
        default=DEFAULT.host,
        help="address to listen on; 0.0.0.0 lets other machines in (default: %(default)s, this machine alone)",
    )
    for flag, kind, default, told in (
        ("--port", int, DEFAULT.port, "0 takes any that is free"),
        ("--latency-ms", float, DEFAULT.latency_ms, "waiting for others does not delay an answer beyond this"),
        ("--max-batch", int, DEFAULT.max_batch, "most texts that are computed at once"),
        ("--max-waiting", int, DEFAULT.max_waiting, "most requests in progress; more are told to come again"),
        ("--max-body", int, DEFAULT.max_body, "most bytes of a request"),
        ("--max-texts", int, DEFAULT.max_texts, "most texts of a request"),
        ("--max-characters", int, DEFAULT.max_characters, "most characters of a text"),
    ):
        parser.add_argument(flag, type=kind, default=default, metavar="N", help=f"{told} (default: {default})")


def run(args: argparse.Namespace) -> int:
    names = vars(args).keys() & vars(DEFAULT).keys()
    settings = Settings(**{name: getattr(args, name) for name in names})
    check_settings(settings)
    for package in ("starlette", "uvicorn"):
        require(package, "`textclf serve`")
    folder = find_model(args.name, ("finetuning",))
    # jax takes a second to import: only sound arguments get here
    from textclf_jax.evaluation.classifier import Classifier
    from textclf_jax.serve.running import listen, serve

    with listen(settings.host, settings.port) as listener:
        return serve(Classifier.load(folder), folder.resolve().parent.name, settings, listener)
