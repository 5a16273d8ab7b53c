"""Imports run one way, and heavy libraries each live behind few modules."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import textclf_jax

PACKAGE = Path(textclf_jax.__file__).parent

# The rooms of the package, from the bottom up: each may import itself and those that its line names. "" is the modules
# at the top of the package: class_names, constants, errors, extras, files
ALLOWED = {
    "": set(),
    "config": set(),
    "experiments": {"config"},
    "tokenizer": {"config"},
    "data": {"config", "tokenizer"},
    "prepare": {"config", "tokenizer", "data"},
    "kernels": set(),
    "model": {"config", "kernels"},
    "runtime": {"config", "kernels"},
    "tasks": {"config", "tokenizer", "data", "kernels", "model"},
    "runs": {"config", "experiments", "tokenizer", "data", "runtime"},
    "observe": {"kernels", "runtime", "runs"},
    "evaluation": {"config", "tokenizer", "data", "prepare", "kernels", "model", "runtime", "tasks", "runs"},
    "check": {"prepare", "evaluation"},
    "training": {
        *("config", "tokenizer", "data", "kernels", "model", "runtime"),
        *("tasks", "runs", "observe", "evaluation"),
    },
    "report": {
        *("config", "experiments", "tokenizer", "data", "tasks", "runtime"),
        *("runs", "observe", "evaluation", "training"),
    },
    "study": {"config", "experiments", "prepare", "runs", "observe", "evaluation", "training"},
    "serve": {"tokenizer", "runs", "evaluation"},
    "estimator": {
        *("config", "experiments", "prepare", "runtime", "runs"),
        *("observe", "evaluation", "training"),
    },
    "verdict": {
        *("config", "experiments", "prepare", "runtime", "runs", "observe"),
        *("evaluation", "check", "training", "report", "study"),
    },
    "interop": {"config", "experiments", "tokenizer", "data", "kernels", "model", "tasks", "runs"},
    "cli": {
        *("config", "experiments", "tokenizer", "data", "prepare", "runtime", "runs"),
        *("observe", "evaluation", "check", "training", "report", "study", "serve", "verdict", "interop"),
    },
}

# the modules and folders that may know a library
OWNERS = {
    "yaml": ("config/yaml_reader.py", "config/file.py"),
    "orbax": ("runs/checkpoint.py", "runs/arrays.py"),
    "wandb": ("runs/wandb_run.py",),
    "tensorboardX": ("runs/tensorboard_files.py",),
    "tokenizers": ("tokenizer/",),
    "pyarrow": ("prepare/parquet.py",),
    "torch": ("data/torch_files.py", "tokenizer/user_wrapper.py", "interop/"),
    "transformers": (),
    "onnx": ("interop/onnx_graph.py", "interop/onnx_model.py"),
    "onnxruntime": ("interop/onnx_model.py",),
    "matplotlib": ("observe/plots.py", "observe/confusion_picture.py", "observe/figures.py"),
    "jinja2": ("report/page.py",),
    "starlette": ("serve/",),
    "uvicorn": ("serve/running.py",),
    "benchmarks": ("cli/bench.py",),
}

LAZY = {
    *("wandb", "tensorboardX", "torch", "matplotlib", "jinja2", "sklearn", "pandas", "pyarrow", "transformers"),
    *("onnx", "onnxruntime"),
}
# what a class inherits from is needed at once; the module is imported where the class is asked for
BASES = {"estimator/text_classifier.py": {"sklearn"}}

# the one place that may ask JAX what it runs on, and those that may hold XLA back
BACKEND, KERNELS = "kernels/backend.py", "kernels/"
TRICKS = re.compile(r"\b(default_backend|optimization_barrier|bitcast_convert_type|custom_vjp|defvjp)\b|\.view\(jnp\.")


def modules() -> list[str]:
    """Paths of the package's modules, relative to it."""
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def is_type_checking(node: ast.AST) -> bool:
    """Whether this is `if TYPE_CHECKING:`, whose imports never run."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """(imported name, whether importing the module imports it) of each import statement that can run."""
    todo: list[tuple[ast.AST, bool]] = [(ast.parse((PACKAGE / module).read_text(encoding="utf-8")), True)]
    while todo:
        node, at_once = todo.pop()
        if is_type_checking(node):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from ((f"{node.module}.{alias.name}", at_once) for alias in node.names)
        at_once = at_once and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        todo += [(child, at_once) for child in ast.iter_child_nodes(node)]


def folder_of(name: str) -> str:
    """The folder of the package that `textclf_jax.<...>` lies in, "" for its top."""
    first = name.split(".")[1]
    return first if (PACKAGE / first).is_dir() else ""


def folders() -> set[str]:
    return {"", *(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())}


def test_every_folder_has_its_rule():
    assert folders() == set(ALLOWED)


def test_the_rooms_form_no_circle():
    """Each may import those that stand above it in the table."""
    rooms = list(ALLOWED)
    for i, room in enumerate(rooms):
        assert ALLOWED[room] <= set(rooms[:i]), room


# the package's own `__init__` and `__main__` stand above everything
@pytest.mark.parametrize("module", [name for name in modules() if name not in ("__init__.py", "__main__.py")])
def test_imports_run_one_way(module):
    own = module.split("/")[0] if "/" in module else ""
    for name, _ in imports(module):
        if name.split(".")[0] == "textclf_jax":
            assert folder_of(name) in {"", own, *ALLOWED[own]}, f"{module} imports {name}"


@pytest.mark.parametrize("module", modules())
def test_libraries_have_owners(module):
    for name, _ in imports(module):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or any(map(module.startswith, owners)), (
            f"{module} imports {name}, which belongs to {owners}"
        )


@pytest.mark.parametrize("module", modules())
def test_compiler_tricks_stay_with_the_kernels(module):
    found = {match[0] for match in TRICKS.finditer((PACKAGE / module).read_text(encoding="utf-8"))}
    if module == BACKEND:
        return
    assert "default_backend" not in found, f"{module}: ask kernels.backend.platform()"
    assert not found or module.startswith(KERNELS), f"{module} uses {found}"


@pytest.mark.parametrize("module", modules())
def test_slow_libraries_are_imported_where_they_are_used(module):
    for name, at_once in imports(module):
        slow = LAZY - BASES.get(module, set())
        assert not (at_once and name.split(".")[0] in slow), f"{module} imports {name} at once"


@pytest.mark.parametrize("module", ["textclf_jax", "textclf_jax.config.schema", "textclf_jax.cli"])
def test_the_command_line_starts_light(module):
    """What `--help` and a config error import: none of the libraries that take a second."""
    slow = sorted(LAZY | {"jax", "flax", "optax", "orbax", "tokenizers"})
    code = f"import sys, {module}; print([name for name in {slow} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_predicting_starts_light():
    """A first answer does not wait for what training alone needs, nor for what other commands do."""
    slow = sorted(LAZY | {"optax", "orbax"})
    code = "import sys, textclf_jax.evaluation.prediction, textclf_jax.evaluation.prediction_stream\n"
    code += f"print([name for name in {slow} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_the_checks_see_what_they_look_for(tmp_path, monkeypatch):
    """Imports at the top, in a class, in a function, and those for type checkers alone."""
    source = """
import os.path, torch
from textclf_jax.model import encoder
if TYPE_CHECKING:
    import pandas
class C:
    import wandb
    def f(self):
        import sklearn.metrics
try:
    from textclf_jax import training
except ImportError: pass
"""
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "m.py").write_text(source)
    for name in ("model", "training"):
        (tmp_path / name).mkdir()
    assert set(imports("m.py")) == {
        ("os.path", True),
        ("torch", True),
        ("textclf_jax.model.encoder", True),
        ("wandb", True),
        ("sklearn.metrics", False),
        ("textclf_jax.training", True),
    }
    assert [folder_of(f"textclf_jax.{name}") for name in ("model.x", "training", "errors.UserError")] == [
        "model",
        "training",
        "",
    ]
