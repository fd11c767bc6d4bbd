"""Checks the house rules that no linter knows: sizes, purposes, public names, and what must not be in the tree."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "footplate"

MAX_LINES, MAX_FUNCTION_LINES, MAX_METHODS, MAX_PARAMETERS = 500, 60, 20, 7

# What may be larger, each with its reason. An entry that is no longer needed fails the test too.
EXCEPTIONS: dict[str, str] = {}

SILENCED = re.compile(r"#\s*(type: ignore|noqa)(\[(?P<kind>[\w,\- ]+)\]|: (?P<rule>[A-Z]+\d+))?(?P<reason>.*\w.*)?")

# Codes of silenced checks whose reason is always the same.
SELF_EXPLAINING = {
    "no-any-return": "torch's modules are called through Any",
    "no-untyped-call": "the library's function has no types",
    "ARG001": "the signature is an interface's",
    "ARG002": "the signature is an interface's",
    "SIM115": "the file stays open on purpose and is closed by its owner",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def list_tracked() -> tuple[str, ...]:
    """Return the files of the tree as git sees them: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    return tuple(name for name in sorted(done.stdout.split("\0")) if name and (ROOT / name).is_file())


def list_python(*folders: str) -> list[Path]:
    return [ROOT / name for name in list_tracked() if name.endswith(".py") and name.startswith(folders)]


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def walk_functions(path: Path) -> Iterator[tuple[str, Function]]:
    for node in ast.walk(parse(path)):
        if isinstance(node, Function):
            yield f"{name_of(path)}:{node.name}", node


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def find_too_large() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in list_python("src/", "tests/", "tools/", "benchmarks/", "examples/"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_LINES:
            found[name_of(path)] = f"{lines} lines of at most {MAX_LINES}"
        for name, function in walk_functions(path):
            length = (function.end_lineno or 0) - function.lineno + 1
            if length > MAX_FUNCTION_LINES:
                found[name] = f"{length} lines of at most {MAX_FUNCTION_LINES}"
            arguments = function.args
            parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            count = sum(parameter.arg not in ("self", "cls") for parameter in parameters)
            if count > MAX_PARAMETERS and not is_click_command(function):
                found[f"{name}()"] = f"{count} parameters of at most {MAX_PARAMETERS}"
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ClassDef):
                methods = sum(isinstance(item, Function) for item in node.body)
                if methods > MAX_METHODS:
                    found[f"{name_of(path)}:{node.name}"] = f"{methods} methods of at most {MAX_METHODS}"
    return found


