#!/bin/sh
# Change the code of a room in every small way that mutmut knows, and see which changes its tests do not notice.
#   tests/mutants.sh PYTHON ROOM [FILE]     FILE: a pattern within the room, such as "prove/*" or "vocabulary.py"
# Works in build/mutants: mutmut has a folder of its own, and gets the rooms as plain folders in place of links.
set -eu
python=$1 room=${2:?name a room: make mutants ROOM=vocab} only=${3:-*}
cd "$(dirname "$0")/.."
[ -d "tests/$room" ] || { echo "no room $room with tests; expected one of: common vocab curate shards train evaluate" >&2; exit 2; }
tool=$PWD/build/mutants/tool tree=$PWD/build/mutants/tree
[ -d "$tool/mutmut" ] || "$python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --target "$tool" mutmut==3.8.1
rm -rf "$tree"
mkdir -p "$tree"
git ls-files -z | xargs -0 cp --parents --no-dereference --target-directory "$tree"
rm -r "$tree/src"
cp --recursive --dereference src "$tree"
cd "$tree"
{
    echo "[tool.mutmut]"
    echo "source_paths = ['src']"
    echo "only_mutate = ['src/medshards/$room/$only']"
    echo "pytest_add_cli_args_test_selection = ['tests/$room']"
    echo "also_copy = [$(ls -A | grep -vxE 'src|tests|pyproject.toml' | sed "s/.*/'&', /" | tr -d '\n')]"
} >> pyproject.toml
export PYTHONPATH=$tool
"$python" -m mutmut run || true # it fails where a change survived, which the next line lists
"$python" -m mutmut results
