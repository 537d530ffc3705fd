"""Generate what the two parts need from the contract: `python protos/generate.py [--check]`.

- `service/_gen/`: Python messages, gRPC stubs and their types. protoc writes absolute imports
  (`from parley.v1 import …`); they are rewritten, so that nothing has to be on `sys.path`. The key of a
  JsonObject's member is `optional` in them, so that an empty one is written on the wire, as that of a map's entry
  always is: Envoy, which reads a map there, does not survive the printing of a member without a key.
- `gateway/_gen/parley.binpb`: the descriptor set that Envoy transcodes by. It is the contract's but
  for one rewrite: fields of type JsonObject become google.protobuf.Struct, which is equal on the
  wire and which Envoy reads from and prints as a plain JSON object, in the order of the body.

With --check nothing is written; differences are listed and the exit code is 1.
"""

from __future__ import annotations

import argparse
import filecmp
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
STUBS = Path("service/_gen")
DESCRIPTORS = Path("gateway/_gen/parley.binpb")
STAND_INS = {
    ".parley.v1.JsonObject": ".google.protobuf.Struct",
    ".parley.v1.JsonValue": ".google.protobuf.Value",
    ".parley.v1.JsonList": ".google.protobuf.ListValue",
}
KEY, KEY_THAT_IS_WRITTEN = "    string key = 1;", "    optional string key = 1;"
ABSOLUTE_IMPORT = re.compile(r"^(\s*)from parley\b", re.MULTILINE)


def generate(target: Path) -> None:
    """Write all generated files below `target`."""
    _generate_stubs(target / STUBS)
    _generate_descriptors(target / DESCRIPTORS)


def _generate_stubs(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    protos, plugins = ROOT / "protos", Path(sys.executable).parent
    names = sorted(str(path.relative_to(protos)) for path in protos.glob("parley/**/*.proto"))
    services = [name for name in names if name.endswith("_service.proto")]
    with tempfile.TemporaryDirectory() as changed:
        _write_changed_json(Path(changed))
        folders = (Path(changed), protos)  # the first that has a file is taken
        _protoc([f"--python_out={out}", f"--mypy_out=quiet:{out}", *_plugin(plugins, "mypy")], names, folders)
        grpc = [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *_plugin(plugins, "mypy_grpc")]
        _protoc(grpc, services, folders)
    for path in (*out.glob("parley/**/*.py"), *out.glob("parley/**/*.pyi")):
        path.write_text(ABSOLUTE_IMPORT.sub(r"\1from service._gen.parley", path.read_text("utf-8")), "utf-8")
    for folder in (out, out / "parley", out / "parley/v1"):
        (folder / "__init__.py").write_text("", "utf-8")


def _write_changed_json(folder: Path) -> None:
    name = "parley/v1/json.proto"
    text = (ROOT / "protos" / name).read_text("utf-8")
    if text.count(KEY) != 1:
        raise SystemExit(f"{name} no longer declares the key as `{KEY.strip()}`")
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text(text.replace(KEY, KEY_THAT_IS_WRITTEN), "utf-8")


def _plugin(folder: Path, name: str) -> list[str]:
    return [f"--plugin=protoc-gen-{name}={folder / f'protoc-gen-{name}'}"]


def _protoc(options: list[str], names: list[str], folders: tuple[Path, ...]) -> None:
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    places = (*folders, ROOT / "third_party/googleapis", well_known)
    code = protoc.main(["protoc", *(f"-I{place}" for place in places), *options, *names])
    if code != 0:
        raise SystemExit(f"protoc failed with exit code {code}")


def _generate_descriptors(out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    buf = Path(sys.executable).with_name("buf")
    command = [
        str(buf),
        "build",
        str(ROOT),
        "--as-file-descriptor-set",
        "--exclude-source-info",
        "-o",
        "-#format=binpb",
    ]
    built = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout
    descriptors = FileDescriptorSet.FromString(built)
    for file in descriptors.file:
        if file.package == "parley.v1" and not file.name.endswith("/json.proto"):
            for message in file.message_type:
                _stand_in(message)
            if "parley/v1/json.proto" in file.dependency:
                _depend_on_struct(file)
    out.write_bytes(descriptors.SerializeToString(deterministic=True))


def _stand_in(message: DescriptorProto) -> None:
    for field in message.field:
        # Not otherwise: an empty type name that is set makes Envoy refuse the whole set.
        if field.type_name in STAND_INS:
            field.type_name = STAND_INS[field.type_name]
    for nested in message.nested_type:
        _stand_in(nested)


def _depend_on_struct(file: FileDescriptorProto) -> None:
    names = [name for name in file.dependency if name != "parley/v1/json.proto"]
    file.dependency[:] = sorted({*names, "google/protobuf/struct.proto"})


def _differences(made: Path) -> list[str]:
    """Paths of generated files that are missing, stale or left over in the tree."""
    kept = {path.relative_to(ROOT) for path in (ROOT / STUBS).rglob("*") if path.suffix in {".py", ".pyi"}}
    kept.add(DESCRIPTORS)
    new = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    stale = {
        path
        for path in kept & new
        if not (ROOT / path).exists() or not filecmp.cmp(ROOT / path, made / path, shallow=False)
    }
    return sorted(str(path) for path in (kept ^ new) | stale)


def main() -> None:
    """Read the command line and generate, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something is stale")
    if not parser.parse_args().check:
        generate(ROOT)
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        if stale := _differences(Path(folder)):
            raise SystemExit("generated files are stale, run `make generate`:\n  " + "\n  ".join(stale))


if __name__ == "__main__":
    main()
