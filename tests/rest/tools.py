"""Installs test tools with pip, npm and apt, once."""

import pathlib
import shutil
import subprocess
import sys


def python(cache: pathlib.Path, *packages: str) -> pathlib.Path:
    """Returns the `bin` folder of a virtual environment that has the packages."""
    return cached(cache / "python", packages, install_python) / "bin"


def install_python(folder: pathlib.Path, packages) -> None:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", *packages], check=True)


def node(cache: pathlib.Path, *packages: str) -> pathlib.Path:
    """Returns a folder whose `node_modules` has the packages."""
    require("npm", "npm", "nodejs")
    return cached(cache / "node", packages, install_node)


def install_node(folder: pathlib.Path, packages) -> None:
    folder.mkdir(parents=True)
    (folder / "package.json").write_text('{"private": true, "type": "module"}\n', encoding="utf-8")
    flags = ["--silent", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    subprocess.run(["npm", "install", *flags, *packages], cwd=folder, check=True)


def cached(folder: pathlib.Path, packages, install) -> pathlib.Path:
    """Returns the folder; installs it again if the list of packages has changed."""
    stamp = folder / "installed"
    wanted = "\n".join(packages)
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        install(folder, packages)
        stamp.write_text(wanted, encoding="utf-8")
    return folder


def require(program: str, *debian: str) -> str:
    """Returns the path of a program; installs its Debian packages if it is missing."""
    if not shutil.which(program):
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *debian]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return shutil.which(program)