def is_click_command(function: Function) -> bool:
    """Tell whether click makes the parameters out of the options of a verb: then they are the verb's options."""
    return any("click.command" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_no_file_function_or_class_is_too_large() -> None:
    unexpected = {name: why for name, why in find_too_large().items() if name not in EXCEPTIONS}
    assert not unexpected


def test_every_exception_to_the_sizes_is_still_needed() -> None:
    assert sorted(EXCEPTIONS) == sorted(set(EXCEPTIONS) & set(find_too_large()))


def test_every_file_opens_with_its_purpose() -> None:
    wrong = []
    for path in list_python("src/", "tests/", "tools/", "benchmarks/", "examples/"):
        first = (ast.get_docstring(parse(path)) or "").partition("\n")[0]
        if not first.endswith((".", ":")) or len(first) < 15:
            wrong.append(name_of(path))
    assert not wrong


def test_every_public_module_says_what_is_public() -> None:
    wrong = []
    for path in list_python("src/"):
        if path.name.startswith("_") or "templates" in path.parts:
            continue
        if not any(
            isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__" for node in parse(path).body
        ):
            wrong.append(name_of(path))
    assert not wrong


def test_what_is_public_exists_and_is_documented() -> None:
    wrong = []
    for path in list_python("src/"):
        names = find_public_names(path)
        defined = {node.name: node for node in parse(path).body if isinstance(node, Function | ast.ClassDef)}
        wrong += [
            f"{name_of(path)}:{name} has no docstring"
            for name in names & set(defined)
            if not ast.get_docstring(defined[name])
        ]
        if names and not names <= set(defined) | find_assigned(path):
            wrong.append(f"{name_of(path)}: __all__ names {sorted(names - set(defined) - find_assigned(path))}")
    assert not wrong


def find_public_names(path: Path) -> set[str]:
    for node in parse(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def find_assigned(path: Path) -> set[str]:
    """Return the names a module assigns or imports at its top, also under `if TYPE_CHECKING`."""
    names: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {ast.unparse(target) for target in node.targets}
        elif isinstance(node, ast.AnnAssign):
            names.add(ast.unparse(node.target))
        elif isinstance(node, ast.TypeAlias if hasattr(ast, "TypeAlias") else ()):
            names.add(ast.unparse(node.name))
    return names


def test_no_error_is_swallowed() -> None:
    """`except Exception: pass` in any spelling hides what went wrong."""
    wrong = []
    for path in list_python("src/", "tests/", "tools/", "benchmarks/"):
        for node in ast.walk(parse(path)):
            if (
                isinstance(node, ast.ExceptHandler)
                and is_broad(node)
                and all(isinstance(line, ast.Pass | ast.Continue) for line in node.body)
            ):
                wrong.append(f"{name_of(path)}:{node.lineno}")
    assert not wrong


def is_broad(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or ast.unparse(handler.type) in ("Exception", "BaseException")


def test_no_shell_and_no_pickle() -> None:
    wrong = []
    for path in list_python("src/", "tests/", "tools/", "benchmarks/", "examples/"):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.keyword) and node.arg == "shell" and ast.unparse(node.value) != "False":
                wrong.append(f"{name_of(path)}:{node.value.lineno}: shell")
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {module.partition(".")[0] for module in modules} & {
                "pickle",
                "cPickle",
                "dill",
                "cloudpickle",
                "shelve",
                "marshal",
            }:
                wrong.append(f"{name_of(path)}: pickle")
            if isinstance(node, ast.keyword) and (node.arg, ast.unparse(node.value)) in {
                ("allow_pickle", "True"),
                ("weights_only", "False"),
            }:
                wrong.append(f"{name_of(path)}:{node.value.lineno}: {node.arg}")
    assert not wrong


def test_every_silenced_check_names_its_rule_and_its_reason() -> None:
    """Want `# type: ignore[code]  # reason` and `# noqa: CODE  # reason`, or the reason on the line above."""
    wrong = []
    for path in list_python("src/"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for before, (number, line) in zip(["", *lines], enumerate(lines, start=1), strict=False):
            silenced = SILENCED.search(line)
            if silenced and not is_explained(silenced, before):
                wrong.append(f"{name_of(path)}:{number}")
    assert not wrong


def is_explained(silenced: re.Match[str], line_above: str) -> bool:
    code = silenced["kind"] or silenced["rule"]
    told = silenced["reason"] or code in SELF_EXPLAINING or line_above.lstrip().startswith("#")
    return bool(code and told)


def test_nothing_in_the_tree_names_a_machine_or_a_person() -> None:
    # The words are put together here so that this file does not find itself.
    words = [
        re.escape(str(ROOT)) + "/",
        "/" + "root/",
        "/opt/" + "wheels",
        "/tmp/" + "brief",
        "\\.\\./" + "shared",
        "BEGIN " + "[A-Z ]*PRIVATE KEY",
    ]
    pattern = re.compile("|".join(words))
    wrong = []
    for name in list_tracked():
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture or an archive
            continue
        wrong += [f"{name}: {found.group()}" for found in pattern.finditer(text)]
    assert not wrong


def test_no_large_or_generated_file_is_tracked() -> None:
    large = [name for name in list_tracked() if (ROOT / name).stat().st_size > 500_000]
    wrong = [
        name
        for name in list_tracked()
        if re.search(r"\.(pyc|whl|pt|pth|ckpt|pkl|sqlite|db|log)$|(^|/)__pycache__/", name)
    ]
    assert not large + wrong


def test_no_room_is_a_lumber_room() -> None:
    names = {path.name for path in SOURCE.rglob("*") if path.is_dir()} | {path.stem for path in SOURCE.rglob("*.py")}
    assert not names & {
        "core",
        "common",
        "util",
        "utils",
        "helpers",
        "helper",
        "base",
        "misc",
        "services",
        "managers",
        "manager",
    }
